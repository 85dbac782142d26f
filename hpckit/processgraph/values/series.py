"""Arrays of which each element is made from those before it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final, Literal

import numpy as np

from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels import series
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.times import instant
from hpckit.processgraph.values.elements import float_list, labels_of, numbers_of
from hpckit.processgraph.values.operands import is_number, tidy

Operation = Literal["sum", "product", "min", "max"]
_JOIN: Final = {"sum": np.add, "product": np.multiply, "min": np.minimum, "max": np.maximum}


@on_values("cumsum")
def cumsum(data: Value, ignore_nodata: bool = True) -> Value:
    """Sums of each element and all before it."""
    return _cumulated(data, "sum", ignore_nodata)


@on_values("cumproduct")
def cumproduct(data: Value, ignore_nodata: bool = True) -> Value:
    """Products of each element and all before it."""
    return _cumulated(data, "product", ignore_nodata)


@on_values("cummin")
def cummin(data: Value, ignore_nodata: bool = True) -> Value:
    """Smallest of each element and all before it."""
    return _cumulated(data, "min", ignore_nodata)


@on_values("cummax")
def cummax(data: Value, ignore_nodata: bool = True) -> Value:
    """Largest of each element and all before it."""
    return _cumulated(data, "max", ignore_nodata)


@on_values("array_interpolate_linear")
def array_interpolate_linear(data: Value) -> Value:
    """Fill null and NaN between other elements, linearly over labels that are numbers or dates, or else positions."""
    found = numbers_of(data)
    if isinstance(found, Labelled):
        return replace(found, values=series.interpolate(found.values, _places(labels_of(data), len(found))))
    numbers = float_list(found)
    places = _places(labels_of(data), len(found))
    filled = [
        made.item() if made == made else item for item, made in zip(found, _filled(numbers, places), strict=True)
    ]
    return filled if not isinstance(data, Labelled) else replace(data, values=_objects(filled))


def _filled(numbers: Values, places: Values) -> Values:
    known = np.flatnonzero(~np.isnan(numbers))
    made = numbers.copy()
    with np.errstate(all="ignore"):
        for before, after in pairwise(known):
            between = slice(before + 1, after)
            share = (places[between] - places[before]) / (places[after] - places[before])
            low, high = numbers[before], numbers[after]
            made[between] = low if low == high else low * (1 - share) + high * share
    return made


def _places(labels: tuple[Value, ...] | None, count: int) -> Values:
    """Where elements lie: by numbers, or by seconds."""
    if labels and all(is_number(label) for label in labels):
        return np.array(labels, np.float64)
    if labels:
        instants = [instant(label) for label in labels]
        if None not in instants:
            return np.array([at.timestamp() for at in instants if at is not None], np.float64)
    return np.arange(count, dtype=np.float64)


def _cumulated(data: Value, operation: Operation, ignore: bool) -> Value:
    found = numbers_of(data)
    if isinstance(found, Labelled):
        return replace(found, values=series.cumulate(found.values, operation, ignore))
    made: list[Value] = []
    so_far, ended = None, False
    with np.errstate(all="ignore"):
        for item in found:
            ended = ended or (item is None and not ignore)
            if item is None or ended:
                made.append(None)
                continue
            so_far = (
                item
                if so_far is None
                else tidy(_JOIN[operation](np.float64(so_far), np.float64(item)), (so_far, item))
            )
            made.append(so_far)
    return made if not isinstance(data, Labelled) else replace(data, values=_objects(made))


def _objects(items: list[Value]) -> Values:
    values = np.empty(len(items), object)
    values[:] = items
    return values
