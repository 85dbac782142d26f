"""Which tiles share area with an area of interest, and how much.

An area that ends where a tile ends shares nothing with the next one, though its coordinates have been rounded and
transformed on their way: what lies within `RIM_M` of a tile's border is no reason to take that tile, unless no
other tile would hold that part of the area.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import GridError
from hpckit.space.tile import Tile
from hpckit.space.vector.project import project, united

RIM_M: Final = 0.5
"""Metres along the border of a tile in which an area does not reach into it: no pixel of 1 m or more has its centre
there."""
RIM_DEGREES: Final = 5e-6
"""The same along borders of UTM zones."""
_TOLERANCE_M: Final = 0.02
_WGS84: Final = pyproj.CRS.from_epsg(4326)

_LEAST_BUFFER_M: Final = 0.001

Box = tuple[float, float, float, float]
Candidates = Iterable[tuple[shapely.Geometry, Sequence[Tile]]]
"""By CRS, an area in it and tiles that may touch the area."""


def touched(
    aoi: shapely.Geometry, buffer_m: float, candidates: Callable[[shapely.Geometry, float], Candidates]
) -> list[Tile]:
    """Tiles that share some area with an area of interest.

    An area that reaches less than 0.5 m over the border of a tile does not share area with it, unless no other
    tile holds that part: an area cut along the grid has the tiles that it was cut from.

    Parameters
    ----------
    aoi : shapely geometry
        In longitude and latitude, within -180 to 180 degrees.
    buffer_m : float
        Widens the area by this many metres, in each tile's CRS.
    candidates : callable
        Of the area and the buffer.

    Returns
    -------
    list of Tile
        Sorted by name, with `aoi_fraction`.

    Raises
    ------
    GridError
        If the buffer is negative or not finite.
    """
    if buffer_m < 0 or not math.isfinite(buffer_m):
        raise GridError(f"a buffer of {buffer_m} m makes no sense; it must be 0 or more")
    area = tidy(aoi)
    buffer_m = buffer_m if buffer_m >= _LEAST_BUFFER_M else 0.0
    found: list[Tile] = []
    for local, tiles in candidates(area, buffer_m):
        wide = local.buffer(buffer_m) if buffer_m else local
        found += [replace(tile, aoi_fraction=fraction) for tile, fraction in measure(wide, tiles)]
    return sorted(found, key=lambda tile: tile.tile)


def tidy(area: shapely.Geometry) -> shapely.Geometry:
    """A valid area without coordinates that differ from others by less than a micrometre: GEOS fails at such."""
    return shapely.make_valid(shapely.transform(area, lambda xy: np.round(xy, 11)))


def in_crs(area: shapely.Geometry, epsg: int) -> shapely.Geometry:
    """Area in a projected CRS; for a UTM zone only what lies near it, since far from it UTM is meaningless.

    Raises
    ------
    GridError
        If the CRS cannot show all of it.
    """
    parts = polygons(area)
    if epsg // 100 in (326, 327):
        parts = _near_zone(parts, -183 + 6 * (epsg % 100))
    if not len(parts):
        return shapely.MultiPolygon()
    moved = project(parts, _WGS84, pyproj.CRS.from_epsg(epsg), _TOLERANCE_M)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise GridError(f"the area of interest reaches beyond what EPSG:{epsg} can show", hint="choose another grid")
    moved = polygons(shapely.make_valid(shapely.transform(moved, lambda xy: np.round(xy, 6))))
    return united(moved) if len(moved) != 1 else moved[0]


def _near_zone(parts: npt.NDArray[np.object_], middle: float) -> npt.NDArray[np.object_]:
    """What lies within 15 degrees of a meridian; parts that lie there as a whole are not cut."""
    west, _, east, _ = shapely.bounds(parts).reshape(-1, 4).T
    starts = [middle - 15 + turn for turn in (-360, 0, 360)]
    whole = np.any([(start <= west) & (east <= start + 30) for start in starts], axis=0)
    boxes = shapely.union_all([shapely.box(start, -90, start + 30, 90) for start in starts])
    return np.concatenate([parts[whole], polygons(shapely.intersection(parts[~whole], boxes))])


def measure(local: shapely.Geometry, tiles: Sequence[Tile]) -> list[tuple[Tile, float]]:
    """Tiles that share area with an area in their CRS, with the fraction of each tile that it covers."""
    parts = polygons(local)
    tree = shapely.STRtree(parts)
    boxes = shapely.box(*np.array([tile.bounds for tile in tiles]).reshape(-1, 4).T)
    inside = set(tree.query(boxes, predicate="covered_by")[0].tolist())  # parts of a valid area share no edges
    kept: list[tuple[Tile, float]] = []
    rim: list[tuple[Tile, float]] = []
    for number, (tile, box) in enumerate(zip(tiles, boxes, strict=True)):
        near = shapely.multipolygons(parts[np.sort(tree.query(box))])
        area = tile.polygon.area if number in inside else _area_within(near, tile.bounds)
        if area > 0:
            (kept if _reaches_in(near, tile.bounds, area) else rim).append((tile, min(1.0, area / tile.polygon.area)))
    return [*kept, *_needed(local, kept, rim)]


def share_area(shape: shapely.Geometry, bounds: Box) -> bool:
    """Whether a shape reaches into a box, both in metres of one CRS."""
    return _reaches_in(shape, bounds, _area_within(shape, bounds))


def _reaches_in(shape: shapely.Geometry, bounds: Box, area: float) -> bool:
    """Whether a shape, which shares `area` with a box, does so beyond the rim of the box."""
    xmin, ymin, xmax, ymax = bounds
    if area > 2 * RIM_M * (xmax - xmin + ymax - ymin):
        return True
    return area > 0 and _area_within(shape, (xmin + RIM_M, ymin + RIM_M, xmax - RIM_M, ymax - RIM_M)) > 0


def _needed(
    local: shapely.Geometry, kept: Sequence[tuple[Tile, float]], rim: Sequence[tuple[Tile, float]]
) -> Iterator[tuple[Tile, float]]:
    """Tiles that hold in their rim a part of the area that no other tile holds."""
    if not rim:
        return
    parts = polygons(local)
    held = shapely.STRtree([tile.polygon for tile, _ in kept]).query(parts, predicate="intersects")[0]
    lone = shapely.STRtree(np.delete(parts, np.unique(held)))
    for tile, fraction in rim:
        if len(lone.query(tile.polygon, predicate="intersects")):
            yield tile, fraction


def _area_within(shape: shapely.Geometry, bounds: Box) -> float:
    # `clip_by_rect` would be quicker, but where edges all but coincide with the rectangle's it loses whole squares.
    box = shapely.box(*bounds)
    try:
        return float(shapely.intersection(shape, box).area)
    except shapely.errors.GEOSException:  # of edges that all but coincide; a hundredth of a millimetre settles it
        return float(shapely.intersection(shape, box, grid_size=1e-5).area)


def polygons(area: shapely.Geometry | npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Polygons with an area that geometries consist of."""
    parts = shapely.get_parts(shapely.get_parts(area))
    return np.asarray(parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > 0)])
