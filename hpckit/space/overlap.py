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
_Bounds = npt.NDArray[np.float64]
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


def in_crs(
    area: shapely.Geometry, epsg: int, around: npt.NDArray[np.object_] | None = None, reach: float = 0.0
) -> shapely.Geometry:
    """Area in a projected CRS; for a UTM zone only what lies near it, since far from it UTM is meaningless.

    Parameters
    ----------
    around : ndarray of shapely geometries, optional
        In longitude and latitude: of an area of many parts only those are needed that lie around one of these.
    reach : float
        How far around, degrees.

    Raises
    ------
    GridError
        If the CRS cannot show all of it.
    """
    parts = polygons(area)
    if around is not None:
        parts = parts[_near_any(shapely.bounds(parts), shapely.bounds(around), reach)]
    if epsg // 100 in (326, 327):
        parts = _near_zone(parts, -183 + 6 * (epsg % 100))
    if not len(parts):
        return shapely.MultiPolygon()
    moved = project(parts, _WGS84, pyproj.CRS.from_epsg(epsg), _TOLERANCE_M)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise GridError(f"the area of interest reaches beyond what EPSG:{epsg} can show", hint="choose another grid")
    moved = polygons(shapely.make_valid(shapely.transform(moved, lambda xy: np.round(xy, 6))))
    return united(moved) if len(moved) != 1 else moved[0]


def _near_any(
    bounds: npt.NDArray[np.float64], others: npt.NDArray[np.float64], reach: float
) -> npt.NDArray[np.bool_]:
    """Which boxes reach near one of some others."""
    near = np.zeros(len(bounds), np.bool_)
    west, south, east, north = bounds.reshape(-1, 4).T
    for low_x, low_y, high_x, high_y in others.reshape(-1, 4).tolist():
        near |= (
            (east >= low_x - reach) & (west <= high_x + reach) & (north >= low_y - reach) & (south <= high_y + reach)
        )
    return near


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
    tree, bounds, areas = shapely.STRtree(parts), shapely.bounds(parts), shapely.area(parts)
    boxes = shapely.box(*np.array([tile.bounds for tile in tiles]).reshape(-1, 4).T)
    covered = set(tree.query(boxes, predicate="covered_by")[0].tolist())  # parts of a valid area share no edges
    kept: list[tuple[Tile, float]] = []
    rim: list[tuple[Tile, float]] = []
    for number, (tile, box) in enumerate(zip(tiles, boxes, strict=True)):
        if number in covered:
            kept.append((tile, 1.0))
            continue
        near = np.sort(tree.query(box))
        # Of many parts, such as the fields of a country, few lie across the border of a tile.
        inside = _all_within(bounds[near], tile.bounds)
        area = float(areas[near[inside]].sum()) + _area_within(parts[near[~inside]], tile.bounds)
        if area > 0:
            fraction = min(1.0, area / tile.polygon.area)
            (kept if _reaches_in(parts[near], tile.bounds, area) else rim).append((tile, fraction))
    return [*kept, *_needed(local, kept, rim)]


def _all_within(bounds: _Bounds, box: Box) -> npt.NDArray[np.bool_]:
    low, high = np.array(box[:2]), np.array(box[2:])
    return np.asarray((bounds[:, :2] >= low).all(axis=1) & (bounds[:, 2:] <= high).all(axis=1))


def share_area(shape: shapely.Geometry, bounds: Box) -> bool:
    """Whether a shape reaches into a box, both in metres of one CRS."""
    parts = polygons(shape)
    return _reaches_in(parts, bounds, _area_within(parts, bounds))


def _reaches_in(parts: npt.NDArray[np.object_], bounds: Box, area: float) -> bool:
    """Whether polygons, which share `area` with a box, do so beyond the rim of the box."""
    xmin, ymin, xmax, ymax = bounds
    if area > 2 * RIM_M * (xmax - xmin + ymax - ymin):
        return True
    return area > 0 and _area_within(parts, (xmin + RIM_M, ymin + RIM_M, xmax - RIM_M, ymax - RIM_M)) > 0


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


def _area_within(parts: npt.NDArray[np.object_], bounds: Box) -> float:
    """Area of polygons in a box."""
    # `clip_by_rect` would be quicker, but where edges all but coincide with the rectangle's it loses whole squares.
    box = shapely.box(*bounds)
    try:
        return float(shapely.area(shapely.intersection(parts, box)).sum())
    except shapely.errors.GEOSException:  # of edges that all but coincide; a hundredth of a millimetre settles it
        return float(shapely.area(shapely.intersection(parts, box, grid_size=1e-5)).sum())


def polygons(area: shapely.Geometry | npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Polygons with an area that geometries consist of."""
    parts = shapely.get_parts(area)
    if (shapely.get_type_id(parts) != shapely.GeometryType.POLYGON).any():
        parts = shapely.get_parts(parts)
        parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return np.asarray(parts[shapely.area(parts) > 0])
