"""What a search asks for: parameters of an address or a body, checked and in one form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import shapely
import shapely.geometry

from hpckit.catalogue.moments import microseconds
from hpckit.errors import HpckitError
from hpckit.serve.stac.order import Order, SortKey

DEFAULT_LIMIT: Final = 10
LARGEST_LIMIT: Final = 10_000
_MOST_IDS: Final = 10_000
_MOST_POINTS: Final = 100_000
_MOST_KEYS: Final = 8
_NAME: Final = re.compile(r"[\w:.\-]{1,100}")
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_SHAPES: Final = frozenset(
    {
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
    }
)


class SearchError(HpckitError, ValueError):
    """A search that cannot be understood; the message names the parameter."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search of items."""

    collections: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    area: shapely.Geometry | None = None
    """In longitude and latitude; of `bbox` or `intersects`."""
    start: int | None = None
    """Microseconds since 1970."""
    end: int | None = None
    filter: Mapping[str, Any] | None = None
    """CQL2 as JSON."""
    order: Order = field(default_factory=Order)
    limit: int = DEFAULT_LIMIT
    include: frozenset[str] | None = None
    """Fields; empty for the usual ones, None for all."""
    exclude: frozenset[str] = frozenset()
    token: str | None = None


def of_parameters(parameters: Mapping[str, str]) -> Search:
    """Search of the parameters of an address.

    Raises
    ------
    SearchError
        If one cannot be understood.
    """
    given: dict[str, Any] = {name: value for name, value in parameters.items() if value != ""}
    for name in ("collections", "ids"):
        if name in given:
            given[name] = [part.strip() for part in given[name].split(",")]
    if "bbox" in given:
        given["bbox"] = [_number("bbox", part) for part in given["bbox"].split(",")]
    if "limit" in given:
        given["limit"] = _whole(given["limit"])
    if "intersects" in given:
        given["intersects"] = _json("intersects", given["intersects"])
    if "sortby" in given:
        given["sortby"] = [_sort_text(part) for part in given["sortby"].split(",")]
    if "fields" in given:
        given["fields"] = _fields_text(given["fields"])
    if "filter" in given:
        language = given.setdefault("filter-lang", "cql2-text")
        if language == "cql2-json":
            given["filter"] = _json("filter", given["filter"])
    return of_body(given)


def of_body(body: Mapping[str, Any]) -> Search:
    """Search of a body in JSON.

    Raises
    ------
    SearchError
        If a field of it cannot be understood.
    """
    if body.get("bbox") is not None and body.get("intersects") is not None:
        raise SearchError("`bbox` and `intersects` cannot be given together")
    start, end = interval(body.get("datetime"))
    include, exclude = _fields(body["fields"]) if "fields" in body else (None, frozenset())
    token = body.get("token")
    if token is not None and not isinstance(token, str):
        raise SearchError("`token` is no text")
    area = None
    if body.get("bbox") is not None:
        area = box(body["bbox"])
    elif body.get("intersects") is not None:
        area = shape(body["intersects"])
    return Search(
        _names(body, "collections"),
        _names(body, "ids"),
        area,
        start,
        end,
        parse_filter(body.get("filter"), body.get("filter-lang")),
        Order.of(_sort(body.get("sortby"))),
        _limit(body.get("limit")),
        include,
        exclude,
        token,
    )


def box(numbers: object, name: str = "bbox") -> shapely.Geometry:
    """Area of a bounding box of 4 or 6 numbers; across 180 degrees where west is greater than east.

    Raises
    ------
    SearchError
        If it is none.
    """
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) not in (4, 6):
        raise SearchError(f"`{name}` needs 4 or 6 numbers: west, south, east, north")
    values = [_number(name, number) for number in numbers]
    half = len(values) // 2
    west, south, east, north = values[0], values[1], values[half], values[half + 1]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise SearchError(f"`{name}` is no box of longitudes and latitudes: west, south, east, north")
    if half == 3 and values[2] > values[5]:
        raise SearchError(f"`{name}`: the lowest height is above the highest")
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def shape(content: object, name: str = "intersects") -> shapely.Geometry:
    """Geometry of a GeoJSON object, the value of a parameter.

    Raises
    ------
    SearchError
        If it is none.
    """
    if not isinstance(content, dict) or content.get("type") not in _SHAPES:
        raise SearchError(f"`{name}` has no geometry of GeoJSON")
    try:
        found = shapely.geometry.shape(content)
        bounds = shapely.bounds(found)
        if shapely.is_empty(found) or not all(map(math.isfinite, bounds)):
            raise ValueError
        if shapely.get_num_coordinates(found) > _MOST_POINTS:
            raise SearchError(f"`{name}` has more than {_MOST_POINTS} points")
        return found if shapely.is_valid(found) else shapely.make_valid(found)
    except SearchError:
        raise
    except Exception as error:  # whatever shapely raises for coordinates that are none
        raise SearchError(f"`{name}` has no geometry of GeoJSON") from error


def interval(text: object) -> tuple[int | None, int | None]:
    """First and last moment, microseconds since 1970, of a `datetime`; None is open.

    Raises
    ------
    SearchError
        If it is none, or ends before it begins.
    """
    if text is None:
        return None, None
    if not isinstance(text, str):
        raise SearchError("`datetime` is no text")
    parts = text.split("/")
    if len(parts) == 1:
        found = _moment(text)
        return found, found
    if len(parts) != 2:
        raise SearchError(f"`datetime`: {_short(text)} is no interval: START/END")
    start, end = (None if part in ("", "..") else _moment(part) for part in parts)
    if start is None and end is None:
        raise SearchError("`datetime`: one end of the interval must be closed")
    if start is not None and end is not None and start > end:
        raise SearchError(f"`datetime`: {_short(text)} ends before it begins")
    return start, end


def parse_filter(content: object, language: object = None) -> Mapping[str, Any] | None:
    """CQL2 of a filter, as JSON.

    Raises
    ------
    SearchError
        If it is none.
    """
    if content is None:
        return None
    if language not in (None, "cql2-text", "cql2-json"):
        raise SearchError(f"`filter-lang`: {_short(language)} is not known; there are cql2-text and cql2-json")
    import cql2

    try:
        if isinstance(content, str):
            expression = cql2.parse_text(content)
        elif isinstance(content, dict):
            expression = cql2.parse_json(json.dumps(_of_today(content)))
        else:
            raise TypeError
        found = expression.to_json()
    except Exception:  # cql2 raises plain ones, of several lines
        raise SearchError("`filter` is no CQL2") from None
    if not isinstance(found, dict):
        raise SearchError("`filter` is no condition")
    return found


def _of_today(content: Any) -> Any:
    """CQL2 with the arguments of `between` side by side: drafts, which clients still write, have a list of two."""
    if isinstance(content, list):
        return [_of_today(one) for one in content]
    if not isinstance(content, dict):
        return content
    found = {name: _of_today(value) for name, value in content.items()}
    arguments = found.get("args")
    if found.get("op") == "between" and isinstance(arguments, list) and len(arguments) == 2:
        bounds = arguments[1]
        found["args"] = [arguments[0], *(bounds if isinstance(bounds, list) else [bounds])]
    return found


def _moment(text: str) -> int:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise SearchError(f"`datetime`: {_short(text)} is no moment of RFC 3339, as 2024-03-01T00:00:00Z")
    day, minute, second, fraction, zone = match.groups()
    leap = second == "60"
    found = microseconds(f"{day}T{minute}:{'59' if leap else second}{zone.upper().replace('Z', '+00:00')}")
    if found is None:
        raise SearchError(f"`datetime`: {_short(text)} is no moment of RFC 3339, as 2024-03-01T00:00:00Z")
    return found + (999_999 if leap else int(f"{fraction or '.'}000000"[1:7]))


def _names(body: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    given = body.get(name)
    if given is None:
        return None
    if name == "collections" and isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
        raise SearchError(f"`{name}` is no list of names")
    if len(given) > _MOST_IDS:
        raise SearchError(f"`{name}` has more than {_MOST_IDS} names")
    return tuple(dict.fromkeys(given)) or None


def _limit(given: object) -> int:
    if given is None:
        return DEFAULT_LIMIT
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise SearchError("`limit` is no whole number from 1 on")
    return min(given, LARGEST_LIMIT)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SearchError("`limit` is no whole number from 1 on") from None


def _number(name: str, given: object) -> float:
    try:
        found = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if isinstance(given, bool) or not math.isfinite(found):
        raise SearchError(f"`{name}`: {_short(given)} is no number")
    return found


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SearchError(f"`{name}` is no JSON") from error


def _sort_text(text: str) -> dict[str, str]:
    text = text.strip() if not text.startswith(" ") else f"+{text.strip()}"  # a plus sign is a space in addresses
    return {"field": text.lstrip("+-"), "direction": "desc" if text.startswith("-") else "asc"}


def _sort(given: object) -> list[SortKey]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > _MOST_KEYS:
        raise SearchError(f"`sortby` is no list of at most {_MOST_KEYS} fields")
    found = []
    for one in given:
        name, direction = (one.get("field"), one.get("direction", "asc")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or direction not in ("asc", "desc"):
            raise SearchError('`sortby` needs fields and directions: {"field": "datetime", "direction": "desc"}')
        found.append(SortKey(name.removeprefix("properties."), direction == "desc"))
    return found


def _fields_text(text: str) -> dict[str, list[str]]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    include = [part.lstrip("+") for part in parts if not part.startswith("-")]
    exclude = [part[1:] for part in parts if part.startswith("-")]
    return {**({"include": include} if include else {}), "exclude": exclude}


def _fields(given: object) -> tuple[frozenset[str] | None, frozenset[str]]:
    if not isinstance(given, dict):
        raise SearchError("`fields` is no object with `include` and `exclude`")
    parts = [given.get(name) or [] for name in ("include", "exclude")]
    for part in parts:
        if not isinstance(part, list) or not all(isinstance(one, str) and _NAME.fullmatch(one) for one in part):
            raise SearchError("`fields`: `include` and `exclude` are lists of names")
    include, exclude = (frozenset(part) for part in parts)
    return (include if "include" in given and (include or exclude) else None), exclude


def _short(given: object) -> str:
    """What was given, in a message: printable and short."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(given))
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
