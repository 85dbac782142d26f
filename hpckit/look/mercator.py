"""Tiles of web maps: z/x/y in EPSG:3857, and where rasters of other CRSs lie there."""

from __future__ import annotations

from math import cosh, pi
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine

from hpckit.errors import HpckitError
from hpckit.space.vector.project import transformer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Bounds = tuple[float, float, float, float]
"""West, south, east, north in metres of EPSG:3857."""

MOST_ZOOM: Final = 22
"""Highest zoom of a map: 4 cm at the equator for maps of 256 pixels."""
SIZES: Final = (256, 512)
"""Edges of map tiles in pixels."""
_EPSG: Final = 3857
RADIUS_M: Final = 6378137.0
HALF_WORLD: Final = pi * RADIUS_M
_STEPS: Final = 20
"""Parts of an edge of a raster, whose corners are projected."""


def require_map_tile(z: int, x: int, y: int, size: int) -> None:
    """Refuse a map tile that cannot be.

    Raises
    ------
    HpckitError
        Names the number that is out of range.
    """
    if size not in SIZES:
        raise HpckitError(f"a map tile has {' or '.join(map(str, SIZES))} pixels on a side, not {size}")
    if not 0 <= z <= MOST_ZOOM:
        raise HpckitError(f"zoom {z} is not within 0 and {MOST_ZOOM}")
    for name, number in (("x", x), ("y", y)):
        if not 0 <= number < 2**z:
            raise HpckitError(f"{name} {number} is not within 0 and {2**z - 1}, as zoom {z} has them")


def bounds_of_map_tile(z: int, x: int, y: int) -> Bounds:
    """Where a map tile lies; x counts from the west, y from the north."""
    edge = 2 * HALF_WORLD / 2**z
    west, north = x * edge - HALF_WORLD, HALF_WORLD - y * edge
    return west, north - edge, west + edge, north


def map_tile_at(z: int, east: float, north: float) -> tuple[int, int]:
    """Column and row of the map tile at a place in EPSG:3857."""
    edge = 2 * HALF_WORLD / 2**z
    return int((east + HALF_WORLD) // edge), int((HALF_WORLD - north) // edge)


def geobox_of_map_tile(z: int, x: int, y: int, size: int) -> GeoBox:
    """Pixels of a map tile."""
    from odc.geo.geobox import GeoBox

    west, _, east, north = bounds_of_map_tile(z, x, y)
    pixel = (east - west) / size
    return GeoBox((size, size), Affine(pixel, 0, west, 0, -pixel, north), "EPSG:3857")


def ground_m(target: GeoBox) -> float:
    """Metres on the ground of the pixels in the middle of a picture: those of EPSG:3857 shrink towards the poles."""
    transform, (rows, _) = target.transform, target.shape
    if target.crs is None or target.crs.epsg != _EPSG:
        return abs(float(transform.e))
    return abs(float(transform.e)) / cosh((transform.f + rows / 2 * transform.e) / RADIUS_M)


def bounds_of(epsg: int, transform: Affine, shape: tuple[int, int]) -> tuple[Bounds, ...]:
    """Where a raster lies: a box, or two where it crosses the antimeridian."""
    rows, columns = shape
    down, along = np.linspace(0, rows, _STEPS + 1), np.linspace(0, columns, _STEPS + 1)
    edges = [(along, 0 * along), (along, 0 * along + rows), (0 * down, down), (0 * down + columns, down)]
    column, row = (np.concatenate([edge[place] for edge in edges]) for place in (0, 1))
    a, b, c, d, e, f = tuple(transform)[:6]
    x, y = transformer(epsg, 3857).transform(a * column + b * row + c, d * column + e * row + f)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return ()
    x, y = x[known], y[known]
    if x.max() - x.min() < HALF_WORLD:
        return ((float(x.min()), float(y.min()), float(x.max()), float(y.max())),)
    south, north = float(y.min()), float(y.max())
    return (
        (float(x[x > 0].min()), south, HALF_WORLD, north),
        (-HALF_WORLD, south, float(x[x <= 0].max()), north),
    )


def touch(one: Bounds, other: Bounds) -> bool:
    """Whether two boxes share some area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
