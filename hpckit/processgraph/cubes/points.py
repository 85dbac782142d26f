"""Points within geometries: at regular distances, and at random."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Geometries
from hpckit.processgraph.cubes.vectors import require_metres, require_vectors
from hpckit.processgraph.derived import chosen, derived
from hpckit.processgraph.process import Call, on_cubes

_Numbers = npt.NDArray[np.float64]
_MOST_CELLS: Final = 50_000_000
"""Cells of a regular grid over one polygon."""


@on_cubes("vector_to_regular_points")
def vector_to_regular_points(call: Call) -> Cube:
    """Points at regular distances within each geometry."""

    def make() -> tuple[Geometries, npt.NDArray[np.int64]]:
        geometries, distance = require_vectors(call), call.value("distance")
        if isinstance(distance, bool) or not isinstance(distance, int | float) or not distance > 0:
            raise GraphError("argument 'distance' must be a number above 0", fault="ProcessParameterInvalid")
        require_metres(geometries.crs)
        return _sampled(geometries, call, lambda row: _regular(geometries.shapes[row], float(distance)))

    return derived(call, *call.once(make))


@on_cubes("vector_to_random_points")
def vector_to_random_points(call: Call) -> Cube:
    """Points at random within each geometry."""

    def make() -> tuple[Geometries, npt.NDArray[np.int64]]:
        geometries = require_vectors(call)
        counts = _counts(geometries, call.value("geometry_count"), call.value("total_count"))
        seed = call.value("seed")
        # Without a seed, the units of a job must still draw the same points.
        start = _digest(geometries) if seed is None else abs(int(seed)) * 2 + (seed < 0)

        def draw(row: int) -> _Numbers:
            return _random(geometries.shapes[row], int(counts[row]), np.random.default_rng([start, row]))

        return _sampled(geometries, call, draw)

    return derived(call, *call.once(make))


def _sampled(
    geometries: Geometries, call: Call, sample: Callable[[int], _Numbers]
) -> tuple[Geometries, npt.NDArray[np.int64]]:
    """Points of all geometries, and the geometry of each: multipoints, or single points without identifiers."""
    points = [
        np.empty((0, 2)) if shape.is_empty else sample(row) for row, shape in enumerate(geometries.shapes.tolist())
    ]
    if call.value("group", True):
        shapes = np.array([shapely.MultiPoint(each) for each in points], dtype=object)
        return replace(geometries, shapes=shapes), np.arange(len(geometries))
    empty = [row for row, each in enumerate(points) if not len(each)]
    rows = np.repeat(np.arange(len(points)), [max(1, len(each)) for each in points])
    single = np.full(len(rows), shapely.Point(), dtype=object)
    single[~np.isin(rows, empty)] = shapely.points(np.concatenate([np.empty((0, 2)), *points]))
    return replace(chosen(geometries, rows), shapes=single, ids=()), rows


def _regular(shape: shapely.Geometry, distance: float) -> _Numbers:
    points = [_regular_part(part, distance) for part in _by_kind(shape)]
    return np.concatenate(points)


def _regular_part(shape: shapely.Geometry, distance: float) -> _Numbers:
    if "Point" in shape.geom_type:
        return np.asarray(shapely.get_coordinates(shape))
    if "Line" in shape.geom_type:
        lines = shapely.get_parts(shape)
        return np.concatenate(
            [
                shapely.get_coordinates(
                    shapely.line_interpolate_point(line, np.arange(0, line.length * (1 + 1e-12), distance))
                )
                for line in lines
            ]
        )
    west, south, east, north = shape.bounds
    columns, rows = (max(1, int(np.ceil(side / distance - 1e-9))) for side in (east - west, north - south))
    if columns * rows > _MOST_CELLS:
        raise GraphError(
            f"points {distance:g} m apart would be more than {_MOST_CELLS:,} for one geometry",
            hint="give a larger distance",
            fault="ProcessParameterInvalid",
        )
    x = west + (np.arange(columns) + 0.5) * distance
    y = north - (np.arange(rows) + 0.5) * distance
    at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    shapely.prepare(shape)
    inside = at[shapely.contains_xy(shape, at[:, 0], at[:, 1])]
    return inside if len(inside) else np.asarray(shapely.get_coordinates(shape)[:1])


def _by_kind(shape: shapely.Geometry) -> list[shapely.Geometry]:
    """A geometry, or the parts of a collection of different kinds."""
    return [part for part in shape.geoms if not part.is_empty] if shape.geom_type == "GeometryCollection" else [shape]


def _counts(geometries: Geometries, each: int | None, total: int | None) -> npt.NDArray[np.int64]:
    """Number of points of each geometry: one, what is allowed for each, or its share by size of what is allowed."""
    there = ~shapely.is_empty(geometries.shapes)
    if total is not None and total < there.sum():
        raise GraphError(
            f"argument 'total_count' is {total}, but there are {there.sum()} geometries",
            hint="each geometry needs one point at least",
            fault="CountMismatch",
        )
    if total is None or not there.any():
        return np.where(there, each or 1, 0)
    if each is not None and each * there.sum() <= total:
        return np.where(there, each, 0)
    sizes = _sizes(geometries.shapes)
    share = np.where(there, sizes / sizes[there].sum() * (total - there.sum()), 0.0)
    counts = np.floor(share).astype(np.int64)
    left = int(total - there.sum() - counts.sum())
    counts[np.argsort(counts - share, kind="stable")[:left]] += 1
    counts = np.where(there, counts + 1, 0)
    return counts if each is None else np.minimum(counts, each)


def _sizes(shapes: npt.NDArray[np.object_]) -> _Numbers:
    """Area of polygons, or length of lines if there is no polygon, or 1."""
    for size in (shapely.area(shapes), shapely.length(shapes)):
        if (size > 0).any():
            return np.asarray(size)
    return np.ones(len(shapes))


def _random(shape: shapely.Geometry, count: int, generator: np.random.Generator) -> _Numbers:
    """Points that are spread evenly over a polygon, along a line, or some of several points."""
    polygons = [part for part in _leaves(shape) if part.geom_type == "Polygon" and part.area > 0]
    if polygons:
        return _in_triangles(polygons, count, generator)
    lines = [part for part in _leaves(shape) if part.geom_type == "LineString"]
    if lines:
        lengths = np.array([line.length for line in lines])
        ends = np.cumsum(lengths)
        at = generator.uniform(0, ends[-1], count)
        line = np.minimum(np.searchsorted(ends, at, side="right"), len(lines) - 1)
        points = shapely.line_interpolate_point(np.array(lines)[line], at - (ends - lengths)[line])
        return np.asarray(shapely.get_coordinates(points))
    points = np.unique(shapely.get_coordinates(shape), axis=0)
    return np.asarray(generator.permutation(points)[:count])


def _in_triangles(polygons: list[shapely.Geometry], count: int, generator: np.random.Generator) -> _Numbers:
    """Uniform points of the triangles that polygons consist of (Osada et al. 2002, doi:10.1145/571647.571648)."""
    valid = shapely.make_valid(np.array(polygons, dtype=object))
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(valid))
    triangles = triangles[shapely.area(triangles) > 0]
    ends = np.cumsum(shapely.area(triangles))
    which = np.minimum(np.searchsorted(ends, generator.uniform(0, ends[-1], count), side="right"), len(ends) - 1)
    corners = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[which]
    root, along = np.sqrt(generator.uniform(size=(count, 1))), generator.uniform(size=(count, 1))
    return np.asarray((1 - root) * corners[:, 0] + root * (1 - along) * corners[:, 1] + root * along * corners[:, 2])


def _leaves(shape: shapely.Geometry) -> list[shapely.Geometry]:
    return [leaf for part in shape.geoms for leaf in _leaves(part)] if hasattr(shape, "geoms") else [shape]


def _digest(geometries: Geometries) -> int:
    content = b"".join(shapely.to_wkb(geometries.shapes))
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
