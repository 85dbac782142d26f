"""Squares between whole multiples of a length from a point of a CRS, and the UTM zones that an area reaches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyproj
import shapely
import shapely.affinity

from hpckit.errors import GridError
from hpckit.space.overlap import RIM_DEGREES, Candidates, in_crs
from hpckit.space.tile import Tile

_MOST_TILES: Final = 2_000_000
_POLAR: Final = 84.0
_CELLS: Final = [(zone, north) for north in (True, False) for zone in range(1, 61)]
"""UTM zones, in both hemispheres."""


def candidates(
    area: shapely.Geometry,
    epsg: int | None,
    size_m: float,
    buffer_m: float,
    corner: tuple[float, float] = (0.0, 0.0),
) -> Candidates:
    """By CRS, an area in it and the squares that may touch the area.

    Squares of a UTM zone are those that touch its six degrees: without gaps, and overlapping only where two zones
    meet.

    Parameters
    ----------
    area : shapely geometry
        In longitude and latitude.
    epsg : int, optional
        None for UTM zones.
    corner : tuple of float
        Easting and northing from which squares are counted.
    """
    if epsg is None:
        yield from _in_zones(area, size_m, buffer_m, corner)
        return
    local = in_crs(area, require_metres(epsg))
    yield local, list(squares(local, epsg, size_m, buffer_m, corner=corner))


def _in_zones(area: shapely.Geometry, size_m: float, buffer_m: float, corner: tuple[float, float]) -> Candidates:
    for zone, north, strip in zones(widen_degrees(area, buffer_m)):
        epsg = (32600 if north else 32700) + zone
        prefix = f"{zone:02d}{'N' if north else 'S'}_"
        yield in_crs(area, epsg), list(squares(in_crs(strip, epsg), epsg, size_m, 0.0, prefix, corner))


def squares(
    area: shapely.Geometry,
    epsg: int,
    size: float,
    buffer_m: float,
    prefix: str = "",
    corner: tuple[float, float] = (0.0, 0.0),
) -> Iterator[Tile]:
    """Squares that touch the area's parts, counted from a corner; exact tests come later."""
    left, bottom = corner
    wide = area.buffer(buffer_m) if buffer_m else area
    shapely.prepare(wide)
    count = 0
    seen: set[tuple[int, int]] = set()
    for part in shapely.get_parts(wide):
        west, south, east, north = part.bounds
        columns = np.arange(math.floor((west - left) / size), math.ceil((east - left) / size))
        rows = range(math.floor((south - bottom) / size), math.ceil((north - bottom) / size))
        count += len(columns) * len(rows)
        if count > _MOST_TILES:
            raise GridError(f"tiles of {size:g} m would be more than {_MOST_TILES:,} here; make them larger")
        for row in rows:
            low, high = row * size + bottom, (row + 1) * size + bottom
            boxes = shapely.box(columns * size + left, low, (columns + 1) * size + left, high)
            for column in columns[shapely.intersects(wide, boxes)].tolist():
                if (row, column) not in seen:
                    seen.add((row, column))
                    box = (column * size + left, low, (column + 1) * size + left, high)
                    yield Tile(f"{prefix}{_index('E', column)}{_index('N', row)}", epsg, *box)


def _index(letter: str, number: int) -> str:
    return f"{letter}{'m' if number < 0 else ''}{abs(number):04d}"


def zones(area: shapely.Geometry) -> Iterator[tuple[int, bool, shapely.Geometry]]:
    """UTM zones that an area reaches into, by hemisphere, with the part of the area in each."""
    polygons = shapely.get_parts(area)
    polygons = polygons[shapely.area(polygons) > 0]
    inner = {cell: np.flatnonzero(shapely.intersects(polygons, _zone_box(*cell, RIM_DEGREES))) for cell in _CELLS}
    lone = np.setdiff1d(np.arange(len(polygons)), np.concatenate(list(inner.values())))
    for (zone, north), rows in inner.items():
        box = _zone_box(zone, north)
        narrow = lone[shapely.intersects(polygons[lone], box)]
        strips = shapely.intersection(polygons[np.union1d(rows, narrow)], box)
        parts = [part for strip in strips for part in shapely.get_parts(strip) if part.area > 0]
        if parts:
            yield zone, north, shapely.MultiPolygon(parts)


def _zone_box(zone: int, north: bool, rim: float = 0.0) -> shapely.Geometry:
    south, top = (0.0, _POLAR) if north else (-80.0, 0.0)
    return shapely.box(-186 + 6 * zone + rim, south + rim, -180 + 6 * zone - rim, top - rim)


def widen_degrees(area: shapely.Geometry, buffer_m: float) -> shapely.Geometry:
    """Area widened by at least `buffer_m`, in degrees: for finding candidates only."""
    if buffer_m <= 0:
        return area
    _, south, _, north = area.bounds
    latitude = min(85.0, max(abs(south), abs(north)))
    degrees = buffer_m / 111_000 / math.cos(math.radians(latitude))
    wide = area.buffer(degrees)
    world = shapely.box(-180, -90, 180, 90)
    return shapely.union_all(
        [shapely.intersection(shapely.affinity.translate(wide, shift), world) for shift in (-360, 0, 360)]
    )


def require_metres(epsg: int) -> int:
    """Check that a CRS can carry a grid, and return its code.

    Raises
    ------
    GridError
        If it is unknown, or not projected in metres.
    """
    try:
        crs = pyproj.CRS.from_epsg(epsg)
    except pyproj.exceptions.CRSError:
        raise GridError(f"EPSG:{epsg} is no known CRS") from None
    if not crs.is_projected or any(axis.unit_name != "metre" for axis in crs.axis_info):
        raise GridError(f"EPSG:{epsg} ({crs.name}) is not projected in metres", hint="for Europe take EPSG:3035")
    return epsg
