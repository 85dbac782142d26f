"""Comparisons: of numbers and, for equality, of booleans and texts; types are compared, too.

Of pixels the result is 1, 0 or null as float32, or boolean where no operand can be null. What is no number is neither
above nor below anything; dates are texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels.choice import blank
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.operands import is_number, is_pixels, not_a

_Ufunc = Callable[..., Any]


@on_values("eq")
def eq(x: Value, y: Value, delta: Value = None, case_sensitive: bool = True) -> Value:
    """Whether two values are equal: of one type, and numbers by less than `delta`; texts with or without case."""
    return _spread(lambda a, b: _equal(a, b, delta, case_sensitive), x, y)


@on_values("neq")
def neq(x: Value, y: Value, delta: Value = None, case_sensitive: bool = True) -> Value:
    """Whether two values are not equal; see `eq`."""
    found = eq(x=x, y=y, delta=delta, case_sensitive=case_sensitive)
    if isinstance(found, Labelled):
        return replace(found, values=_inverted(found.values))
    return _inverted(found) if is_pixels(found) else None if found is None else not found


@on_values("gt")
def gt(x: Value, y: Value) -> Value:
    """Whether `x` is a number above the number `y`."""
    return _spread(lambda a, b: _ordered(np.greater, a, b), x, y)


@on_values("gte")
def gte(x: Value, y: Value) -> Value:
    """Whether `x` is a number not below the number `y`, or equal to it."""
    return _spread(lambda a, b: _ordered(np.greater_equal, a, b, or_equal=True), x, y)


@on_values("lt")
def lt(x: Value, y: Value) -> Value:
    """Whether `x` is a number below the number `y`."""
    return _spread(lambda a, b: _ordered(np.less, a, b), x, y)


@on_values("lte")
def lte(x: Value, y: Value) -> Value:
    """Whether `x` is a number not above the number `y`, or equal to it."""
    return _spread(lambda a, b: _ordered(np.less_equal, a, b, or_equal=True), x, y)


@on_values("between")
def between(x: Value, min: Value, max: Value, exclude_max: bool = False) -> Value:
    """Whether `x` is a number from `min` to `max`, with or without `max`."""
    for name, bound in (("min", min), ("max", max)):
        if not is_number(bound) and not is_pixels(bound):
            raise not_a(name, "number", bound)
    upper = np.less if exclude_max else np.less_equal

    def within(a: Value, _: Value) -> Value:
        if is_pixels(a) and a.dtype != bool:
            return flags(lambda a, low, high: np.greater_equal(a, low) & upper(a, high), a, min, max)
        above, below = _ordered(np.greater_equal, a, min), _ordered(upper, a, max)
        return None if a is None else above & below if is_pixels(above) else bool(above and below)

    return False if isinstance(x, list) else _spread(within, x, min)


@on_values("is_nan")
def is_nan(x: Value) -> Value:
    """Whether a value is not a number; of pixels, whether it is null."""
    return _of_each(np.isnan, x, lambda value: is_number(value) and value != value)


@on_values("is_nodata")
def is_nodata(x: Value) -> Value:
    """Whether a value is null."""
    return _of_each(np.isnan, x, lambda value: value is None)


@on_values("is_infinite")
def is_infinite(x: Value) -> Value:
    """Whether a value is an infinite number."""
    return _of_each(np.isinf, x, lambda value: is_number(value) and value in (np.inf, -np.inf))


@on_values("is_valid")
def is_valid(x: Value) -> Value:
    """Whether a value is neither null, nor NaN, nor infinite."""
    return _of_each(np.isfinite, x, valid)


def valid(value: Value) -> bool:
    """Whether a scalar of JSON is neither null, nor NaN, nor infinite."""
    return value is not None and not (is_number(value) and not np.isfinite(_finite_or_large(value)))


def _finite_or_large(value: float) -> float:
    return 0.0 if isinstance(value, int) else value


def _of_each(function: _Ufunc, x: Value, of_scalar: Callable[[Value], bool]) -> Value:
    if not is_pixels(x):
        return bool(of_scalar(x))
    if x.dtype.kind == "O":
        return np.vectorize(of_scalar, otypes=[bool])(x)
    return function(x) if x.dtype.kind == "f" else np.full(x.shape, function is np.isfinite)


def flags(compare: _Ufunc, *operands: Value) -> Values:
    """Compare pixels: 1 or 0 as float32, NaN where an operand is NaN; booleans if none is a floating-point number."""
    nullable = [value for value in operands if is_pixels(value) and value.dtype.kind == "f"]
    with np.errstate(all="ignore"):
        made = compare(*(value if is_pixels(value) else float(value) for value in operands))
        if not nullable:
            return np.asarray(made)
        found = blank(np.asarray(made), nullable[0])
        for value in nullable[1:]:
            np.copyto(found, _NULL, where=np.isnan(value))
    return found


_NULL: Final = np.float32(np.nan)


def _ordered(compare: _Ufunc, x: Value, y: Value, *, or_equal: bool = False) -> Value:
    if x is None or y is None:
        return _null(x, y)
    if not (_is_numeric(x) and _is_numeric(y)):
        return _equal(x, y, None, True) if or_equal else _never(x, y)
    return flags(compare, x, y) if is_pixels(x) or is_pixels(y) else bool(compare(x, y))


def _equal(x: Value, y: Value, delta: Value, case_sensitive: bool) -> Value:
    if x is None or y is None:
        return _null(x, y)
    if is_pixels(x) or is_pixels(y):
        return _equal_pixels(x, y, delta, case_sensitive)
    if isinstance(x, str) and isinstance(y, str):
        return x == y if case_sensitive else x.casefold() == y.casefold()
    if is_number(x) and is_number(y):
        return bool(x == y) if not delta else bool(abs(x - y) <= delta)
    return isinstance(x, bool) and isinstance(y, bool) and x == y


def _equal_pixels(x: Value, y: Value, delta: Value, case_sensitive: bool) -> Value:
    if any(is_pixels(value) and value.dtype.kind in "OU" for value in (x, y)):
        one_by_one = np.vectorize(lambda a, b: _equal(a, b, delta, case_sensitive) or False, otypes=[bool])
        return one_by_one(x, y)
    # Booleans that may be null are floats: they are compared with booleans as numbers.
    if (
        isinstance(x, str | list | dict)
        or isinstance(y, str | list | dict)
        or (_is_boolean(x) != _is_boolean(y) and not (_is_float(x) or _is_float(y)))
    ):
        return _never(x, y)
    near = np.equal if not delta else lambda a, b: np.abs(np.subtract(a, b)) <= delta
    return flags(near, x, y)


def _is_boolean(value: Value) -> bool:
    return isinstance(value, bool) or (is_pixels(value) and value.dtype == bool)


def _is_float(value: Value) -> bool:
    return is_pixels(value) and value.dtype.kind == "f"


def _is_numeric(value: Value) -> bool:
    return is_number(value) or (is_pixels(value) and value.dtype.kind in "fiu")


def _null(*operands: Value) -> Value:
    shapes = [value.shape for value in operands if is_pixels(value)]
    return np.full(np.broadcast_shapes(*shapes), _NULL) if shapes else None


def _never(*operands: Value) -> Value:
    """False, and null for pixels that are null."""
    pixels = [value for value in operands if is_pixels(value) and value.dtype.kind in "fiub"]
    return (
        flags(lambda *given: np.zeros(np.broadcast_shapes(*map(np.shape, given)), bool), *pixels) if pixels else False
    )


def _inverted(found: Values) -> Values:
    return np.logical_not(found) if found.dtype == bool else np.subtract(np.float32(1), found)


def _spread(function: Callable[[Value, Value], Value], x: Value, y: Value) -> Value:
    """Compare elements of arrays that have pixels, too."""
    arrays = [value for value in (x, y) if isinstance(value, Labelled)]
    if not arrays:
        return function(x, y)
    bare = [value.values if isinstance(value, Labelled) else value for value in (x, y)]
    return replace(arrays[0], values=np.asarray(function(*bare)))
