"""Statistics of arrays: of lists by numpy, of the arrays of many pixels by compiled kernels.

In lists None is null and NaN a number that makes a result NaN; in arrays of pixels NaN is null. By default null is
left out; without `ignore_nodata` it makes the result null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels import ranks, sums
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.comparison import valid
from hpckit.processgraph.values.elements import elements_of, float_list, items_of, numbers_of
from hpckit.processgraph.values.operands import is_number, is_pixels, not_a, tidy

OfList = Callable[[Values], Any]
OfPixels = Callable[[Values, bool], Values]


@on_values("sum")
def total(data: Value, ignore_nodata: bool = True) -> Value:
    """Sum of the elements."""
    return _statistic(data, ignore_nodata, np.sum, sums.total)


@on_values("product")
def product(data: Value, ignore_nodata: bool = True) -> Value:
    """Product of the elements."""
    return _statistic(data, ignore_nodata, np.prod, sums.product)


@on_values("mean")
def mean(data: Value, ignore_nodata: bool = True) -> Value:
    """Arithmetic mean."""
    return _statistic(data, ignore_nodata, np.mean, sums.mean)


@on_values("variance")
def variance(data: Value, ignore_nodata: bool = True) -> Value:
    """Sample variance (divided by n - 1); NaN of one element."""
    return _statistic(data, ignore_nodata, _variance, sums.variance)


@on_values("sd")
def deviation(data: Value, ignore_nodata: bool = True) -> Value:
    """Sample standard deviation; NaN of one element."""
    return _statistic(data, ignore_nodata, lambda numbers: np.sqrt(_variance(numbers)), sums.deviation)


@on_values("min")
def least(data: Value, ignore_nodata: bool = True) -> Value:
    """Smallest element."""
    return _statistic(data, ignore_nodata, np.min, _least)


@on_values("max")
def largest(data: Value, ignore_nodata: bool = True) -> Value:
    """Largest element."""
    return _statistic(data, ignore_nodata, np.max, _most)


@on_values("extrema")
def extrema(data: Value, ignore_nodata: bool = True) -> Value:
    """Smallest and largest element, as an array."""
    found = numbers_of(data)
    if isinstance(found, list):
        return [least(found, ignore_nodata), largest(found, ignore_nodata)]
    return Labelled(np.stack([_least(found.values, ignore_nodata), _most(found.values, ignore_nodata)]))


@on_values("median")
def median(data: Value, ignore_nodata: bool = True) -> Value:
    """Median: the middle element of those in order, or the mean of the two in the middle."""
    return _statistic(data, ignore_nodata, partial(_quantile, share=0.5), _median)


@on_values("quantiles")
def quantiles(data: Value, probabilities: Value = None, q: Value = None, ignore_nodata: bool = True) -> Value:
    """Quantiles of probabilities or of equal intervals, as an array (Hyndman & Fan 1996, type 7).

    Raises
    ------
    GraphError
        `QuantilesParameterMissing`, `QuantilesParameterConflict`, `AscendingProbabilitiesRequired`.
    """
    shares = _shares(probabilities, q)
    found = numbers_of(data)
    if isinstance(found, Labelled):
        return Labelled(ranks.quantiles(found.values, np.array(shares, np.float64), ignore_nodata))
    return [_statistic(found, ignore_nodata, partial(_quantile, share=share), _median) for share in shares]


@on_values("count")
def count(data: Value, condition: Value = None, context: Value = None) -> Value:
    """Number of elements that are valid, that meet a condition, or (`true`) of all."""
    found = elements_of(data)
    if condition is True:
        return len(found)
    if condition is not None and not callable(condition):
        raise GraphError("argument 'condition' must be a process, true, or null", fault="ProcessParameterInvalid")
    if condition is None:
        return sum(map(valid, found)) if isinstance(found, list) else _count_valid(found.values)
    met = [condition(x=item, context=context) for item in items_of(found)]
    if not any(map(is_pixels, met)):
        return sum(each is True for each in met)
    return np.sum([np.equal(each, 1) for each in met], axis=0, dtype=np.float32)


@on_values("first")
def first(data: Value, ignore_nodata: bool = True) -> Value:
    """First element, or first one that is not null."""
    return _end(data, ignore_nodata, last=False)


@on_values("last")
def last(data: Value, ignore_nodata: bool = True) -> Value:
    """Last element, or last one that is not null."""
    return _end(data, ignore_nodata, last=True)


def _statistic(data: Value, ignore: bool, of_list: OfList, of_pixels: OfPixels) -> Value:
    found = numbers_of(data)
    if isinstance(found, Labelled):
        return of_pixels(found.values, ignore)
    known = [item for item in found if item is not None]
    if not known or (len(known) < len(found) and not ignore):
        return None
    numbers = float_list(known)
    if np.isnan(numbers).any():
        return math.nan
    with np.errstate(all="ignore"):
        return tidy(of_list(numbers), known)


def _variance(numbers: Values) -> Any:
    return np.var(numbers, ddof=1) if len(numbers) > 1 else math.nan


def _quantile(numbers: Values, share: float) -> Any:
    ascending = np.sort(numbers)
    place = share * (len(ascending) - 1)
    below = int(place)
    part = place - below
    low, high = ascending[below], ascending[min(below + 1, len(ascending) - 1)]
    # Not low + part * (high - low): that is NaN where one is infinite.
    return low if part == 0 or low == high else low * (1 - part) + high * part


def _median(stack: Values, ignore: bool) -> Values:
    middle: Values = ranks.quantiles(stack, np.array([0.5]), ignore)[0, ...]
    return middle


def _least(stack: Values, ignore: bool) -> Values:
    return _extreme(np.fmin if ignore else np.minimum, stack)


def _most(stack: Values, ignore: bool) -> Values:
    return _extreme(np.fmax if ignore else np.maximum, stack)


def _extreme(join: np.ufunc, stack: Values) -> Values:
    if not len(stack):
        return np.full(stack.shape[1:], np.nan, stack.dtype)
    with np.errstate(all="ignore"):
        return np.asarray(join.reduce(stack, axis=0))


def _count_valid(stack: Values) -> Values:
    if stack.dtype.kind == "f":
        return sums.count_valid(stack)
    return np.full(stack.shape[1:], len(stack), np.float32)


def _shares(probabilities: Value, q: Value) -> list[float]:
    """Probabilities of quantiles."""
    if probabilities is None and q is None:
        raise GraphError(
            "process 'quantiles' needs argument 'probabilities'",
            hint="a list such as [0.1, 0.5, 0.9], or a number of intervals",
            fault="QuantilesParameterMissing",
        )
    if probabilities is not None and q is not None:
        raise GraphError(
            "process 'quantiles' has both arguments 'probabilities' and 'q'",
            hint="leave 'q' out",
            fault="QuantilesParameterConflict",
        )
    name, given = ("q", q) if probabilities is None else ("probabilities", probabilities)
    if is_number(given):
        if given != int(given) or given < 2:
            raise not_a(name, "number of intervals, 2 or more,", given)
        return [part / int(given) for part in range(1, int(given))]
    listed = given.values.tolist() if isinstance(given, Labelled) else given
    if not isinstance(listed, list) or not all(is_number(each) and 0 <= each <= 1 for each in listed):
        raise GraphError(
            f"argument {name!r} must be a list of numbers from 0 to 1, or a number of intervals",
            fault="ProcessParameterInvalid",
        )
    if sorted(listed) != listed:
        raise GraphError(
            f"argument {name!r} is not in ascending order: {listed}",
            hint=f"write {sorted(listed)}",
            fault="AscendingProbabilitiesRequired",
        )
    return [float(each) for each in listed]


def _end(data: Value, ignore: bool, *, last: bool) -> Value:
    found = elements_of(data)
    if isinstance(found, list):
        kept = [item for item in found if item is not None] if ignore else found
        return (kept[-1] if last else kept[0]) if kept else None
    stack = found.values
    if not len(stack):
        return np.full(stack.shape[1:], np.nan, stack.dtype if stack.dtype.kind == "f" else np.float32)
    if not ignore or stack.dtype.kind != "f":
        return stack[-1 if last else 0, ...]
    return sums.end(stack, last)
