"""Footprints in longitude and latitude, right at the antimeridian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyproj
import shapely
import shapely.affinity
import shapely.geometry

_SEGMENT_M: Final = 20_000
"""Distance between points on the edge of a box."""
_NEAR: Final = 0.1
"""Degrees by which an outline may leave its granule: edges are straight in one CRS only, and few points mark them."""


def polygon(ring: Sequence[tuple[float, float]]) -> shapely.Geometry:
    """Polygon of a ring of (longitude, latitude), cut where it crosses the antimeridian.

    A ring that spans more than 180 degrees is taken to cross it: no granule is that wide.
    """
    longitudes = [longitude for longitude, _ in ring]
    if len(ring) < 3:
        raise ValueError("a footprint has three points at least")
    if max(longitudes) - min(longitudes) <= 180:
        return _joined([shapely.make_valid(shapely.Polygon(ring))])
    east = shapely.make_valid(shapely.Polygon([(x + 360 if x < 0 else x, y) for x, y in ring]))
    return _joined(
        [
            shapely.intersection(east, shapely.box(0, -90, 180, 90)),
            shapely.affinity.translate(shapely.intersection(east, shapely.box(180, -90, 540, 90)), -360),
        ]
    )


def of_box(bounds: tuple[float, float, float, float], epsg: int) -> shapely.Geometry:
    """Polygon of a box (left, bottom, right, top) of a CRS in metres, with points along its edges, which bend."""
    corners = shapely.get_coordinates(shapely.box(*bounds).segmentize(_SEGMENT_M))
    to_degrees = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(corners[:, 0], corners[:, 1])
    return polygon(list(zip(longitude.round(7).tolist(), latitude.round(7).tolist(), strict=True)))


def of_positions(text: str, granule: shapely.Geometry, area: shapely.Geometry | None = None) -> shapely.Geometry:
    """Polygon of a granule, from a product's list of positions.

    Latitude comes before longitude. Some products have a height after each, which the last point may lack; the list
    does not say so. What lies on the granule is right, and where nothing does, the granule itself is taken.

    Parameters
    ----------
    granule : geometry
        The granule's square.
    area : geometry, optional
        All granules of the product, if it has several: positions are those of the product, and the granule's part of
        them is taken.
    """
    near = (granule if area is None else area).buffer(_NEAR)
    try:
        numbers = [float(number) for number in text.split()]
    except ValueError:
        return granule
    # Heights are mostly all 0; what is read with them first could also pass for pairs, close to 0 north and 0 east.
    for step in (3, 2) if len(set(numbers[2::3])) == 1 else (2, 3):
        ring = [(numbers[n + 1], numbers[n]) for n in range(0, len(numbers) - 1, step)]
        try:
            found = polygon(ring) if all(map(_is_on_earth, ring)) else None
        except (ValueError, shapely.errors.ShapelyError):
            continue
        if found is not None and near.covers(found):
            return found if area is None else _part_of(found, granule) or granule
    return granule


def _part_of(outline: shapely.Geometry, square: shapely.Geometry) -> shapely.Geometry | None:
    """The part of an outline that lies in a square; None if none does."""
    try:
        return _joined([shapely.intersection(outline, square)])
    except ValueError:
        return None


def _is_on_earth(point: tuple[float, float]) -> bool:
    return abs(point[0]) <= 180 and abs(point[1]) <= 90


def square(epsg: int, ulx: float, uly: float, shape: tuple[int, int]) -> shapely.Geometry:
    """Outline of a granule of `shape` (rows, columns) of 10 m, where the metadata give no footprint."""
    east, south = ulx + 10 * shape[1], uly - 10 * shape[0]
    corners = shapely.segmentize(shapely.box(ulx, south, east, uly), 10_000)
    x, y = shapely.get_coordinates(corners).T
    longitudes, latitudes = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
    return polygon([(float(x), float(y)) for x, y in zip(longitudes, latitudes, strict=True)])


def outline(crs: str, transform: Sequence[float], shape: tuple[int, int], per_side: int = 10) -> shapely.Geometry:
    """Outline of a raster of `shape` (rows, columns) with an affine transform in any CRS."""
    box = shapely.segmentize(shapely.box(0, 0, shape[1], shape[0]), max(shape) / per_side)
    columns, rows = shapely.get_coordinates(box).T
    a, b, c, d, e, f = transform
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    longitudes, latitudes = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return polygon([(float(x), float(y)) for x, y in zip(longitudes, latitudes, strict=True)])


def geojson(shape: shapely.Geometry) -> dict[str, Any]:
    """Geometry of GeoJSON."""
    return dict(shapely.geometry.mapping(shape))


def bbox(shape: shapely.Geometry) -> list[float]:
    """Bounding box as GeoJSON (RFC 7946) has it: west is greater than east where it crosses the antimeridian."""
    west, south, east, north = (float(bound) for bound in shape.bounds)
    parts = [part.bounds for part in shapely.get_parts(shape)]
    if len(parts) > 1 and east - west > 180:
        west = min(part[0] for part in parts if part[0] > 0)
        east = max(part[2] for part in parts if part[2] < 0)
    return [west, south, east, north]


def around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Smallest bounding box around some, as GeoJSON has it: it crosses the antimeridian where that is shorter."""
    spans = sorted((west, east if west <= east else east + 360) for west, _, east, _ in boxes)
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    merged = [list(spans[0])]
    for west, east in spans[1:]:
        if west <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], east)
        else:
            merged.append([west, east])
    starts = [west for west, _ in merged]
    ends = [max(east for _, east in merged[: n + 1]) for n in range(len(merged))]
    # The widest gap stays outside: between two spans, or, as the last, from the end of all round to the first.
    gaps = [start - end for start, end in zip([*starts[1:], starts[0] + 360], ends, strict=True)]
    if max(gaps) <= 0:
        return [-180.0, south, 180.0, north]
    last = gaps.index(max(gaps[-1], *gaps)) if max(gaps) > gaps[-1] else len(gaps) - 1
    west, east = starts[(last + 1) % len(starts)], ends[last]
    return [_degrees(west), south, _degrees(east), north]


def _degrees(longitude: float) -> float:
    return longitude - 360 if longitude > 180 else longitude


def _joined(shapes: Sequence[shapely.Geometry]) -> shapely.Geometry:
    """Polygons only: making a footprint valid, or cutting it, may leave lines and points besides."""
    parts = [part for shape in shapes for part in _polygons(shape)]
    if not parts:
        raise ValueError("the footprint has no area")
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _polygons(shape: shapely.Geometry) -> list[shapely.Geometry]:
    parts = shapely.get_parts(shapely.get_parts(shape))
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
