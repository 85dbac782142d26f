"""Arithmetic of numbers, by IEEE 754: divisions by zero are infinite, and what is undefined is NaN."""

from __future__ import annotations

import math

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.operands import is_number, not_a, numeric, on_numbers


@on_numbers("absolute")
def absolute(x: Value) -> Value:
    """Absolute value."""
    return np.abs(x)


@on_numbers("add")
def add(x: Value, y: Value) -> Value:
    """Sum of two numbers."""
    return np.add(x, y)


@on_numbers("subtract")
def subtract(x: Value, y: Value) -> Value:
    """Difference `x - y`."""
    return np.subtract(x, y)


@on_numbers("multiply")
def multiply(x: Value, y: Value) -> Value:
    """Product of two numbers."""
    return np.multiply(x, y)


@on_numbers("divide")
def divide(x: Value, y: Value) -> Value:
    """Quotient `x / y`."""
    return np.divide(x, y)


@on_numbers("normalized_difference")
def normalized_difference(x: Value, y: Value) -> Value:
    """`(x - y) / (x + y)`."""
    return np.divide(np.subtract(x, y), np.add(x, y))


@on_numbers("mod")
def mod(x: Value, y: Value) -> Value:
    """Remainder with the sign of the divisor; of 0 infinite, and by an infinite divisor `x` itself."""
    if not np.ndim(y) and y != 0 and math.isfinite(y):
        return np.mod(x, y)
    by_infinity = np.where(np.isfinite(x), x, np.nan)
    return np.where(np.equal(y, 0), np.multiply(x, np.inf), np.where(np.isinf(y), by_infinity, np.mod(x, y)))


@on_numbers("power")
def power(base: Value, p: Value) -> Value:
    """`base` to the power of `p`; NaN stays NaN, whatever the other operand."""
    if not np.ndim(p) and not math.isnan(p) and p != 0:
        # 1 to the power of NaN is 1 by IEEE 754: only there null would be lost.
        if p == 2:
            return np.multiply(base, base)
        # numpy takes the square root for 0.5, which is NaN of -infinity, where the power is +infinity.
        return np.power(np.where(np.equal(base, -np.inf), np.inf, base) if p == _ROOT else base, p)
    undefined = np.isnan(base) | np.isnan(p)
    return np.where(undefined, np.add(base, p), np.power(base, p))


_ROOT = 0.5


@on_numbers("sqrt")
def sqrt(x: Value) -> Value:
    """Square root; NaN of negative numbers."""
    return np.sqrt(x)


@on_numbers("exp")
def exp(p: Value) -> Value:
    """`e` to the power of `p`."""
    return np.exp(p)


@on_numbers("ln")
def ln(x: Value) -> Value:
    """Natural logarithm; NaN of negative numbers, -infinity of 0."""
    return np.log(x)


@on_numbers("log")
def log(x: Value, base: Value) -> Value:
    """Logarithm to a base; exact for powers of 2 and 10."""
    if not np.ndim(base) and base in _LOGARITHMS:
        return _LOGARITHMS[float(base)](x)
    natural = np.log(base)
    return np.divide(np.log(x), natural if np.ndim(base) else float(natural))


_LOGARITHMS = {2.0: np.log2, 10.0: np.log10}


@on_numbers("floor")
def floor(x: Value) -> Value:
    """Greatest integer that is not above `x`."""
    return np.floor(x)


@on_numbers("ceil")
def ceil(x: Value) -> Value:
    """Least integer that is not below `x`."""
    return np.ceil(x)


@on_values("int")
def integer(x: Value) -> Value:
    """Integer part of `x`; null of NaN."""
    found = numeric(_trunc, {"x": x})
    return None if is_number(found) and math.isnan(found) else found


def _trunc(x: Value) -> Value:
    return np.trunc(x)


@on_numbers("sgn")
def sgn(x: Value) -> Value:
    """1, 0 or -1 by the sign of `x`."""
    return np.sign(x)


@on_values("round")
def round_to(x: Value, p: Value = 0) -> Value:
    """Round to `p` decimals, or to tens, hundreds … for negative `p`; halves to the even digit."""
    if not is_number(p) or p != int(p):
        raise not_a("p", "whole number", p)
    digits = int(p)

    def rounded(x: Value) -> Value:
        if digits == 0:
            return np.rint(x)
        if digits < -_MOST_DIGITS:
            return np.multiply(x, 0.0)
        made = np.round(x, min(digits, _MOST_DIGITS))
        return np.where(np.isfinite(made), made, x)  # the digits before overflowed

    return numeric(rounded, {"x": x})


_MOST_DIGITS = 300


@on_numbers("clip")
def clip(x: Value, min: Value, max: Value) -> Value:
    """`x`, or the bound that it lies beyond.

    Raises
    ------
    GraphError
        `MinMaxSwapped`.
    """
    if np.any(np.less(max, min)):
        raise GraphError("argument 'max' is below argument 'min'", hint="swap the two", fault="MinMaxSwapped")
    return np.clip(x, min, max)


@on_numbers("linear_scale_range")
def linear_scale_range(
    x: Value,
    inputMin: Value,  # noqa: N803, names of openEO
    inputMax: Value,  # noqa: N803
    outputMin: Value = 0,  # noqa: N803
    outputMax: Value = 1,  # noqa: N803
) -> Value:
    """Map the input range to the output range, linearly; `x` is clipped to the input range.

    Divided before it is multiplied: the bounds of the input become exactly 0 and 1 on the way.
    """
    varies = any(np.ndim(bound) for bound in (inputMin, inputMax))
    low = np.minimum(inputMin, inputMax) if varies else min(inputMin, inputMax)
    high = np.maximum(inputMin, inputMax) if varies else max(inputMin, inputMax)
    made = np.clip(x, low, high)
    made = np.subtract(made, inputMin, out=_own(made))
    made = np.divide(made, inputMax - inputMin, out=_own(made))
    made = np.multiply(made, outputMax - outputMin, out=_own(made))
    return np.add(made, outputMin, out=_own(made))


def _own(made: Value) -> Value:
    """Where a result may be written that nobody else has."""
    return made if isinstance(made, np.ndarray) else None
