"""JSON Schema as far as specifications of processes use it, with openEO's subtypes; references fit any schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

from hpckit.processgraph.document import shown
from hpckit.processgraph.graph import ChildGraph, FromNode, FromParameter
from hpckit.processgraph.mismatch import WORDS, Mismatch, described, resolved
from hpckit.processgraph.specs import JSON, Schema, subtypes
from hpckit.processgraph.subtypes import SUBTYPES


def mismatch(value: JSON, schema: Schema) -> Mismatch | None:
    """Why a value does not fit a schema; None if it fits."""
    if isinstance(value, FromNode | FromParameter):
        return None
    schema = resolved(schema)
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
    for described_by in (schema, subtypes().get(str(subtype), {})):
        for check in _CHECKS:
            found = check(value, described_by)
            if found is not None:
                return found
    special = SUBTYPES.get(subtype) if isinstance(subtype, str) else None
    return None if special is None else special(value, schema)


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
        form = "" if schema.get("subtype") in WORDS else f" of the form {pattern}"
        return Mismatch("", f"{shown(value)} is not {described(schema)}{form}")
    return None


def _items(value: JSON, schema: Schema) -> Mismatch | None:
    if not isinstance(value, list | tuple):
        return None
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not least <= len(value) <= most:
        wanted = str(least) if least == most else f"at least {least}" if len(value) < least else f"at most {most}"
        return Mismatch("", f"the list has {len(value)} items, not {wanted}")
    if schema.get("uniqueItems") and schema.get("subtype") != "temporal-interval":
        known = [(isinstance(item, bool), item) for item in value if not isinstance(item, FromNode | FromParameter)]
        for place, item in enumerate(known):
            if item in known[:place]:
                return Mismatch("", f"{shown(item[1])} is there twice")
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
        found = mismatch(value, inner)
        if found is not None:
            return found
    for key in ("anyOf", "oneOf"):
        choices = schema.get(key, ())
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
