"""Reading a picture's worth of pixels from a cube: decimated while reading, so that memory stays small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.quantities import format_count
from hpckit.cubes.arrays import Array, read_coordinate
from hpckit.cubes.objects import objects_at
from hpckit.cubes.read import Geometry, band_array, bands, geometry, held_windows
from hpckit.cubes.region import read_region
from hpckit.errors import CubeError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import MaskBand, flagged
from hpckit.sensors.sensor import Sensor
from hpckit.space.box import Box

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""
Layer = npt.NDArray[np.float32]

MAX_EDGE: Final = 1400
"""Pixels along the longer edge of a picture."""

_CANDIDATES: Final = 12
"""Dates that are looked at to find the clearest one."""


@dataclass(frozen=True, slots=True)
class PictureExtent:
    """The pixels of a picture: a north-up grid of square pixels in a tile's CRS."""

    epsg: int
    west: float
    north: float
    pixel_m: int
    shape: tuple[int, int]

    @property
    def bounds(self) -> Bounds:
        """Edges in metres."""
        rows, columns = self.shape
        return (self.west, self.north - rows * self.pixel_m, self.west + columns * self.pixel_m, self.north)

    @property
    def matplotlib(self) -> Bounds:
        """Edges in matplotlib's order: left, right, bottom, top."""
        west, south, east, north = self.bounds
        return (west, east, south, north)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One date of a tile, or of a part of it."""

    tile: str
    extent: PictureExtent
    acquisition: Mapping[str, Any]
    """id, time, platform, relative_orbit, processing_baseline, products."""
    layers: Mapping[str, Layer]
    """Bands in physical units by name; NaN where there are no data."""
    classes: npt.NDArray[Any] | None
    """Pixels of the sensor's mask, where the cube has it and it was asked for."""
    sensor: Sensor
    part: str = ""
    """Which part of the tile the cube holds, where that is not all of it."""

    @property
    def time(self) -> datetime:
        """Sensing time, UTC."""
        return datetime.fromisoformat(self.acquisition["time"])


def find_band(cube: Path, tile: str, text: str) -> BandRef:
    """Find a band that the cube has; without a resolution (`B04`) the finest one.

    Raises
    ------
    CubeError
        If the tile has no such band.
    """
    held = bands(cube, tile)
    named = [ref for ref in held if text.strip().upper() in (ref.name.upper(), ref.key.upper())]
    if not named:
        raise CubeError(
            f"tile {tile} of {cube} has no band {text.strip()!r}",
            hint=f"it has {', '.join(map(str, held))}" if held else "`hpckit run` fills it",
        )
    return min(named, key=lambda ref: ref.resolution_m)


def find_date(where: Geometry, day: date) -> int:
    """Position of a day on the time axis; the first one, where there are several.

    Raises
    ------
    CubeError
        If nothing was acquired on it; the hint names the nearest days.
    """
    days = [datetime.fromisoformat(item["time"]).date() for item in where.acquisitions]
    if day in days:
        return days.index(day)
    nearest = sorted(sorted(set(days), key=lambda other: abs(other - day))[:3])
    raise CubeError(f"no acquisition on {day}", hint=f"the nearest are {', '.join(map(str, nearest))}")


def clearest(cube: Path, tile: str, sensor: Sensor, window: Bounds | None = None) -> int:
    """Position of the date with the most valid and cloudless pixels, among those least cloudy by metadata.

    Of dates that are equally clear, the latest.
    """
    held = bands(cube, tile)
    classes, mask = _mask(held, sensor.mask), sensor.mask
    ref = classes or held[0]
    covers = _cloud_covers(cube, tile, ref)
    # NaN sorts last: dates of unknown cover come after the known ones.
    candidates = np.argsort(covers, kind="stable")[:_CANDIDATES].tolist()
    extent = plan_extent(cube, tile, [ref], window, max_edge=MAX_EDGE // 4)

    def clear_pixels(index: int) -> int:
        if classes is not None and mask is not None:
            return int((~flagged(mask.band, read_classes(cube, tile, classes, index, extent), mask.hide)).sum())
        return int(np.isfinite(_read_layer(cube, tile, ref, index, extent)).sum())

    return int(max(sorted(candidates, reverse=True), key=clear_pixels))


def read_snapshot(
    cube: Path,
    tile: str,
    time_index: int,
    refs: Sequence[BandRef],
    sensor: Sensor,
    window: Bounds | None = None,
    *,
    with_classes: bool = False,
) -> Snapshot:
    """Read bands of one date for a picture.

    Parameters
    ----------
    time_index : int
        Position on the time axis; negative ones count from the end.
    window : Bounds, optional
        Part of the tile, in metres of its CRS, or in degrees where all four are within 180.

    Raises
    ------
    CubeError
        If there is no such date, or the window misses the tile.
    """
    where = geometry(cube, tile, refs[0].resolution_m)
    count = len(where.acquisitions)
    if not -count <= time_index < count:
        raise CubeError(f"no date number {time_index}; tile {tile} has {count}, counted from 0")
    index = time_index % count
    mask = _mask(bands(cube, tile), sensor.mask) if with_classes else None
    extent = plan_extent(cube, tile, [*refs, mask] if mask else refs, window)
    layers = {ref.name: _read_layer(cube, tile, ref, index, extent) for ref in refs}
    classes = None if mask is None else read_classes(cube, tile, mask, index, extent)
    held = held_windows(band_array(cube, tile, refs[0]))
    part = "" if held.all() else f"{held.sum()} of {format_count(held.size, 'window')} ingested"
    return Snapshot(tile, extent, where.acquisitions[index], layers, classes, sensor, part)


def _mask(held: Sequence[BandRef], mask: MaskBand | None) -> BandRef | None:
    """The sensor's mask, where the cube has it."""
    return next((ref for ref in held if mask is not None and ref.name == mask.name), None)


def plan_extent(
    cube: Path, tile: str, refs: Sequence[BandRef], window: Bounds | None, *, max_edge: int = MAX_EDGE
) -> PictureExtent:
    """Choose the pixels of a picture: whole multiples of the bands' pixels, on their grid.

    Without a window they cover the windows that the cube holds.

    Raises
    ------
    CubeError
        If the window misses the tile.
    """
    resolutions = sorted({ref.resolution_m for ref in refs})
    finest, coarsest = resolutions[0], resolutions[-1]
    where = geometry(cube, tile, finest)
    west, south, east, north = _clip(where, tile, window or _held(cube, tile, refs, where), coarsest)
    pixel = finest * max(1, ceil(max(east - west, north - south) / finest / max_edge))
    while any(pixel % m and m % pixel for m in resolutions):
        pixel += finest
    shape = (max(1, round((north - south) / pixel)), max(1, round((east - west) / pixel)))
    return PictureExtent(where.epsg, west, north, pixel, shape)


def _held(cube: Path, tile: str, refs: Sequence[BandRef], where: Geometry) -> Bounds | None:
    """Bounds of the windows that the cube holds of some of the bands; None where that is all, or nothing."""
    found = []
    for ref in refs:
        array = band_array(cube, tile, ref)
        held, edge = held_windows(array), array.grid.window * ref.resolution_m
        if held.all() or not held.any():
            return None
        rows, columns = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
        left, top = where.transform.c, where.transform.f
        found.append(
            (
                left + columns[0] * edge,
                top - (rows[-1] + 1) * edge,
                left + (columns[-1] + 1) * edge,
                top - rows[0] * edge,
            )
        )
    west, south, east, north = zip(*found, strict=True)
    return (min(west), min(south), max(east), max(north))


def _clip(where: Geometry, tile: str, window: Bounds | None, snap_m: int) -> Bounds:
    """Window within the tile, grown to whole pixels of `snap_m`."""
    rows, columns = where.shape
    edge = where.transform.a
    left, top = where.transform.c, where.transform.f
    right, bottom = left + columns * edge, top - rows * edge
    if window is None:
        return (left, bottom, right, top)
    west, south, east, north = _to_metres(window, where.epsg)
    west = max(left, left + (west - left) // snap_m * snap_m)
    north = min(top, top - (top - north) // snap_m * snap_m)
    east, south = (
        min(right, left + -((left - east) // snap_m) * snap_m),
        max(bottom, top + (south - top) // snap_m * snap_m),
    )
    if west >= east or south >= north:
        raise CubeError(
            f"the window {window} misses tile {tile}",
            hint=f"the tile covers {left:.0f},{bottom:.0f},{right:.0f},{top:.0f} in EPSG:{where.epsg}",
        )
    return (west, south, east, north)


def _to_metres(window: Bounds, epsg: int) -> Bounds:
    # Eastings of UTM begin at 100 km, so that degrees cannot be mistaken for metres.
    if max(map(abs, window)) > 180:
        return window
    import pyproj

    west, south, east, north = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform_bounds(*window)
    return (west, south, east, north)


def read_layer(array: Array, where: Geometry, index: int, extent: PictureExtent) -> Layer:
    """Mean of the valid pixels in each pixel of the picture, in physical units.

    Parameters
    ----------
    where : Geometry
        Of the array's group.
    index : int
        Position on the time axis.
    """
    step, repeat, shape = _scale(where, extent)
    sums, counts = np.zeros(shape, np.float64), np.zeros(shape, np.int64)
    notes = array.attributes
    for row, block in _stripes(array, where, index, extent):
        valid = np.isfinite(block) & (block != notes.get("_FillValue", np.nan))
        _add_blocks(sums, np.where(valid, block, 0), row, step)
        _add_blocks(counts, valid, row, step)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts * notes.get("scale_factor", 1) + notes.get("add_offset", 0)
    return _enlarge(means.astype(np.float32), repeat, extent.shape)


def _read_layer(cube: Path, tile: str, ref: BandRef, index: int, extent: PictureExtent) -> Layer:
    return read_layer(band_array(cube, tile, ref), geometry(cube, tile, ref.resolution_m), index, extent)


def read_classes(cube: Path, tile: str, ref: BandRef, index: int, extent: PictureExtent) -> npt.NDArray[Any]:
    """Class of one pixel of the cube for each pixel of the picture.

    Parameters
    ----------
    index : int
        Position on the time axis, not negative.
    """
    where = geometry(cube, tile, ref.resolution_m)
    step, repeat, shape = _scale(where, extent)
    classes = np.zeros(shape, ref.dtype)
    for row, block in _stripes(band_array(cube, tile, ref), where, index, extent):
        first = -(row - step // 2) % step
        picked = block[first::step, step // 2 :: step]
        start = (row + first) // step
        part = classes[start : start + picked.shape[0], : picked.shape[1]]
        part[:] = picked[: part.shape[0], : part.shape[1]]
    return _enlarge(classes, repeat, extent.shape)


def _scale(where: Geometry, extent: PictureExtent) -> tuple[int, int, tuple[int, int]]:
    """Pixels of an array in one of the picture, or the other way round, and the shape that all of them have."""
    edge = round(where.transform.a)
    step, repeat = max(1, extent.pixel_m // edge), max(1, edge // extent.pixel_m)
    return step, repeat, (-(-extent.shape[0] // repeat), -(-extent.shape[1] // repeat))


def _stripes(
    array: Array, where: Geometry, index: int, extent: PictureExtent
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Pixels of one date within an extent, one row of windows at a time, with their first row in it."""
    west, south, east, north = extent.bounds
    left, top = (round(value) for value in ~where.transform @ (west, north))
    right, bottom = (round(value) for value in ~where.transform @ (east, south))
    window = array.grid.window
    for first in range(top // window * window, bottom, window):
        box = Box(max(top, first), left, min(bottom, first + window), right).within(array.shape)
        if box.top < box.bottom and box.left < box.right:
            yield box.top - top, read_region(array, box, range(index, index + 1))[0]


def _add_blocks(totals: npt.NDArray[Any], values: npt.NDArray[Any], row: int, step: int) -> None:
    """Add the sums of `step` by `step` blocks; `values` begin at `row`, maybe within a block."""
    if values.size == 0:
        return
    starts = np.concatenate([[0], np.arange(step - row % step, values.shape[0], step)])
    by_row = np.add.reduceat(values, starts, axis=0, dtype=totals.dtype)
    sums = np.add.reduceat(by_row, np.arange(0, values.shape[1], step), axis=1)
    first = row // step
    part = totals[first : first + sums.shape[0], : sums.shape[1]]
    part += sums[: part.shape[0], : part.shape[1]]


def _enlarge(values: npt.NDArray[Any], repeat: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
    return values.repeat(repeat, 0).repeat(repeat, 1)[: shape[0], : shape[1]]


def _cloud_covers(cube: Path, tile: str, ref: BandRef) -> npt.NDArray[np.float32]:
    return read_coordinate(objects_at(cube), f"{tile}/{ref.group}/cloud_cover").astype(np.float32)
