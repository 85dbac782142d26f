"""Conditions of CQL2 on columns: what holds for each of a million items, by pyarrow.

A condition on a value that an item lacks is neither true nor false, as in SQL; such items are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from hpckit.catalogue.moments import microseconds
from hpckit.serve.stac.query import SearchError, box, shape

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": pc.add,
    "-": pc.subtract,
    "*": pc.multiply,
}
_SPATIAL: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "s_intersects": shapely.intersects,
    "s_within": shapely.within,
    "s_contains": shapely.contains,
    "s_touches": shapely.touches,
    "s_crosses": shapely.crosses,
    "s_overlaps": shapely.overlaps,
    "s_equals": shapely.equals,
    "s_disjoint": shapely.disjoint,
}
_TEMPORAL: Final[Mapping[str, Callable[[Any, Any, int, int], Any]]] = {
    "t_before": lambda start, end, low, high: pc.less(end, low),
    "t_after": lambda start, end, low, high: pc.greater(start, high),
    "t_equals": lambda start, end, low, high: pc.and_kleene(pc.equal(start, low), pc.equal(end, high)),
    "t_during": lambda start, end, low, high: pc.and_kleene(pc.greater(start, low), pc.less(end, high)),
    "t_intersects": lambda start, end, low, high: pc.and_kleene(
        pc.less_equal(start, high), pc.greater_equal(end, low)
    ),
    "t_disjoint": lambda start, end, low, high: pc.or_kleene(pc.greater(start, high), pc.less(end, low)),
}
OPERATORS: Final = (
    *("and", "or", "not", *_COMPARISONS, "isNull", "between", "in", "like", "casei"),
    *(*_ARITHMETIC, "/", *_SPATIAL, *_TEMPORAL),
)
"""What conditions may be made of."""
_DEEPEST: Final = 50
_MOST: Final = 10_000
_FOREVER: Final = 2**62


class Columns(Protocol):
    """Items by columns."""

    def __len__(self) -> int:
        """Number of items."""

    def column(self, name: str) -> Any:
        """Column of a property as pyarrow has it, moments as microseconds; None if no item has it."""

    def overlapping(self, area: shapely.Geometry) -> npt.NDArray[np.int64]:
        """Rows of items whose bounding boxes meet that of an area."""

    def geometries(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Outlines of items."""


def holds(condition: object, columns: Columns) -> npt.NDArray[np.bool_]:
    """For which items a condition holds.

    Parameters
    ----------
    condition : object
        CQL2 as JSON.

    Returns
    -------
    ndarray of bool, shape (items,)

    Raises
    ------
    SearchError
        If it is none, or has operators that are not in `OPERATORS`.
    """
    found = _truth(condition, columns, 0)
    if isinstance(found, pa.Scalar):
        return np.full(len(columns), found.as_py() is True)
    return np.asarray(pc.fill_null(_plain(found), False))


def check(condition: object, depth: int = 0) -> None:
    """Look whether a condition has only known operators.

    Raises
    ------
    SearchError
        If not, or if it is nested too deep.
    """
    if depth > _DEEPEST:
        raise SearchError(f"`filter` is nested deeper than {_DEEPEST}")
    if isinstance(condition, list):
        for part in condition[:_MOST]:
            check(part, depth + 1)
    elif isinstance(condition, dict) and "op" in condition:
        if condition["op"] not in OPERATORS:
            raise SearchError(
                f"`filter`: no operator {str(condition['op'])[:40]!r}; there are {', '.join(OPERATORS)}"
            )
        check(condition.get("args"), depth + 1)


def _truth(condition: object, columns: Columns, depth: int) -> Any:
    if depth > _DEEPEST:
        raise SearchError(f"`filter` is nested deeper than {_DEEPEST}")
    if isinstance(condition, bool):
        return pa.scalar(condition)
    if isinstance(condition, dict) and "property" in condition:
        found = _value(condition, columns, depth)
        if isinstance(found, pa.Scalar) or pa.types.is_boolean(found.type):
            return found if pa.types.is_boolean(found.type) else pa.scalar(None, pa.bool_())
        raise SearchError(f"`filter`: {condition['property']} is no condition")
    if not isinstance(condition, dict) or not isinstance(condition.get("args"), list):
        raise SearchError("`filter` is no condition")
    operator, arguments = str(condition.get("op")), condition["args"]
    try:
        return _applied(operator, arguments, columns, depth)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SearchError(f"`filter`: {operator} compares values of different kinds") from error
    except (IndexError, ValueError, TypeError) as error:
        if isinstance(error, SearchError):
            raise
        raise SearchError(f"`filter`: arguments of {operator} are wrong") from error


def _applied(operator: str, arguments: list[Any], columns: Columns, depth: int) -> Any:
    if operator in ("and", "or"):
        join = pc.and_kleene if operator == "and" else pc.or_kleene
        parts = [_truth(part, columns, depth + 1) for part in arguments]
        found = parts[0]
        for part in parts[1:]:
            found = join(found, part)
        return found
    if operator == "not":
        return pc.invert(_truth(arguments[0], columns, depth + 1))
    if operator in _SPATIAL:
        return _spatially(operator, arguments, columns)
    if operator in _TEMPORAL:
        return _in_time(operator, arguments, columns)
    if operator == "isNull":
        return pc.is_null(_value(arguments[0], columns, depth + 1))
    return _of_values(operator, arguments, columns, depth)


def _of_values(operator: str, arguments: list[Any], columns: Columns, depth: int) -> Any:
    """A comparison of values."""
    if operator == "like":
        return _like(_value(arguments[0], columns, depth + 1), str(arguments[1]))
    if operator == "in":
        return _among(_value(arguments[0], columns, depth + 1), arguments[1])
    if operator == "between":
        value = _value(arguments[0], columns, depth + 1)
        low, high = (_value(one, columns, depth + 1) for one in arguments[1:3])
        return pc.and_kleene(_compared(">=", value, low), _compared("<=", value, high))
    if operator in _COMPARISONS:
        first, second = (_value(one, columns, depth + 1) for one in arguments[:2])
        return _compared(operator, first, second)
    raise SearchError(f"`filter`: no operator {operator[:40]!r}; there are {', '.join(OPERATORS)}")


def _value(argument: object, columns: Columns, depth: int) -> Any:
    """Column or constant of an argument."""
    if depth > _DEEPEST:
        raise SearchError(f"`filter` is nested deeper than {_DEEPEST}")
    if isinstance(argument, dict):
        if "property" in argument:
            found = columns.column(str(argument["property"]).removeprefix("properties."))
            return pa.scalar(None) if found is None else found
        if "timestamp" in argument or "date" in argument:
            return pa.scalar(_instant(argument), pa.int64())
        operator, arguments = argument.get("op"), argument.get("args")
        if operator == "casei" and isinstance(arguments, list):
            found = _value(arguments[0], columns, depth + 1)
            return found if pa.types.is_null(found.type) else pc.utf8_lower(_plain(found))
        if operator in (*_ARITHMETIC, "/") and isinstance(arguments, list):
            first, second = (_number(_value(one, columns, depth + 1)) for one in arguments[:2])
            if operator == "/":
                return pc.divide(first, pc.if_else(pc.equal(second, 0.0), pa.scalar(None, pa.float64()), second))
            return _ARITHMETIC[operator](first, second)
        raise SearchError("`filter`: an argument is no value")
    if argument is None or isinstance(argument, (bool, int, float, str)):
        return pa.scalar(argument)
    raise SearchError("`filter`: an argument is no value")


def _number(value: Any) -> Any:
    return pc.cast(value, pa.float64())


def _plain(value: Any) -> Any:
    """A column without a dictionary."""
    return value.dictionary_decode() if pa.types.is_dictionary(value.type) else value


def _per_text(value: Any, apply: Callable[[Any], Any]) -> Any:
    """Apply to each different text of a column once."""
    if not isinstance(value, pa.Scalar) and pa.types.is_dictionary(value.type):
        return apply(value.dictionary).take(value.indices)
    return apply(value)


def _compared(operator: str, first: Any, second: Any) -> Any:
    if pa.types.is_null(first.type) or pa.types.is_null(second.type):
        return pa.scalar(None, pa.bool_())
    compare = _COMPARISONS[operator]
    if isinstance(second, pa.Scalar):
        return _per_text(first, lambda texts: _same_kind(compare, texts, second))
    return _same_kind(compare, _plain(first), _plain(second))


def _same_kind(compare: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    kinds = {_kind(first.type), _kind(second.type)}
    if kinds == {"number", "text"} and isinstance(second, pa.Scalar) and second.is_valid and not _is_text(first.type):
        # Moments are columns of microseconds, and may be compared with text.
        found = microseconds(second.as_py())
        if found is not None:
            return compare(first, pa.scalar(found, pa.int64()))
    if len(kinds) > 1:
        return pa.scalar(None, pa.bool_())
    return compare(first, second)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _kind(kind: Any) -> str:
    return "text" if _is_text(kind) else "truth" if pa.types.is_boolean(kind) else "number"


def _like(value: Any, pattern: str) -> Any:
    if pa.types.is_null(value.type):
        return pa.scalar(None, pa.bool_())
    return _per_text(value, lambda texts: pc.match_like(texts, pattern))


def _among(value: Any, given: Any) -> Any:
    if not isinstance(given, list) or len(given) > _MOST:
        raise SearchError(f"`filter`: IN needs a list of at most {_MOST} values")
    if pa.types.is_null(value.type):
        return pa.scalar(None, pa.bool_())
    kind = value.type.value_type if pa.types.is_dictionary(value.type) else value.type
    wanted = [one for one in given if _fits_kind(one, _kind(kind))]
    if isinstance(value, pa.Scalar):
        return pa.scalar(value.as_py() in wanted)
    if _kind(kind) == "number":
        value, kind = pc.cast(value, pa.float64()), pa.float64()
    known = pa.array(wanted, kind)
    return _per_text(value, lambda texts: pc.if_else(pc.is_null(texts), None, pc.is_in(texts, value_set=known)))


def _fits_kind(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "truth"
    return isinstance(value, str) if kind == "text" else kind == "number" and isinstance(value, (int, float))


def _spatially(operator: str, arguments: list[Any], columns: Columns) -> Any:
    names = [isinstance(one, dict) and one.get("property") == "geometry" for one in arguments[:2]]
    if sorted(names) != [False, True]:
        raise SearchError(f"`filter`: {operator} needs `geometry` and a geometry")
    other = arguments[names.index(False)]
    is_box = isinstance(other, dict) and "bbox" in other
    area = box(other["bbox"], "filter") if is_box else shape(other, "filter")
    near = columns.overlapping(area)
    found = np.full(len(columns), operator == "s_disjoint")
    shapes = columns.geometries(near)
    shapely.prepare(area)
    test = _SPATIAL[operator]
    found[near] = test(shapes, area) if names[0] else test(area, shapes)
    return pa.array(found)


def _in_time(operator: str, arguments: list[Any], columns: Columns) -> Any:
    """Compare moments or intervals of items with given ones."""
    first, second = arguments[:2]
    if not _is_moment(first) and _is_moment(second):
        swapped = {"t_before": "t_after", "t_after": "t_before"}.get(operator, operator)
        if operator == "t_during":
            raise SearchError("`filter`: t_during needs a property first")
        operator, first, second = swapped, second, first
    low, high = _span(second)
    start, end = _columns_of(first, columns)
    if start is None or end is None:
        return pa.scalar(None, pa.bool_())
    if operator == "t_during" and not isinstance(second.get("interval"), list):
        raise SearchError("`filter`: t_during needs an interval")
    return _TEMPORAL[operator](start, end, low, high)


def _is_moment(argument: object) -> bool:
    if isinstance(argument, dict) and isinstance(argument.get("interval"), list):
        return any(isinstance(one, dict) and "property" in one for one in argument["interval"])
    return isinstance(argument, dict) and "property" in argument


def _columns_of(argument: Mapping[str, Any], columns: Columns) -> tuple[Any, Any]:
    parts = argument.get("interval", [argument, argument])
    names = [str(one["property"]).removeprefix("properties.") for one in parts]
    found = [columns.column(name) for name in names]
    if any(one is not None and not pa.types.is_integer(one.type) for one in found):
        raise SearchError("`filter`: a property is no time")
    return found[0], found[1]


def _span(argument: object) -> tuple[int, int]:
    if isinstance(argument, dict) and isinstance(argument.get("interval"), list):
        low, high = argument["interval"]
        return (
            -_FOREVER if low == ".." else _instant(low),
            _FOREVER if high == ".." else _instant(high),
        )
    found = _instant(argument)
    return found, found


def _instant(argument: object) -> int:
    text = argument
    if isinstance(argument, dict):
        text = argument.get("timestamp", argument.get("date"))
    found = microseconds(text) if isinstance(text, str) and re.match(r"\d{4}-\d\d-\d\d", text) else None
    if found is None:
        raise SearchError("`filter`: a time is none")
    return found
