"""Shapes from one CRS to another, true to their edges: straight there, they are curved here.

An edge is cut into as many parts as it takes for each to stay within a tolerance of the curve that it becomes.
In longitude and latitude shapes may cross the antimeridian or hold a pole: they are cut at the one, and
reach to the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
import shapely.affinity

TOLERANCE_M: Final = 0.1
"""How far an edge may lie from where it belongs, metres."""
_EARTH_M: Final = 6_371_000.0
_SHORT_M: Final = 250.0
"""Edges up to this length err by less than `TOLERANCE_M`, up to half a degree from the poles."""
_SAMPLES: Final = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_MOST_PARTS: Final = 32
"""Parts into which an edge is cut before they are looked at again."""
_ROUNDS: Final = 16
_POLE: Final = 90 - 1e-9
_WORLD: Final = shapely.box(-180, -90, 180, 90)
_LEAST_AREA: Final = 1e-16
"""Square degrees, less than a square millimetre."""

_Numbers = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]
_Shapes = npt.NDArray[np.object_]
_Flat = tuple[shapely.GeometryType, _Numbers, tuple[_Counts, _Counts, _Counts]]
"""Polygons as shapely's ragged arrays: coordinates, and where rings, polygons and multipolygons begin."""


@lru_cache(maxsize=256)
def transformer(source: pyproj.CRS | str | int, target: pyproj.CRS | str | int) -> pyproj.Transformer:
    """Transformer with x before y, whatever order the CRSs declare."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def project(shapes: _Shapes, source: pyproj.CRS, target: pyproj.CRS, tolerance_m: float = TOLERANCE_M) -> _Shapes:
    """Polygons in another CRS; no edge errs by more than `tolerance_m`.

    Coordinates that the target cannot show become infinite. For longitude and latitude, `to_degrees` is better.
    """
    if source == target or not len(shapes):
        return shapes
    way = _Way(source, target)
    kind, xy, offsets = _dense(shapes, way, tolerance_m)
    return np.asarray(shapely.from_ragged_array(kind, way.forward(xy), offsets))


def to_degrees(shapes: _Shapes, source: pyproj.CRS, tolerance_m: float = TOLERANCE_M) -> _Shapes:
    """Polygons in longitude and latitude of WGS 84, cut at the antimeridian and complete at the poles.

    Coordinates that have no place in longitude and latitude become infinite.
    """
    if not len(shapes):
        return shapes
    way = _Way(source, pyproj.CRS.from_epsg(4326))
    kind, xy, offsets = _dense(shapes, way, tolerance_m)
    moved = way.forward(xy)
    whole = np.asarray(shapely.from_ragged_array(kind, moved, offsets))
    for row in _leaping(moved, offsets):
        if np.isfinite(shapely.get_coordinates(whole[row])).all():
            whole[row] = within_world(shapely.union_all([_unrolled(part) for part in shapely.get_parts(whole[row])]))
    return whole


def within_world(shape: shapely.Geometry) -> shapely.Geometry:
    """What lies between -540 and 540 degrees of longitude, turned to between -180 and 180."""
    west, south, east, north = shape.bounds
    if west >= -180 and east <= 180 and south >= -90 and north <= 90:
        return _with_area(shape)
    turns = [shapely.affinity.translate(shape, turn) for turn in (-360, 0, 360)]
    return _with_area(shapely.union_all([shapely.intersection(turn, _WORLD) for turn in turns]))


def united(polygons: _Shapes) -> shapely.Geometry:
    """What valid polygons cover together; most of them, as fields of a country, do not touch each other."""
    return shapely.disjoint_subset_union_all(polygons)


def _with_area(shape: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(shapely.get_parts(shape))
    areal = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (shapely.area(parts) > _LEAST_AREA)
    return shapely.multipolygons(parts[areal])


class _Way:
    """From one CRS to another."""

    def __init__(self, source: pyproj.CRS, target: pyproj.CRS) -> None:
        self._transformer = transformer(source, target)
        self._round = target.is_geographic
        self._unit_m = _metres(target)
        self.source_unit_m = _metres(source)

    def forward(self, xy: _Numbers) -> _Numbers:
        """Points, shape (points, 2), in the target."""
        return np.column_stack(self._transformer.transform(xy[:, 0], xy[:, 1])) if len(xy) else xy

    def bend(self, start: _Numbers, end: _Numbers, first: _Numbers, last: _Numbers) -> _Numbers:
        """How far parts of edges lie from their curves in the target, at most, metres.

        Parts reach from `first` to `last`, of edges from `start` (0) to `end` (1).
        """
        places = first[:, None] + (last - first)[:, None] * _SAMPLES
        points = start[:, None, :] + (end - start)[:, None, :] * places[:, :, None]
        moved = self.forward(points.reshape(-1, 2)).reshape(points.shape)
        east, north = moved[:, :, 0], moved[:, :, 1]
        if self._round:
            east = (east - east[:, :1] + 180) % 360 - 180
        with np.errstate(invalid="ignore"):
            off_east = east - east[:, :1] - (east[:, -1:] - east[:, :1]) * _SAMPLES
            off_north = north - north[:, :1] - (north[:, -1:] - north[:, :1]) * _SAMPLES
            if self._round:
                off_east = off_east * np.cos(np.radians(north))
            return np.asarray(np.hypot(off_east, off_north).max(axis=1) * self._unit_m)


def _metres(crs: pyproj.CRS) -> float:
    """Metres of a unit of a CRS, at most."""
    factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    return factor * _EARTH_M if crs.is_geographic else factor


def _dense(shapes: _Shapes, way: _Way, tolerance_m: float) -> _Flat:
    """Polygons as flat arrays, with vertices added along edges that bend."""
    kind, xy, offsets = shapely.to_ragged_array(_as_multi(shapes), include_z=False)
    rings, polygons, rows = (np.asarray(part, dtype=np.int64) for part in offsets)
    long = _long_edges(xy, rings, _SHORT_M * np.sqrt(tolerance_m / TOLERANCE_M) / way.source_unit_m)
    if len(long):
        start, end = xy[long], xy[long + 1]
        # Neighbours share edges, in opposite directions: both get the same vertices.
        turned = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
        start[turned], end[turned] = end[turned], start[turned].copy()
        edge, place = _cuts(start, end, way, tolerance_m)
        added = start[edge] + (end - start)[edge] * place[:, None]
        order = np.lexsort((np.where(turned[edge], 1 - place, place), edge))
        where = long[edge[order]] + 1
        rings = rings + np.searchsorted(where, rings, side="left")
        xy = np.insert(xy, where, added[order], axis=0)
    return kind, xy, (rings, polygons, rows)


def _long_edges(xy: _Numbers, rings: _Counts, least: float) -> _Counts:
    """First vertices of edges that are longer than `least`."""
    if len(xy) < 2:
        return np.empty(0, np.int64)
    lengths = np.hypot(*np.diff(xy, axis=0).T)
    lengths[rings[1:-1] - 1] = 0  # from one ring to the next there is no edge
    return np.flatnonzero(lengths > least)


def _cuts(start: _Numbers, end: _Numbers, way: _Way, tolerance_m: float) -> tuple[_Counts, _Numbers]:
    """Where to cut edges: for each cut the number of the edge, and the place along it between 0 and 1."""
    edge = np.arange(len(start))
    first, last = np.zeros(len(start)), np.ones(len(start))
    edges, places = [edge[:0]], [first[:0]]
    for _ in range(_ROUNDS):
        bend = np.nan_to_num(way.bend(start[edge], end[edge], first, last), posinf=0.0)
        parts = np.clip(np.ceil(np.sqrt(bend / tolerance_m)), 1, _MOST_PARTS).astype(np.int64)
        bent = parts > 1
        if not bent.any():
            break
        parts = parts[bent]
        number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        step = np.repeat((last[bent] - first[bent]) / parts, parts)
        first = np.repeat(first[bent], parts) + number * step
        edge, last = np.repeat(edge[bent], parts), first + step
        edges.append(edge[number > 0])
        places.append(first[number > 0])
    return np.concatenate(edges), np.concatenate(places)


def _leaping(xy: _Numbers, offsets: tuple[_Counts, _Counts, _Counts]) -> list[int]:
    """Shapes with an edge that leaps over the antimeridian, or with a vertex at a pole."""
    rings, polygons, rows = offsets
    leaps = np.flatnonzero((np.abs(np.diff(xy[:, 0])) > 180) | (np.abs(xy[:-1, 1]) > _POLE))
    leaps = leaps[~np.isin(leaps + 1, rings) | (np.abs(xy[leaps, 1]) > _POLE)]
    ring = np.searchsorted(rings, leaps, side="right") - 1
    polygon = np.searchsorted(polygons, ring, side="right") - 1
    return np.unique(np.searchsorted(rows, polygon, side="right") - 1).tolist()  # type: ignore[no-any-return]


def _as_multi(shapes: _Shapes) -> _Shapes:
    single = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    if not single.any():
        return shapes
    multi = shapes.copy()
    multi[single] = shapely.multipolygons(shapes[single], indices=np.arange(single.sum()))
    return multi


def _unrolled(polygon: shapely.Geometry) -> shapely.Geometry:
    """A polygon whose longitudes run on beyond 180 degrees."""
    shell = _ring(polygon.exterior)
    middle = (shell.bounds[0] + shell.bounds[2]) / 2
    for inner in polygon.interiors:
        hole = _ring(inner)
        turns = round((middle - (hole.bounds[0] + hole.bounds[2]) / 2) / 360)
        for turn in (turns - 1, turns, turns + 1):
            shell = shapely.difference(shell, shapely.affinity.translate(hole, 360 * turn))
    return shell


def _ring(ring: shapely.Geometry) -> shapely.Geometry:
    xy = _split_poles(shapely.get_coordinates(ring)[:-1])
    closed = np.append(xy[:, 0], xy[0, 0])
    longitudes = np.unwrap(closed, period=360)
    xy = np.column_stack([longitudes, np.append(xy[:, 1], xy[0, 1])])
    if abs(longitudes[-1] - longitudes[0]) > 180:  # round a pole, which belongs to the inner
        pole = 90.0 if xy[:, 1].mean() > 0 else -90.0
        xy = np.concatenate([xy, [[longitudes[-1], pole], [longitudes[0], pole], xy[0]]])
    return shapely.make_valid(shapely.Polygon(xy))


def _split_poles(xy: _Numbers) -> _Numbers:
    """Vertices at a pole have any longitude: that of the vertex before, and that of the one after."""
    polar = np.abs(xy[:, 1]) > _POLE
    if not polar.any() or polar.all():
        return xy
    xy = np.roll(xy, -int(np.flatnonzero(~polar)[0]), axis=0)
    points: list[list[float]] = []
    for number, (longitude, latitude) in enumerate(xy.tolist()):
        if abs(latitude) > _POLE:
            after = xy[(number + 1) % len(xy), 0]
            points += [[points[-1][0], latitude], [float(after), latitude]]
        else:
            points.append([longitude, latitude])
    return np.array(points)
