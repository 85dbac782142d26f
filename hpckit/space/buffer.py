"""Zones made wider or narrower by metres, as measured on the ground."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.space.vector.project import project, to_degrees, transformer

SEGMENTS: Final = 16
"""Parts of a quarter of a circle, where the border of a zone becomes round."""
_TRUE: Final = 0.002
"""By how much lengths in the CRS of a layer may differ from those on the ground: 1 cm of 5 m."""
_PRECISION_M: Final = 1e-4
"""Parts of a zone that lie no further apart are one: the antimeridian cuts zones in longitude and latitude."""
_DECIMALS_DEGREES: Final = 9
_DECIMALS_METRES: Final = 4
_POLAR: Final = 84.0
"""Degrees of latitude from which UTM has no zones."""

_Shapes = npt.NDArray[np.object_]
_Numbers = npt.NDArray[np.float64]


def buffered(shapes: _Shapes, crs: pyproj.CRS, metres: float) -> _Shapes:
    """Polygons with their borders moved outward by `metres`, inward where they are negative.

    Where lengths of the CRS are those on the ground, borders are moved there. Else each zone is taken into UTM (or
    UPS near the poles), and back.

    Parameters
    ----------
    shapes : ndarray of shapely MultiPolygons, shape (zones,)
        Valid ones.
    crs : pyproj.CRS
        Theirs.
    metres : float
        Positive or negative.

    Returns
    -------
    ndarray of shapely MultiPolygons, shape (zones,)
        Empty where nothing is left of a zone.
    """
    if not len(shapes) or not metres:
        return shapes
    longitude, latitude = _middles(shapes, crs)
    if _is_true_to_length(crs, longitude, latitude):
        return _moved(shapes, metres)
    plane = _planes(longitude, latitude)
    made = np.full(len(shapes), shapely.MultiPolygon(), dtype=object)
    for code in np.unique(plane).tolist():
        rows = plane == code
        target = pyproj.CRS.from_epsg(code)
        made[rows] = _back(_moved(_joined(project(shapes[rows], crs, target)), metres), target, crs)
    return made


def _moved(shapes: _Shapes, metres: float) -> _Shapes:
    return _as_multi(np.asarray(shapely.buffer(shapes, metres, quad_segs=SEGMENTS)))


def _back(shapes: _Shapes, plane: pyproj.CRS, crs: pyproj.CRS) -> _Shapes:
    made, rows = shapes.copy(), np.flatnonzero(~shapely.is_empty(shapes))
    if not len(rows):
        return made
    if crs.is_geographic:
        turned = to_degrees(shapes[rows], plane)
        made[rows] = project(turned, pyproj.CRS.from_epsg(4326), crs)
    else:
        made[rows] = project(shapes[rows], plane, crs)
    # Digits that differ between versions of PROJ would make other zones of the same ones.
    decimals = _DECIMALS_DEGREES if crs.is_geographic else _DECIMALS_METRES
    made[rows] = shapely.transform(made[rows], lambda xy: np.round(xy, decimals))
    return _as_multi(np.asarray(shapely.make_valid(made)))


def _joined(shapes: _Shapes) -> _Shapes:
    """Parts of a zone that touch are one part: a border within a zone is none."""
    several = shapely.get_num_geometries(shapes) > 1
    joined = shapes.copy()
    for row in np.flatnonzero(several).tolist():
        parts = shapely.set_precision(shapely.get_parts(shapes[row]), _PRECISION_M)
        joined[row] = shapely.union_all(parts)
    return joined


def _as_multi(shapes: _Shapes) -> _Shapes:
    """Polygons of each geometry as a MultiPolygon; lines and points of repairs go."""
    made = np.full(len(shapes), shapely.MultiPolygon(), dtype=object)
    kinds = shapely.get_type_id(shapes)
    whole = kinds == shapely.GeometryType.MULTIPOLYGON
    made[whole] = shapes[whole]
    for row in np.flatnonzero(~whole).tolist():
        parts = shapely.get_parts(shapely.get_parts(shapes[row]))
        made[row] = shapely.multipolygons(parts[shapely.area(parts) > 0])
    return made


def _middles(shapes: _Shapes, crs: pyproj.CRS) -> tuple[_Numbers, _Numbers]:
    """Longitude and latitude of a point of each zone."""
    xy = shapely.get_coordinates(shapely.point_on_surface(shapes))
    longitude, latitude = transformer(crs, pyproj.CRS.from_epsg(4326)).transform(xy[:, 0], xy[:, 1])
    return np.asarray(longitude), np.asarray(latitude)


def _is_true_to_length(crs: pyproj.CRS, longitude: _Numbers, latitude: _Numbers) -> bool:
    """Whether a metre of the CRS is one on the ground, in all directions and at all zones."""
    axes = crs.axis_info
    if not crs.is_projected or any(axis.unit_conversion_factor != 1 for axis in axes):
        return False
    try:
        with np.errstate(invalid="ignore"):
            factors = pyproj.Proj(crs).get_factors(longitude, latitude)
        scales = np.array([factors.tissot_semimajor, factors.tissot_semiminor])
    except (pyproj.exceptions.ProjError, pyproj.exceptions.CRSError):
        return False
    return bool(np.isfinite(scales).all() and np.abs(scales - 1).max() <= _TRUE)


def _planes(longitude: _Numbers, latitude: _Numbers) -> npt.NDArray[np.int64]:
    """EPSG code of the UTM zone of each place, or of UPS."""
    zone = np.clip(np.floor((longitude + 180) / 6) + 1, 1, 60).astype(np.int64)
    code = np.where(latitude >= 0, 32600, 32700) + zone
    return np.where(np.abs(latitude) > _POLAR, np.where(latitude > 0, 5041, 5042), code)
