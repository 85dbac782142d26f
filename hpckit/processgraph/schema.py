"""JSON Schema as far as specifications of processes use it, with openEO's subtypes; references fit any schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final

from hpckit.processgraph.document import shown
from hpckit.processgraph.graph import ChildGraph, FromNode, FromParameter

JSON = Any
Schema = Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a value does not fit.

    Parameters
    ----------
    where : str
        In the value: `west`, `[0].crs`; empty for all of it.
    reason : str
        Without a subject: `1 is not a text`.
    other_type : bool
        Whether the value is of another JSON type, so that the schema was not meant.
    """

    where: str
    reason: str
    other_type: bool = False

    def __str__(self) -> str:
        """As one sentence."""
        return f"`{self.where}`: {self.reason}" if self.where else self.reason

    def within(self, place: str) -> Mismatch:
        """The same, of a value around it."""
        inner = self.where if not self.where or self.where.startswith("[") else f".{self.where}"
        return Mismatch(f"{place}{inner}", self.reason)


def mismatch(value: JSON, schema: Schema) -> Mismatch | None:
    """Why a value does not fit a schema; None if it fits."""
    if isinstance(value, FromNode | FromParameter):
        return None
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    subtype = schema.get("subtype")
    if isinstance(value, ChildGraph):
        fits = subtype == "process-graph" or not kinds
        return None if fits else Mismatch("", f"a child process is not {described(schema)}", True)
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        return Mismatch("", f"{shown(value)} is not {described(schema)}", True)
    if value is None and kinds:
        return None
    for check in _CHECKS:
        found = check(value, schema)
        if found is not None:
            return found
    special = _SUBTYPES.get(subtype) if isinstance(subtype, str) else None
    return None if special is None else special(value, schema)


def described(schema: Schema) -> str:
    """What a schema wants, in words: `a text`, `a data cube`."""
    subtype = schema.get("subtype")
    if subtype in _WORDS:
        return _WORDS[subtype]
    if "enum" in schema:
        return f"one of {', '.join(map(shown, schema['enum']))}"
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    words = [_WORDS[kind] for kind in kinds if kind != "null"] + ["null"] * ("null" in kinds)
    return " or ".join(words) or "any value"


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: JSON) -> bool:
    return _is_number(value) and math.isfinite(value) and value == int(value)


_TYPES: Final[Mapping[str, Callable[[JSON], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "number": _is_number,
    "integer": _is_integer,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
}
_WORDS: Final = {
    "null": "null",
    "boolean": "true or false",
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
    "datacube": "a data cube",
    "raster-cube": "a data cube",
    "vector-cube": "a vector data cube",
    "process-graph": "a child process",
    "bounding-box": "a bounding box",
    "geojson": "GeoJSON",
    "temporal-interval": "a temporal interval",
    "date": "a date",
    "date-time": "a date and time",
    "epsg-code": "an EPSG code",
}


def _choice(value: JSON, schema: Schema) -> Mismatch | None:
    if "enum" in schema and value not in schema["enum"]:
        return Mismatch("", f"{shown(value)} is not one of {', '.join(map(shown, schema['enum']))}")
    if "const" in schema and not (value == schema["const"] and type(value) is type(schema["const"])):
        return Mismatch("", f"{shown(value)} is not {shown(schema['const'])}")
    return None


def _bounds(value: JSON, schema: Schema) -> Mismatch | None:
    if not _is_number(value):
        return None
    for keys, ok, words in _BOUNDS:
        for key in keys:
            limit = schema.get(key)
            if limit is not None and not ok(value, limit):
                return Mismatch("", f"{shown(value)} is not {words} {limit}")
    return None


_BOUNDS: Final[tuple[tuple[tuple[str, ...], Callable[[float, float], bool], str], ...]] = (
    (("minimum",), lambda value, limit: not value < limit, "at least"),
    (("maximum",), lambda value, limit: not value > limit, "at most"),
    (("exclusiveMinimum", "minimumExclusive"), lambda value, limit: not value <= limit, "more than"),
    (("exclusiveMaximum", "maximumExclusive"), lambda value, limit: not value >= limit, "less than"),
)
"""The specifications write some bounds the other way round than JSON Schema does."""


def _text(value: JSON, schema: Schema) -> Mismatch | None:
    if not isinstance(value, str):
        return None
    if len(value) < schema.get("minLength", 0):
        return Mismatch("", "the text is empty" if not value else f"{shown(value)} is too short")
    pattern = schema.get("pattern")
    if pattern is not None and re.search(pattern, value) is None:
        return Mismatch("", f"{shown(value)} is not {described(schema)} of the form {pattern}")
    return None


def _items(value: JSON, schema: Schema) -> Mismatch | None:
    if not isinstance(value, list | tuple):
        return None
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not least <= len(value) <= most:
        wanted = str(least) if least == most else f"at least {least}" if len(value) < least else f"at most {most}"
        return Mismatch("", f"the list has {len(value)} items, not {wanted}")
    if schema.get("uniqueItems") and schema.get("subtype") != "temporal-interval":
        doubled = next((item for place, item in enumerate(value) if item in value[:place]), None)
        if doubled is not None and not isinstance(doubled, FromNode | FromParameter):
            return Mismatch("", f"{shown(doubled)} is there twice")
    inner = schema.get("items")
    if isinstance(inner, Mapping):
        for place, item in enumerate(value):
            found = mismatch(item, inner)
            if found is not None:
                return found.within(f"[{place}]")
    return None


def _members(value: JSON, schema: Schema) -> Mismatch | None:
    if not isinstance(value, Mapping):
        return None
    for key in schema.get("required", ()):
        if key not in value:
            return Mismatch("", f"{described(schema)} has a field `{key}`: it is missing")
    named, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in named:
            found = mismatch(item, named[key])
        elif others is False:
            return Mismatch(str(key), "there is no such field")
        else:
            found = mismatch(item, others) if isinstance(others, Mapping) else None
        if found is not None:
            return found.within(str(key))
    return None


def _combined(value: JSON, schema: Schema) -> Mismatch | None:
    for inner in schema.get("allOf", ()):
        found = mismatch(value, inner) if "$ref" not in inner else None
        if found is not None:
            return found
    for key in ("anyOf", "oneOf"):
        choices = [inner for inner in schema.get(key, ()) if "$ref" not in inner]
        found_all = [mismatch(value, inner) for inner in choices]
        if choices and all(found is not None for found in found_all):
            return nearest(value, [found for found in found_all if found is not None], choices)
    if "not" in schema and mismatch(value, schema["not"]) is None:
        return Mismatch("", f"{shown(value)} is what it must not be")
    return None


def nearest(value: JSON, found: list[Mismatch], schemas: list[Schema]) -> Mismatch:
    """Of mismatches with several schemas that of the one that was meant, or one that names them all."""
    meant = [each for each in found if not each.other_type]
    if meant:
        return max(meant, key=lambda each: len(each.where))
    words = list(dict.fromkeys(map(described, schemas)))
    return Mismatch("", f"{shown(value)} is not {', '.join(words[:-1])}{' or ' * (len(words) > 1)}{words[-1]}", True)


_CHECKS: Final = (_choice, _bounds, _text, _items, _members, _combined)


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


_SUBTYPES: Final[Mapping[str, Callable[[JSON, Schema], Mismatch | None]]] = {
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
