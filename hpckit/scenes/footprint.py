"""Footprints in longitude and latitude, right at the antimeridian."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyproj
import shapely
import shapely.affinity


def polygon(ring: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """GeoJSON geometry of a ring of (longitude, latitude), cut where it crosses the antimeridian.

    A ring that spans more than 180 degrees is taken to cross it: no granule is that wide.
    """
    longitudes = [longitude for longitude, _ in ring]
    if max(longitudes) - min(longitudes) <= 180:
        return _geojson([shapely.make_valid(shapely.Polygon(ring))])
    east = shapely.make_valid(shapely.Polygon([(x + 360 if x < 0 else x, y) for x, y in ring]))
    return _geojson(
        [
            shapely.intersection(east, shapely.box(0, -90, 180, 90)),
            shapely.affinity.translate(shapely.intersection(east, shapely.box(180, -90, 540, 90)), -360),
        ]
    )


def square(epsg: int, ulx: float, uly: float, shape: tuple[int, int]) -> dict[str, Any]:
    """GeoJSON geometry of a granule of `shape` (rows, columns) of 10 m, where the metadata give no footprint."""
    east, south = ulx + 10 * shape[1], uly - 10 * shape[0]
    corners = shapely.segmentize(shapely.box(ulx, south, east, uly), 10_000)
    x, y = shapely.get_coordinates(corners).T
    longitudes, latitudes = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
    return polygon([(float(x), float(y)) for x, y in zip(longitudes, latitudes, strict=True)])


def outline(crs: str, transform: Sequence[float], shape: tuple[int, int], per_side: int = 10) -> dict[str, Any]:
    """GeoJSON geometry of a raster of `shape` (rows, columns) with an affine transform in any CRS."""
    box = shapely.segmentize(shapely.box(0, 0, shape[1], shape[0]), max(shape) / per_side)
    columns, rows = shapely.get_coordinates(box).T
    a, b, c, d, e, f = transform
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    longitudes, latitudes = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return polygon([(float(x), float(y)) for x, y in zip(longitudes, latitudes, strict=True)])


def bbox(geometry: Mapping[str, Any]) -> list[float]:
    """Bounding box as GeoJSON (RFC 7946) has it: west is greater than east where it crosses the antimeridian."""
    shape = shapely.geometry.shape(geometry)
    west, south, east, north = (float(bound) for bound in shape.bounds)
    parts = [part.bounds for part in shapely.get_parts(shape)]
    if len(parts) > 1 and east - west > 180:
        west = min(part[0] for part in parts if part[0] > 0)
        east = max(part[2] for part in parts if part[2] < 0)
    return [west, south, east, north]


def _geojson(shapes: Sequence[shapely.Geometry]) -> dict[str, Any]:
    """Polygons only: making a footprint valid, or cutting it, may leave lines and points besides."""
    parts = [part for shape in shapes for part in _polygons(shape)]
    if not parts:
        raise ValueError("the footprint has no area")
    return dict(shapely.geometry.mapping(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)))


def _polygons(shape: shapely.Geometry) -> list[shapely.Geometry]:
    parts = shapely.get_parts(shapely.get_parts(shape))
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
