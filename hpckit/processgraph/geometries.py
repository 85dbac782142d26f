"""Geometries that processes are called with: GeoJSON, or a vector cube."""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Geometries
from hpckit.processgraph.geojson import from_geojson
from hpckit.processgraph.process import Call

_POLYGONS: Final = (3, 6, 7)
"""Type numbers of polygons, multipolygons and collections, in which polygons may be."""


def geometries_of(call: Call, name: str) -> Geometries:
    """An argument that is a vector cube or GeoJSON; all of its geometries.

    Raises
    ------
    GraphError
        If it is missing or neither.
    """
    given = call.value(name)
    if isinstance(given, Cube) and given.geometries is not None:
        return given.geometries
    if isinstance(given, Cube):
        raise GraphError(
            f"argument {name!r} is a raster cube, where geometries are needed",
            hint="give a vector cube, such as the result of load_geojson",
            fault="ProcessParameterInvalid",
        )
    if given is None:
        raise GraphError(f"argument {name!r} is missing", fault="ProcessParameterRequired")
    return from_geojson(given, f"argument {name!r}")


def require_polygons(geometries: Geometries, what: str) -> None:
    """Make sure that all geometries that are not empty are polygons.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`, with the first that is none.
    """
    kinds = shapely.get_type_id(geometries.shapes)
    wrong = np.flatnonzero(~np.isin(kinds, _POLYGONS) & ~shapely.is_empty(geometries.shapes))
    if len(wrong):
        kind = geometries.shapes[wrong[0]].geom_type
        raise GraphError(
            f"{what}: geometry {wrong[0] + 1} is a {kind}, where polygons are needed", fault="ProcessParameterInvalid"
        )
