"""Geometries of any kind in another CRS."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import GraphError, VectorError
from hpckit.processgraph.geojson import crs_of
from hpckit.space.vector.crs import is_longitude_latitude
from hpckit.space.vector.project import project, to_degrees, transformer

_Shapes = npt.NDArray[np.object_]
_STEP: Final = 250.0
"""Metres between vertices of a line that is straight in one CRS and bends in the other."""
_POLYGONS: Final = (3, 6)


def in_crs(shapes: _Shapes, source: str, target: str) -> _Shapes:
    """Geometries in another CRS; edges get vertices where they bend, empty geometries stay.

    Parameters
    ----------
    source, target : str
        Names of CRSs, or WKT.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`: if the target cannot show a geometry.
    """
    one, other = crs_of(source), crs_of(target)
    if one == other or (is_longitude_latitude(one) and is_longitude_latitude(other)):
        return shapes
    result = shapes.copy()
    kinds = shapely.get_type_id(shapes)
    there = ~shapely.is_empty(shapes)
    polygons = there & np.isin(kinds, _POLYGONS)
    result[polygons] = _polygons(shapes[polygons], one, other)
    for row in np.flatnonzero(there & ~polygons).tolist():
        result[row] = _other(shapes[row], one, other)
    xy, rows = shapely.get_coordinates(result, return_index=True)
    bad = rows[~np.isfinite(xy).all(axis=1)]
    if len(bad):
        raise GraphError(
            f"geometry {bad[0] + 1} lies outside of what {other.name} can show",
            hint="are its coordinates right, x (or longitude) first?",
            fault="ProcessParameterInvalid",
        )
    return result


def _polygons(shapes: _Shapes, source: pyproj.CRS, target: pyproj.CRS) -> _Shapes:
    if not len(shapes):
        return shapes
    try:
        moved = to_degrees(shapes, source) if is_longitude_latitude(target) else project(shapes, source, target)
    except VectorError as error:
        raise GraphError(error.message, hint=error.hint, fault="ProcessParameterInvalid") from error
    single = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON) & (shapely.get_num_geometries(moved) == 1)
    result = np.asarray(moved, dtype=object).copy()
    result[single] = shapely.get_geometry(result[single], 0)
    return result


def _other(shape: shapely.Geometry, source: pyproj.CRS, target: pyproj.CRS) -> shapely.Geometry:
    """A point, line or collection."""
    if shape.geom_type == "GeometryCollection":
        parts = np.array([part for part in shape.geoms if not part.is_empty], dtype=object)
        return shapely.GeometryCollection(list(in_crs(parts, source.to_wkt(), target.to_wkt())))
    way = transformer(source, target)
    step = _STEP / 111_320 if source.is_geographic else _STEP / source.axis_info[0].unit_conversion_factor
    return shapely.transform(
        shapely.segmentize(shape, step), lambda xy: np.column_stack(way.transform(xy[:, 0], xy[:, 1]))
    )
