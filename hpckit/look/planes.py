"""Pixels of arrays for maps and chips: what can be read of a rectangle, warped onto the pixels of a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.cubes.arrays import Array
from hpckit.cubes.read import Geometry
from hpckit.cubes.region import Box, read_region
from hpckit.errors import ShardError
from hpckit.look.mercator import ground_m
from hpckit.look.pixels import Layer as Values
from hpckit.space.warp import needed, warp

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

THREADS: Final = 2
"""Shards that are read and decoded at a time for one picture."""

Resampling = Literal["nearest", "bilinear"]


@dataclass(slots=True)
class Faults:
    """What could not be read for a picture."""

    shards: list[ShardError] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """A sentence for each."""
        return list(dict.fromkeys(str(fault) for fault in self.shards))


def read_sound(array: Array, box: Box, dates: range, faults: Faults) -> npt.NDArray[Any]:
    """Read a rectangle of consecutive dates; where a shard is gone or damaged, there is fill value.

    Returns
    -------
    ndarray, shape (dates, rows, columns)
        As `hpckit.cubes.region.read_region` gives it.

    Raises
    ------
    FileUnavailableError
        If the file system refuses: that is no damage.
    """
    try:
        return read_region(array, box, dates, threads=THREADS)
    except ShardError:
        blocks = sorted({date // array.dates_per_shard for date in dates})
        edges = [(block * array.dates_per_shard, (block + 1) * array.dates_per_shard) for block in blocks]
        parts = [range(max(first, dates[0]), min(last, dates[-1] + 1)) for first, last in edges]
        return np.concatenate([_without_damage(array, box, part, faults) for part in parts])


def _without_damage(array: Array, box: Box, dates: range, faults: Faults) -> npt.NDArray[Any]:
    """Read dates of one block of shards, without those that are damaged."""
    edge = array.grid.window
    windows = np.ones([-(-size // edge) for size in array.shape[1:]], np.bool_)
    while True:
        try:
            return read_region(array, box, dates, windows=windows, threads=THREADS)
        except ShardError as fault:
            row, column = map(int, fault.key.split("/")[-2:])
            if not windows[row, column]:
                raise
            faults.shards.append(fault)
            windows[row, column] = False


def warped(
    array: Array, where: Geometry, date: int, target: GeoBox, resampling: Resampling | None, faults: Faults
) -> npt.NDArray[Any] | None:
    """Pixels of one date on the pixels of a picture; None where the array does not reach it.

    Parameters
    ----------
    resampling : {"nearest", "bilinear"}, optional
        If not given, pixels smaller than the array's show the nearest one, and larger ones a mean. Classes and bits
        are never mixed.

    Returns
    -------
    ndarray, shape `target.shape`
        Physical units in float32 with NaN for no data, or stored numbers of classes and bits with 0.
    """
    from odc.geo.geobox import GeoBox

    source = GeoBox(where.shape, where.transform, f"EPSG:{where.epsg}")
    if is_categorical(array):
        resampling = "nearest"
    elif resampling is None:
        resampling = "bilinear" if ground_m(target) > where.transform.a else "nearest"
    part = needed(source, target, resampling)
    if part is None:
        return None
    rows, columns = part
    stored = read_sound(
        array, Box(rows.start, columns.start, rows.stop, columns.stop), range(date, date + 1), faults
    )[0]
    if is_categorical(array):
        return warp(stored, source[part], target, resampling, nodata=0)
    nodata = array.attributes.get("_FillValue")
    if nodata is None or stored.dtype.kind == "f":
        return physical(warp(stored.astype(np.float32), source[part], target, resampling, nodata=np.nan), array)
    if stored.dtype == np.uint8:
        stored = stored.astype(np.uint16)  # so that a mean is not rounded to nodata
    return physical(warp(stored, source[part], target, resampling, nodata=float(nodata)), array)


def is_categorical(array: Array) -> bool:
    """Whether an array holds classes or bits."""
    return "flag_values" in array.attributes or "flag_masks" in array.attributes


def physical(stored: npt.NDArray[Any], array: Array) -> Values:
    """Physical units of stored numbers in float32; NaN for no data.

    The offset is taken off before scaling, as `hpckit.reduce.physical` does: a reflectance of 0 is 0.
    """
    notes = array.attributes
    scale, offset, nodata = notes.get("scale_factor", 1), notes.get("add_offset", 0), notes.get("_FillValue")
    found = stored.astype(np.float32)
    found += np.float32(offset / scale)
    found *= np.float32(scale)
    if nodata is not None:
        found[stored == nodata] = np.nan
    return found
