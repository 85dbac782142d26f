"""Logic of three values: true, false, and null where the outcome depends on what is not known (Kleene).

Of pixels booleans that may be null are floating-point numbers: 1, 0 and NaN.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels.choice import select
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.elements import elements_of
from hpckit.processgraph.values.operands import is_pixels, not_a


@on_values("and")
def both(x: Value, y: Value) -> Value:
    """Whether both are true."""
    return _binary(_both, x=x, y=y)


@on_values("or")
def either(x: Value, y: Value) -> Value:
    """Whether one of them, or both, is true."""
    return _binary(lambda a, b: _inverse(_both(_inverse(a), _inverse(b))), x=x, y=y)


@on_values("xor")
def one_of(x: Value, y: Value) -> Value:
    """Whether exactly one of them is true."""
    return _binary(_one_of, x=x, y=y)


@on_values("not")
def inverse(x: Value) -> Value:
    """Whether it is false."""
    return _binary(lambda a, _: _inverse(a), x=x, y=x)


@on_values("all")
def all_of(data: Value, ignore_nodata: bool = True) -> Value:
    """Whether all elements are true; those that are null are left out, or leave it open."""
    return _joined(data, ignore_nodata, decisive=False)


@on_values("any")
def any_of(data: Value, ignore_nodata: bool = True) -> Value:
    """Whether an element is true; those that are null are left out, or leave it open."""
    return _joined(data, ignore_nodata, decisive=True)


@on_values("if")
def choose(value: Value, accept: Value, reject: Value = None) -> Value:
    """`accept` where the value is true, `reject` where it is false or null."""
    if is_pixels(value):
        return _choose_pixels(value, accept, reject)
    return accept if _scalar("value", value) else reject


def _joined(data: Value, ignore: bool, *, decisive: bool) -> Value:
    """Whether an element is decisive (for `any`), or none (for `all`)."""
    found = elements_of(data)
    if isinstance(found, list):
        known = [_scalar("data", item) for item in found if item is not None]
        if decisive in known:
            return decisive
        return not decisive if ignore or len(known) == len(found) else None
    stack = found.values
    true = stack != 0 if stack.dtype == bool else np.greater(stack, 0)
    decided = (true if decisive else np.equal(stack, 0)).any(axis=0)
    outcome = decided if decisive else ~decided
    if ignore or stack.dtype == bool:
        return np.asarray(outcome)
    undecided = ~decided & np.isnan(stack).any(axis=0)
    return select(np.asarray(undecided), np.float32(np.nan), outcome.astype(np.float32))


def _choose_pixels(value: Values, accept: Value, reject: Value) -> Value:
    arrays = [each for each in (accept, reject) if isinstance(each, Labelled)]
    if arrays:
        bare = [each.values if isinstance(each, Labelled) else each for each in (accept, reject)]
        return replace(arrays[0], values=_choose_pixels(value, *bare))
    true = value if value.dtype == bool else np.equal(value, 1)
    one, other = (_choice(name, each) for name, each in (("accept", accept), ("reject", reject)))
    return select(true, one, other)


def _choice(name: str, value: Value) -> Any:
    """A value that pixels may get; scalars as float32, or booleans."""
    if value is None:
        return np.float32(np.nan)
    if is_pixels(value) or isinstance(value, bool | str):
        return np.asarray(value, object) if isinstance(value, str) else value
    if isinstance(value, int | float):
        return np.float32(value)
    raise not_a(name, "number, boolean or text where the condition is of pixels", value)


def _binary(function: Any, **operands: Value) -> Value:
    arrays = [value for value in operands.values() if isinstance(value, Labelled)]
    if arrays:
        bare = {name: value.values if isinstance(value, Labelled) else value for name, value in operands.items()}
        return replace(arrays[0], values=np.asarray(_binary(function, **bare)))
    if not any(is_pixels(value) for value in operands.values()):
        return function(*(_scalar(name, value) for name, value in operands.items()))
    return function(*(_pixels(name, value) for name, value in operands.items()))


def _scalar(name: str, value: Value) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic | np.ndarray) and not np.ndim(value):
        return None if np.isnan(value) else bool(value)
    raise not_a(name, "boolean", value)


def _pixels(name: str, value: Value) -> Values:
    """Booleans, or 1, 0 and NaN as float32."""
    if not is_pixels(value):
        scalar = _scalar(name, value)
        return np.asarray(np.float32(np.nan) if scalar is None else scalar)
    if value.dtype == bool or value.dtype == np.float32:
        return value
    return np.not_equal(value, 0) if value.dtype.kind in "iu" else value.astype(np.float32)


def _inverse(x: Value) -> Value:
    if not is_pixels(x):
        return None if x is None else not x
    return np.logical_not(x) if x.dtype == bool else np.subtract(np.float32(1), x)


def _both(x: Value, y: Value) -> Value:
    if not is_pixels(x):
        return False if x is False or y is False else None if x is None or y is None else True
    if x.dtype == y.dtype == bool:
        return np.logical_and(x, y)
    # The product is NaN where one is: false decides it all the same.
    made = np.multiply(x, y, dtype=np.float32)
    return select(np.equal(x, 0) | np.equal(y, 0), np.float32(0), made)


def _one_of(x: Value, y: Value) -> Value:
    if not is_pixels(x):
        return None if x is None or y is None else x != y
    if x.dtype == y.dtype == bool:
        return np.logical_xor(x, y)
    return np.abs(np.subtract(x, y, dtype=np.float32))
