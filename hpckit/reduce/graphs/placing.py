"""Where the pixels of a collection lie: one grid for all its tiles, and the windows that must be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyproj
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Grid
from hpckit.processgraph.extents import Area
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.wanted import Wanted
from hpckit.sensors.bands import BandRef, split_key
from hpckit.space.frame import Frame
from hpckit.space.vector.project import project
from hpckit.space.windows import Windows, covering

_ROUNDING: Final = 1e-6
"""Of a pixel."""
_LATTICE: Final = 1e-3
"""Of a pixel, by which tiles of one lattice may differ."""
_LEAST_AREA: Final = 1e-6
"""Square metres that are no pixel."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A tile and its place in the grid of a collection."""

    tile: str
    frame: Frame
    offset: tuple[int, int] | None
    """Row and column of its first pixel in the grid; None for a tile of another lattice, which is warped."""
    windows: Mapping[str, Windows]
    """By `BandRef.key`, windows to read: those that the cube holds, and those of the area that only products have."""


@dataclass(frozen=True, slots=True)
class Placing:
    """Tiles on one grid."""

    grid: Grid
    resolution_m: int
    """Size of its pixels: the finest that was asked for."""
    tiles: tuple[Placed, ...]
    """In the order in which they win: those of the grid's lattice by name, then the others."""


def place(collection: Collection, wanted: Wanted) -> Placing:
    """Choose the grid of the pixels that are wanted.

    The CRS is that of the tiles that cover most of the area; of these, the lattice of the first tile by name.

    Raises
    ------
    GraphError
        `NoDataAvailable`, if no tile touches the area.
    """
    refs = [ref for _, ref in wanted.bands]
    size = min(ref.resolution_m for ref in refs)
    names = sorted({tile for _, tiles in wanted.dates for tile in tiles})
    frames = {name: collection.frame(name, refs) for name in names}
    held = {name: _held(collection, frames[name], refs) for name in names}
    local = _Local(wanted.area)
    touched = [name for name in names if _shared(local, frames[name], held[name], size) > _LEAST_AREA]
    if not touched:
        raise GraphError(
            f"collection {collection.name!r} has no tile in the area",
            hint=f"it has {', '.join(names[:8])}{', …' if names[8:] else ''}",
            fault="NoDataAvailable",
        )
    main = _most(local, {name: frames[name] for name in touched}, held, size)
    grid = _grid(local, frames, held, touched, frames[main[0]], size)
    ordered = [*main, *(name for name in touched if name not in main)]
    placed = tuple(
        Placed(
            name,
            frames[name],
            _offset(grid, frames[name], size) if name in main else None,
            {ref.key: held[name][ref.key] | more for ref, more in _lacking(local, frames, held, ordered, name, refs)},
        )
        for name in ordered
    )
    return Placing(grid, size, placed)


class _Local:
    """The area in the CRSs of tiles."""

    def __init__(self, area: Area | None) -> None:
        self._area = area
        self._known: dict[int, shapely.Geometry] = {}

    @property
    def is_all(self) -> bool:
        return self._area is None

    def shape(self, epsg: int) -> shapely.Geometry:
        if self._area is None:
            raise TypeError("there is no area")
        if epsg not in self._known:
            target = pyproj.CRS.from_epsg(epsg)
            parts = np.asarray(shapely.get_parts(self._area.shape), object)
            moved = [
                item for item in project(parts, pyproj.CRS(self._area.crs), target) if np.isfinite(item.bounds).all()
            ]
            self._known[epsg] = shapely.union_all(shapely.make_valid(np.asarray(moved, object)))
        return self._known[epsg]


def extent_of(collection: Collection, tile: str, refs: Sequence[BandRef]) -> tuple[shapely.Geometry, int]:
    """Outline of the windows that a campaign asks for of a tile, and the EPSG code of its CRS."""
    frame = collection.frame(tile, refs)
    size = min(ref.resolution_m for ref in refs)
    return _extent(frame, _held(collection, frame, refs), size), frame.epsg


def outline(frame: Frame) -> shapely.Geometry:
    """Outline of a tile in its CRS."""
    return shapely.box(*frame.bounds)


def _held(collection: Collection, frame: Frame, refs: Sequence[BandRef]) -> dict[str, Windows]:
    """Windows that the campaign's area asks for, by band; of other pixel sizes those that cover them."""
    tiles = collection.tiles
    known = sorted({ref.resolution_m for ref in tiles.spec.bands})
    found = {}
    for ref in refs:
        if ref.resolution_m in known:
            found[ref.key] = tiles.held.windows(frame, ref)
        else:
            found[ref.key] = covering(frame, tiles.held.wanted(frame, known[0]), known[0], ref.resolution_m)
    return found


def _boxes(frame: Frame, windows: Windows, resolution_m: int) -> shapely.Geometry:
    """Outline of windows, within that of their tile."""
    edge = frame.edges[resolution_m] * resolution_m
    rows, columns = np.nonzero(windows)
    left, top = frame.ulx + columns * edge, frame.uly - rows * edge
    return shapely.union_all(shapely.box(left, top - edge, left + edge, top)).intersection(outline(frame))


def _shared(local: _Local, frame: Frame, held: Mapping[str, Windows], size: int) -> float:
    if local.is_all:
        return float(max(windows.sum() for windows in held.values())) * size
    return float(local.shape(frame.epsg).intersection(outline(frame)).area)


def _most(
    local: _Local, frames: Mapping[str, Frame], held: Mapping[str, Mapping[str, Windows]], size: int
) -> list[str]:
    """Tiles of the lattice that covers most."""
    groups: dict[tuple[int, float, float], list[str]] = {}
    for name, frame in frames.items():
        groups.setdefault((frame.epsg, *_phase(frame, size)), []).append(name)

    def covered(names: Sequence[str]) -> float:
        shapes = shapely.union_all([_extent(frames[name], held[name], size) for name in names])
        epsg = frames[names[0]].epsg
        return float(shapes.area if local.is_all else shapes.intersection(local.shape(epsg)).area)

    return max(groups.values(), key=covered)  # of equals the first


def _phase(frame: Frame, size: int) -> tuple[float, float]:
    """Where the lattice of a tile begins, within a pixel."""
    return tuple(round((value / size) % 1.0 / _LATTICE) * _LATTICE % 1.0 for value in (frame.ulx, frame.uly))  # type: ignore[return-value]


def _extent(frame: Frame, held: Mapping[str, Windows], size: int) -> shapely.Geometry:
    """What the campaign's area asks for of a tile."""
    key = next(key for key in held if split_key(key)[1] == size)
    return _boxes(frame, held[key], size)


def _grid(
    local: _Local,
    frames: Mapping[str, Frame],
    held: Mapping[str, Mapping[str, Windows]],
    touched: Sequence[str],
    first: Frame,
    size: int,
) -> Grid:
    """Pixels of the lattice of a tile whose centres lie within the bounds of the area, and of the tiles."""
    target = pyproj.CRS.from_epsg(first.epsg)
    shapes = []
    for name in touched:
        own = _extent(frames[name], held[name], size) if local.is_all else outline(frames[name])
        source = pyproj.CRS.from_epsg(frames[name].epsg)
        shapes.append(shapely.union_all(project(np.asarray(shapely.get_parts(own), object), source, target)))
    bounds = shapely.union_all(shapes).bounds
    if not local.is_all:
        asked = local.shape(first.epsg).bounds
        bounds = (*map(max, bounds[:2], asked[:2]), *map(min, bounds[2:], asked[2:]))
    left, right = _centres((bounds[0] - first.ulx) / size, (bounds[2] - first.ulx) / size)
    top, bottom = _centres((first.uly - bounds[3]) / size, (first.uly - bounds[1]) / size)
    return Grid(
        f"EPSG:{first.epsg}",
        first.ulx + left * size,
        first.uly - top * size,
        float(size),
        -float(size),
        bottom - top,
        right - left,
    )


def _centres(start: float, end: float) -> tuple[int, int]:
    """First pixel whose centre lies in an interval, and the one after the last; of less than one, what it touches."""
    first, last = math.ceil(start - 0.5 - _ROUNDING), math.floor(end - 0.5 + _ROUNDING) + 1
    if first < last:
        return first, last
    return math.floor(start), math.floor(start) + 1


def _offset(grid: Grid, frame: Frame, size: int) -> tuple[int, int]:
    return round((grid.top - frame.uly) / size), round((frame.ulx - grid.left) / size)


def _lacking(
    local: _Local,
    frames: Mapping[str, Frame],
    held: Mapping[str, Mapping[str, Windows]],
    names: Sequence[str],
    tile: str,
    refs: Sequence[BandRef],
) -> list[tuple[BandRef, Windows]]:
    """Windows of a tile within the area that no tile before it has, and that the cube does not hold."""
    frame = frames[tile]
    found = []
    for ref in refs:
        windows = held[tile][ref.key]
        more = np.zeros_like(windows)
        if not local.is_all and not windows.all():
            others = [name for name in names if frames[name].epsg == frame.epsg]
            there = [_boxes(frames[name], held[name][ref.key], ref.resolution_m) for name in others]
            before = [outline(frames[name]) for name in others[: others.index(tile)]]
            open_area = (
                local.shape(frame.epsg).intersection(outline(frame)).difference(shapely.union_all([*there, *before]))
            )
            for row, column in np.argwhere(~windows).tolist() if open_area.area > _LEAST_AREA else ():
                one = np.zeros_like(windows)
                one[row, column] = True
                shared = _boxes(frame, one, ref.resolution_m).intersection(open_area)
                more[row, column] = shared.area > _LEAST_AREA
        found.append((ref, more))
    return found
