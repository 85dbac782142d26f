"""Pixels of arrays for maps and chips: what can be read of a rectangle, warped onto the pixels of a picture."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from affine import Affine

from hpckit.cubes import blocks, levels
from hpckit.cubes.arrays import Array
from hpckit.cubes.read import Geometry, Group
from hpckit.cubes.sound import Faults, read_sound
from hpckit.look.mercator import ground_m
from hpckit.look.opened import open_tile
from hpckit.look.pixels import Layer as Values
from hpckit.reduce.composites.hierarchy import PERIODS
from hpckit.space.box import Box
from hpckit.space.warp import needed, warp

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

THREADS: Final = 2
"""Shards that are read and decoded at a time for one picture."""
_MOST_PIXELS: Final = 60_000_000
"""Pixels that are decoded for one map tile, of all bands; half a second."""
_MANY_PIXELS: Final = 4_000_000
"""Pixels of which it takes longer to decode them than to start threads."""
_SHARP: Final = 1.25
"""How much larger than pixels of the picture those of an overview may be."""
_LOOK_AGAIN_S: Final = 2.0
"""Seconds after which the manifest is looked at again, to compare overviews with it."""
_OLDER: Final = "shown from overviews that are older than the shards; `hpckit overviews` makes them again"
_TOO_FAR: Final = "too far out for full resolution: zoom in, or let `hpckit overviews` make overviews"

Resampling = Literal["nearest", "bilinear"]


@dataclass(slots=True)
class Drawing:
    """How one picture is drawn, and what became of it."""

    target: GeoBox
    resampling: Resampling | None = None
    """If not given, pixels smaller than those of an array show the nearest one, and larger ones a mean."""
    roots: tuple[Path, ...] = ()
    """Where overviews may lie; they are not used without."""
    pixels: int = _MOST_PIXELS
    """Pixels that may still be decoded."""
    faults: Faults = field(default_factory=Faults)
    remarks: dict[str, None] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why something is not seen as it should be."""
        return (*self.faults.notes, *self.remarks)


def plane(drawing: Drawing, store: Path, group: Group, name: str, date: int) -> npt.NDArray[Any] | None:
    """Pixels of one date of an array on the pixels of a picture; None where it does not reach it.

    They come from an overview if the picture's pixels are much larger, and it was made from the shards that are there
    now; else from the array itself, if that is not too much; else from an older overview.

    Returns
    -------
    ndarray, shape of the picture
        Physical units in float32 with NaN for no data, or stored numbers of classes and bits with 0.
    """
    coarse, state = _overview(drawing, store, group, name, date)
    if coarse is not None and state == "current":
        return warped(coarse.arrays[name], coarse.where, date, drawing)
    if _count(group.where, drawing.target) <= drawing.pixels:
        return warped(group.arrays[name], group.where, date, drawing)
    drawing.remarks[_TOO_FAR if coarse is None else _OLDER] = None
    return None if coarse is None else warped(coarse.arrays[name], coarse.where, date, drawing)


def warped(array: Array, where: Geometry, date: int, drawing: Drawing) -> npt.NDArray[Any] | None:
    """Pixels of one date of an array itself on the pixels of a picture; see `plane`."""
    resampling, ratio = drawing.resampling, ground_m(drawing.target) / where.transform.a
    if array.is_categorical:
        resampling = "nearest"
    elif resampling is None:
        resampling = "bilinear" if ratio > 1 else "nearest"
    # Means of blocks first, whose edges hang on the array alone: a kernel as wide takes several times as long.
    factor = max(1, round(ratio)) if resampling == "bilinear" else 1
    source = _geobox(where, factor)
    part = needed(source, drawing.target, resampling)
    if part is None:
        return None
    box = Box(*(factor * edge for edge in (part[0].start, part[1].start, part[0].stop, part[1].stop)))
    box = box.within(array.shape)
    drawing.pixels -= box.shape[0] * box.shape[1]
    threads = THREADS if box.shape[0] * box.shape[1] > _MANY_PIXELS else 1
    stored = read_sound(array, box, range(date, date + 1), drawing.faults, threads=threads)[0]
    if array.is_categorical:
        return warp(stored, source[part], drawing.target, resampling, nodata=0)
    nodata = array.attributes.get("_FillValue")
    if factor > 1:
        fill = array.fill if nodata is None else nodata
        stored = blocks.means(*blocks.sums(stored, factor, nodata), array.dtype, nodata, fill)
    if nodata is None or stored.dtype.kind == "f":
        stored, nodata = stored.astype(np.float32), np.nan
    elif stored.dtype == np.uint8:
        stored = stored.astype(np.uint16)  # a mean has the same numbers, and no fewer steps
    return physical(warp(stored, source[part], drawing.target, resampling, nodata=float(nodata)), array)


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


def _overview(drawing: Drawing, store: Path, group: Group, name: str, date: int) -> tuple[Group | None, levels.State]:
    """Coarsest overview whose pixels are not much larger than the picture's; a current one, if there is any."""
    most = ground_m(drawing.target) * _SHARP
    if group.where.transform.a * 2 > most:
        return None, "none"
    found = [_overview_at(root, most, store, group, name, date) for root in drawing.roots]
    known: list[levels.State] = ["current", "older", "none"]
    return min(found, key=lambda one: known.index(one[1]), default=(None, "none"))


def _overview_at(
    root: Path, most: float, store: Path, group: Group, name: str, date: int
) -> tuple[Group | None, levels.State]:
    opened = open_tile(root, f"{group.tile}/overviews/r{group.resolution_m}m")
    fitting = (
        []
        if opened is None
        else [
            coarse
            for coarse in opened.groups.values()
            if coarse.where.transform.a <= most and name in coarse.arrays and _same_date(group, coarse, date)
        ]
    )
    if not fitting:
        return None, "none"
    state = levels.state(store, root, group, name, date, int(time.monotonic() / _LOOK_AGAIN_S))
    return (None if state == "none" else fitting[-1]), state


def _same_date(group: Group, coarse: Group, date: int) -> bool:
    """Whether a position on the time axes means the same date in a group and its overview."""
    mine, other = group.where.acquisitions, coarse.where.acquisitions
    if mine:
        return date < len(other) and other[date]["id"] == mine[date]["id"]
    labels, known = group.attributes.get(PERIODS, ()), coarse.attributes.get(PERIODS, ())
    return date < len(known) and known[date] == labels[date]


def _geobox(where: Geometry, factor: int = 1) -> GeoBox:
    """Pixels of an array, or blocks of them."""
    from odc.geo.geobox import GeoBox

    rows, columns = (-(-size // factor) for size in where.shape)
    return GeoBox((rows, columns), where.transform @ Affine.scale(factor), f"EPSG:{where.epsg}")


def _count(where: Geometry, target: GeoBox) -> int:
    """Pixels of an array that a picture needs."""
    part = needed(_geobox(where), target, "nearest")
    return 0 if part is None else (part[0].stop - part[0].start) * (part[1].stop - part[1].start)
