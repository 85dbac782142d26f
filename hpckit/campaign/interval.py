"""Interval arithmetic: the range of a result from the ranges of what it is made from.

What cannot be proved is infinite. Values that are undefined (a root of a negative number) do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

Range = tuple[float, float]
"""Least and greatest value."""

_ALL: Range = (-math.inf, math.inf)


def add(a: Range, b: Range) -> Range:
    """Range of a sum."""
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Range, b: Range) -> Range:
    """Range of a difference."""
    return a[0] - b[1], a[1] - b[0]


def multiply(a: Range, b: Range) -> Range:
    """Range of a product."""
    return _around(x * y for x in a for y in b)


def divide(a: Range, b: Range) -> Range:
    """Range of a quotient."""
    return _ALL if b[0] <= 0 <= b[1] else multiply(a, (1 / b[1], 1 / b[0]))


def power(a: Range, b: Range) -> Range:
    """Range of a power with a fixed exponent; of another one nothing is proved, unless the base is positive."""
    if b[0] != b[1]:
        return exponential(multiply(b, logarithm(a))) if a[0] > 0 else _ALL
    exponent = b[0]
    if exponent < 0:
        return divide((1.0, 1.0), power(a, (-exponent, -exponent)))
    if not exponent.is_integer():
        a = (max(0.0, a[0]), max(0.0, a[1]))
    even = exponent.is_integer() and exponent % 2 == 0
    ends = [_safely(lambda x=x: x**exponent) for x in a]  # type: ignore[misc]
    return _around([*ends, 0.0] if even and a[0] <= 0 <= a[1] else ends)


def absolute(a: Range) -> Range:
    """Range of the absolute value."""
    return (0.0 if a[0] <= 0 <= a[1] else min(map(abs, a)), max(map(abs, a)))


def square_root(a: Range) -> Range:
    """Range of a square root."""
    return math.sqrt(max(0.0, a[0])), math.sqrt(max(0.0, a[1]))


def logarithm(a: Range) -> Range:
    """Range of a natural logarithm."""
    low, high = (-math.inf if x <= 0 else math.log(x) for x in a)
    return low, high


def exponential(a: Range) -> Range:
    """Range of an exponential."""
    low, high = (_safely(lambda x=x: math.exp(x)) for x in a)  # type: ignore[misc]
    return low, high


def minimum(a: Range, b: Range) -> Range:
    """Range of the lesser one."""
    return min(a[0], b[0]), min(a[1], b[1])


def maximum(a: Range, b: Range) -> Range:
    """Range of the greater one."""
    return max(a[0], b[0]), max(a[1], b[1])


def _around(values: Iterable[float]) -> Range:
    found = list(values)
    return _ALL if any(map(math.isnan, found)) else (min(found), max(found))


def _safely(compute: Callable[[], float]) -> float:
    try:
        return compute()
    except OverflowError:
        return math.inf
