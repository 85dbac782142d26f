"""GeoJSON of any kind as geometries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.graph import ConstantObject, KnownGeometries

LONGITUDE_LATITUDE: Final = "EPSG:4326"
"""CRS of GeoJSON (RFC 7946); coordinates are always x before y, whatever order the CRS declares."""
_KINDS: Final = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
_COLLECTION: Final = "GeometryCollection"


def from_geojson(given: Any, what: str = "GeoJSON") -> Geometries:
    """Geometries of a GeoJSON object.

    A FeatureCollection has one for each feature, those without geometry included; a GeometryCollection one for each
    member. A feature's own collection is one geometry. Members `bbox` are not read.

    Parameters
    ----------
    given : mapping
        Geometry, Feature, FeatureCollection or GeometryCollection; a member `crs` (GeoJSON of 2008) is followed.
    what : str
        For messages.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`: if it is no GeoJSON, has broken coordinates, or an unknown CRS.
    """
    if isinstance(given, KnownGeometries):
        return given.geometries
    if not isinstance(given, Mapping):
        raise _invalid(f"{what} is no GeoJSON object", "give a Geometry, a Feature or a FeatureCollection")
    crs = _crs(given, what)
    match given.get("type"):
        case "FeatureCollection":
            features = _list(given, "features", what)
            return _of_features(features, crs, f"{what}: feature")
        case "Feature":
            return _of_features([given], crs, f"{what}: feature")
        case "GeometryCollection":
            members = _list(given, "geometries", what)
            return Geometries(_shapes(members, f"{what}: geometry"), crs)
        case kind if kind in _KINDS:
            return Geometries(_shapes([given], f"{what}: geometry"), crs)
    kind = given.get("type")
    raise _invalid(
        f"{what} has the type {kind!r}, which GeoJSON does not know",
        f"GeoJSON has Feature, FeatureCollection, {', '.join(_KINDS)}",
    )


def known_geometries(item: ConstantObject) -> ConstantObject:
    """A feature collection that was read; itself if it is faulty, so that its faults are named where it is used."""
    try:
        return KnownGeometries(from_geojson(item))
    except GraphError:
        return item


def crs_of(name: Any, what: str = "projection") -> pyproj.CRS:
    """A CRS that a user names, by an EPSG code, WKT 2 or a text such as `EPSG:32632`.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`, if there is none of that name.
    """
    try:
        return pyproj.CRS.from_user_input(name)
    except pyproj.exceptions.CRSError:
        raise _invalid(f"{what}: {name!r} is no known CRS", "give an EPSG code such as 32632, or WKT 2") from None


def _of_features(features: Sequence[Any], crs: str, what: str) -> Geometries:
    for number, feature in enumerate(features, 1):
        if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
            raise _invalid(f"{what} {number} is no object of the type 'Feature'", None)
    shapes = _shapes([feature.get("geometry") for feature in features], what)
    ids = tuple(feature.get("id") for feature in features)
    properties = tuple(dict(feature.get("properties") or {}) for feature in features)
    known = any(each is not None for each in ids)
    return Geometries(shapes, crs, ids if known else (), properties)


def _shapes(members: Sequence[Any], what: str) -> npt.NDArray[np.object_]:
    """Shapely geometries of GeoJSON's; what is null is an empty one."""
    texts = np.array([_text(member) for member in members], dtype=object)
    shapes = np.asarray(shapely.from_geojson(texts, on_invalid="ignore"), dtype=object).reshape(-1)
    shapes = np.asarray(shapely.force_2d(shapes))
    for row in np.flatnonzero(shapely.is_missing(shapes)).tolist():
        if members[row] is not None:
            raise _invalid(f"{what} {row + 1}: {_why(members[row])}", "see RFC 7946 for the form of geometries")
        shapes[row] = shapely.GeometryCollection()
    bad = _not_finite(shapes)
    if bad is not None:
        raise _invalid(f"{what} {bad + 1}: a coordinate is no finite number", None)
    return shapes


def _text(member: Any) -> str | None:
    try:
        return None if member is None else json.dumps(member, allow_nan=False)
    except (TypeError, ValueError):
        return "{}"  # refused with a reason below


def _not_finite(shapes: npt.NDArray[np.object_]) -> int | None:
    xy, rows = shapely.get_coordinates(shapes, return_index=True)
    bad = rows[~np.isfinite(xy).all(axis=1)]
    return int(bad[0]) if len(bad) else None


def _why(member: Any) -> str:
    """Why a geometry is refused."""
    if not isinstance(member, Mapping):
        return "the geometry is no object"
    kind = member.get("type")
    if kind not in (*_KINDS, _COLLECTION):
        return f"the type {kind!r} is none of a geometry"
    part = "geometries" if kind == _COLLECTION else "coordinates"
    if part not in member:
        return f"the member {part!r} is missing"
    if kind in ("Polygon", "MultiPolygon"):
        for ring in _rings(member):
            if len(ring) < 4:
                return f"a ring has {len(ring)} positions, where four are the least"
            if ring[0] != ring[-1]:
                return "a ring is not closed: its last position must be its first one"
    return f"the coordinates are none of a {kind}"


def _rings(member: Mapping[str, Any]) -> Iterator[list[Any]]:
    coordinates = member["coordinates"]
    polygons = coordinates if member["type"] == "MultiPolygon" else [coordinates]
    if isinstance(polygons, list):
        for polygon in polygons:
            yield from (ring for ring in polygon if isinstance(ring, list)) if isinstance(polygon, list) else ()


def _crs(given: Mapping[str, Any], what: str) -> str:
    """CRS of a GeoJSON object: that of the member `crs`, else longitude and latitude."""
    about = given.get("crs")
    if about is None:
        return LONGITUDE_LATITUDE
    properties = about.get("properties") if isinstance(about, Mapping) else None
    name = properties.get("name") if isinstance(properties, Mapping) else None
    if not isinstance(name, str):
        raise _invalid(
            f"{what}: the member 'crs' names no CRS",
            'leave it out for degrees, or write {"type": "name", "properties": {"name": "EPSG:32632"}}',
        )
    crs = crs_of(name, f"{what}: the member 'crs'")
    if crs.to_authority() == ("OGC", "CRS84"):
        return LONGITUDE_LATITUDE
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()


def _list(given: Mapping[str, Any], name: str, what: str) -> list[Any]:
    found = given.get(name)
    if not isinstance(found, (list, tuple)):
        raise _invalid(f"{what}: the member {name!r} is no array", None)
    return list(found)


def _invalid(message: str, hint: str | None) -> GraphError:
    return GraphError(message, hint=hint, fault="ProcessParameterInvalid")
