"""Whether a process returned what a test expects, by the rules of openeo-test-suite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from hpckit.testing.openeo.encoding import same_crs

JSON = Any


def differences(expected: JSON, found: JSON, delta: float, at: str = "") -> Iterator[str]:
    """Places that differ, one sentence each.

    Numbers may differ by `delta`; the type of numbers does not count; NaN equals NaN, but not null; datetimes are the
    same if they are one instant; of a cube whose expected data are null only the dimensions count.
    """
    if isinstance(expected, Mapping) and expected.get("type") == "datetime":
        if not _same_instant(expected["value"], found):
            yield f"{at or 'result'}: {expected['value']} expected, {found!r} returned"
    elif isinstance(expected, Mapping):
        yield from _of_objects(expected, found, delta, at)
    elif isinstance(expected, list):
        yield from _of_lists(expected, found, delta, at)
    elif not _same(expected, found, delta):
        yield f"{at or 'result'}: {expected!r} expected, {found!r} returned"


def _of_objects(expected: Mapping[str, JSON], found: JSON, delta: float, at: str) -> Iterator[str]:
    if not isinstance(found, Mapping):
        yield f"{at or 'result'}: an object expected, {found!r} returned"
        return
    cube = expected.get("type") == "datacube"
    ignored = {"nodata"} | ({"data"} if expected.get("data") is None else set()) if cube else set()
    for key in sorted({*expected, *found} - ignored):
        if key not in found:
            yield f"{at}.{key}: is missing"
        elif key not in expected:
            yield f"{at}.{key}: is too much"
        elif key == "reference_system":
            if not same_crs(expected[key], found[key]):
                yield f"{at}.{key}: {expected[key]!r} expected, {found[key]!r} returned"
        else:
            yield from differences(expected[key], found[key], delta, f"{at}.{key}" if at else str(key))


def _of_lists(expected: list[JSON], found: JSON, delta: float, at: str) -> Iterator[str]:
    if not isinstance(found, list) or len(found) != len(expected):
        shown = f"{len(found)} items" if isinstance(found, list) else repr(found)
        yield f"{at or 'result'}: {len(expected)} items expected, {shown} returned"
        return
    for place, (one, other) in enumerate(zip(expected, found, strict=True)):
        yield from differences(one, other, delta, f"{at}[{place}]")


def _same(expected: JSON, found: JSON, delta: float) -> bool:
    if _is_number(expected) and _is_number(found):
        if math.isnan(expected) or math.isnan(found):
            return math.isnan(expected) and math.isnan(found)
        return bool(expected == found) or abs(expected - found) <= max(delta, delta * abs(expected))
    if isinstance(expected, str) and isinstance(found, str):
        return expected == found or _same_instant(expected, found)
    return type(expected) is type(found) and bool(expected == found)


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_instant(one: JSON, other: JSON) -> bool:
    first, second = _instant(one), _instant(other)
    return first is not None and first == second


def _instant(value: JSON) -> datetime | None:
    if not isinstance(value, str) or "T" not in value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
