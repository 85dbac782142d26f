"""Values of openEO's subtypes, where they are more than a schema says: dates, GeoJSON, reference systems."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Final

from hpckit.processgraph.document import shown
from hpckit.processgraph.graph import FromNode, FromParameter, KnownGeometries
from hpckit.processgraph.mismatch import Mismatch, described
from hpckit.processgraph.specs import JSON, Schema


def _cube(value: JSON, schema: Schema) -> Mismatch | None:
    """A cube is never written out; geometries may be, where a vector cube is wanted."""
    kinds = {dim.get("type") for dim in schema.get("dimensions", ())}
    if "geometry" in kinds and isinstance(value, Mapping) and "type" in value:
        return _geojson(value, schema)
    return Mismatch("", f"{shown(value)} is not {described(schema)}", True)


def _child_process(value: JSON, schema: Schema) -> Mismatch | None:
    return Mismatch("", f"{shown(value)} is not a child process", True)


_GEOMETRIES: Final = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)


def _geojson(value: JSON, schema: Schema) -> Mismatch | None:
    if isinstance(value, KnownGeometries):
        return None
    kind = value.get("type")
    wanted = {"Feature": "geometry", "FeatureCollection": "features", "GeometryCollection": "geometries"}
    if kind not in _GEOMETRIES and kind not in wanted:
        return Mismatch("", f"{shown(value)} is not GeoJSON: its `type` is {shown(kind)}", "type" not in value)
    member = wanted.get(kind, "coordinates")
    if member not in value:
        return Mismatch("", f"GeoJSON of type {kind} has a field `{member}`: it is missing")
    if member != "geometry" and not isinstance(value[member], list | FromNode | FromParameter):
        return Mismatch(member, f"{shown(value[member])} is not a list")
    return None


def _date(value: JSON, schema: Schema) -> Mismatch | None:
    return _iso(value, date.fromisoformat, r"\d{4}-\d{2}-\d{2}", "a date such as 2024-03-01")


def _datetime(value: JSON, schema: Schema) -> Mismatch | None:
    form = r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})?"
    return _iso(value, datetime.fromisoformat, form, "a date and time such as 2024-03-01T10:50:31Z")


def _time(value: JSON, schema: Schema) -> Mismatch | None:
    return _iso(value, time.fromisoformat, r"\d{2}:\d{2}:\d{2}", "a time such as 10:50:31")


def _iso(value: JSON, read: Callable[[str], object], form: str, words: str) -> Mismatch | None:
    if isinstance(value, str) and re.fullmatch(form, value):
        try:
            read(value.upper())
            return None
        except ValueError:
            pass
    return Mismatch("", f"{shown(value)} is not {words}")


def _epsg(value: JSON, schema: Schema) -> Mismatch | None:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_epsg(int(value))
    except CRSError:
        return Mismatch("", f"there is no reference system EPSG:{value}")
    return None


def _wkt(value: JSON, schema: Schema) -> Mismatch | None:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_user_input(value)
    except CRSError:
        return Mismatch("", f"{shown(value)} is no reference system in WKT 2")
    return None


SUBTYPES: Final[Mapping[str, Callable[[JSON, Schema], Mismatch | None]]] = {
    "datacube": _cube,
    "raster-cube": _cube,
    "vector-cube": _cube,
    "process-graph": _child_process,
    "geojson": _geojson,
    "date": _date,
    "date-time": _datetime,
    "time": _time,
    "epsg-code": _epsg,
    "wkt2-definition": _wkt,
}
