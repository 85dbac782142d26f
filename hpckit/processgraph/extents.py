"""Areas that limit a cube: bounding boxes, polygons, and the extents of other cubes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Grid
from hpckit.processgraph.graph import KnownGeometries
from hpckit.space.box import Box
from hpckit.space.warp import transformer

_POINTS_A_SIDE: Final = 64
"""Into which the sides of a box are cut before they are projected."""
_LEAST_SIDE: Final = 1e-9
"""Units of the CRS below which sides are not cut: GEOS refuses such a length."""
_GEOGRAPHIC: Final = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the Earth's surface."""

    shape: BaseGeometry
    """A rectangle along the axes of the CRS, or polygons."""
    crs: str
    is_box: bool
    """Whether it is a bounding box: then it stays one in any CRS. One across the antimeridian is none."""

    def bounds(self, crs: str) -> tuple[float, float, float, float]:
        """West, south, east, north in a CRS, of all points of the outline.

        Raises
        ------
        GraphError
            If it has no place in this CRS.
        """
        return bounds_in(self.shape, self.crs, crs)


def bounds_in(shape: BaseGeometry, source: str, target: str) -> tuple[float, float, float, float]:
    """West, south, east, north of a geometry in another CRS.

    Raises
    ------
    GraphError
        If it has no place in this CRS.
    """
    west, south, east, north = (float(bound) for bound in shape.bounds)
    if source != target and not shape.is_empty:
        side = max(east - west, north - south) / _POINTS_A_SIDE
        points = shapely.get_coordinates(shapely.segmentize(shape, side) if side > _LEAST_SIDE else shape)
        x, y = transformer(source, target).transform(points[:, 0], points[:, 1])
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise GraphError(
                f"the spatial extent {west:g}, {south:g}, {east:g}, {north:g} has no place in {short(target)}",
                hint="make it smaller, or give it in the CRS of the data",
                fault="ProcessParameterInvalid",
            )
        west, south, east, north = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    return west, south, east, north


def area_of(extent: Any, argument: str) -> Area:
    """Read a spatial extent: a bounding box, GeoJSON of polygons, or a cube.

    Raises
    ------
    GraphError
        If it is none of them, is empty, or its CRS is unknown.
    """
    if isinstance(extent, Cube):
        return _of_cube(extent, argument)
    if isinstance(extent, Mapping) and "west" in extent:
        return _of_box(extent, argument)
    if isinstance(extent, Mapping) and "type" in extent:
        return _of_polygons(extent, argument)
    raise GraphError(
        f"argument {argument!r} is no bounding box, GeoJSON or data cube",
        hint="give west, south, east and north, or polygons as GeoJSON",
        fault="ProcessParameterInvalid",
    )


def crs_name(crs: Any, argument: str) -> str:
    """`EPSG:32632`, or WKT 2 of a CRS without a code.

    Parameters
    ----------
    crs : int or str
        EPSG code, or anything that PROJ reads.

    Raises
    ------
    GraphError
        If there is no such CRS.
    """
    if isinstance(crs, bool) or not isinstance(crs, int | str):
        raise GraphError(f"argument {argument!r} has the CRS {crs!r}, which is no EPSG code", fault="CRSUnsupported")
    try:
        return _named(crs)
    except ValueError as error:
        raise GraphError(
            f"argument {argument!r} has an unknown CRS {short(str(crs))!r}",
            hint="give an EPSG code such as 32632, or WKT 2",
            fault="CRSUnsupported",
        ) from error


@lru_cache(maxsize=64)
def _named(crs: int | str) -> str:
    import pyproj

    try:
        found = pyproj.CRS.from_user_input(int(crs) if isinstance(crs, str) and crs.isdigit() else crs)
    except pyproj.exceptions.CRSError as error:
        raise ValueError(str(error)) from error
    code = found.to_epsg()
    return f"EPSG:{code}" if code else str(found.to_wkt())


@lru_cache(maxsize=64)
def _is_geographic(crs: str) -> bool:
    import pyproj

    return bool(pyproj.CRS.from_user_input(crs).is_geographic)


def short(crs: str) -> str:
    """A CRS for messages."""
    return crs if len(crs) < 40 else crs[:37] + "..."


def pixels_within(grid: Grid, bounds: tuple[float, float, float, float]) -> Box:
    """Pixels of a grid whose centres lie within bounds in its CRS, or on their edge; `NOTHING` if there are none."""
    columns = _centres(grid.left, grid.dx, grid.columns, bounds[0], bounds[2])
    rows = _centres(grid.top, grid.dy, grid.rows, bounds[1], bounds[3])
    if columns[0] >= columns[1] or rows[0] >= rows[1]:
        return Box(0, 0, 0, 0)
    return Box(rows[0], columns[0], rows[1], columns[1])


_ON_EDGE: Final = 1e-6
"""Of a pixel, within which a centre lies on an edge."""


def _centres(origin: float, step: float, count: int, low: float, high: float) -> tuple[int, int]:
    first, last = sorted(((low - origin) / step - 0.5, (high - origin) / step - 0.5))
    if not (math.isfinite(first) and math.isfinite(last)):
        return 0, 0
    return max(0, math.ceil(first - _ON_EDGE)), min(count, math.floor(last + _ON_EDGE) + 1)


def _of_box(extent: Mapping[str, Any], argument: str) -> Area:
    sides = []
    for name in ("west", "south", "east", "north"):
        side = extent.get(name)
        if isinstance(side, bool) or not isinstance(side, int | float) or not math.isfinite(side):
            raise GraphError(f"argument {argument!r} has no number {name!r}", fault="ProcessParameterInvalid")
        sides.append(float(side))
    west, south, east, north = sides
    given = extent.get("crs")
    crs = _GEOGRAPHIC if given is None else crs_name(given, argument)
    across = west > east and east >= -180 and west <= 180 and _is_geographic(crs)
    if south > north or (west > east and not across):
        low, high = ("south", "north") if south > north else ("west", "east")
        raise GraphError(
            f"argument {argument!r} is empty: its {low} {extent[low]} is greater than its {high} {extent[high]}",
            hint="exchange them",
            fault="ProcessParameterInvalid",
        )
    if across:
        halves = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
        return Area(shapely.union_all(halves), crs, is_box=False)
    return Area(shapely.box(*sides), crs, is_box=True)


def _of_polygons(document: Mapping[str, Any], argument: str) -> Area:
    found: list[BaseGeometry] = []
    for geometry in _geometries_of(document):
        try:
            shape = geometry if isinstance(geometry, BaseGeometry) else shapely.geometry.shape(geometry)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
            raise GraphError(f"argument {argument!r} is no valid GeoJSON", fault="ProcessParameterInvalid") from error
        if not np.isfinite(shapely.get_coordinates(shape)).all():
            raise GraphError(
                f"argument {argument!r} has coordinates that are no finite numbers", fault="ProcessParameterInvalid"
            )
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise GraphError(
                f"argument {argument!r} has a {shape.geom_type}",
                hint="give polygons",
                fault="ProcessParameterInvalid",
            )
        found.append(shape)
    shapes = [shape if shape.is_valid else shapely.make_valid(shape) for shape in found if not shape.is_empty]
    if not shapes:
        raise GraphError(f"argument {argument!r} has no polygon", fault="ProcessParameterInvalid")
    return Area(shapely.union_all(shapes), _crs_of(document, argument), is_box=False)


def _crs_of(document: Mapping[str, Any], argument: str) -> str:
    """By the member `crs` of GeoJSON of 2008, which clients of openEO still write."""
    if isinstance(document, KnownGeometries):
        return document.geometries.crs
    try:
        name = document["crs"]["properties"]["name"]
    except (KeyError, TypeError):
        return _GEOGRAPHIC
    return _GEOGRAPHIC if "CRS84" in str(name) else crs_name(name, argument)


def _geometries_of(document: Mapping[str, Any]) -> list[Any]:
    if isinstance(document, KnownGeometries):
        return [shape for shape in document.geometries.shapes if not shape.is_empty]
    if document["type"] == "FeatureCollection":
        return [geometry for feature in document.get("features") or () for geometry in _geometries_of(feature)]
    if document["type"] == "Feature":
        return [document["geometry"]] if document.get("geometry") is not None else []
    return [document]


def _of_cube(cube: Cube, argument: str) -> Area:
    if cube.grid is not None:
        return Area(shapely.box(*cube.grid.bounds), cube.grid.crs, is_box=True)
    if cube.geometries is None:
        raise GraphError(f"argument {argument!r} is a data cube without an extent", fault="ProcessParameterInvalid")
    shapes = [shape for shape in cube.geometries.shapes if shape is not None and not shape.is_empty]
    if not shapes:
        raise GraphError(f"argument {argument!r} has no geometry", fault="ProcessParameterInvalid")
    return Area(shapely.union_all(shapes), cube.geometries.crs, is_box=False)
