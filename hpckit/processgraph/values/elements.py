"""Arrays as arguments: lists of JSON, or an array of many pixels at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Label, Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value
from hpckit.processgraph.values.operands import floats, is_number, is_pixels, not_a

Elements = list[Value] | Labelled


def elements_of(data: Value, name: str = "data") -> Elements:
    """An array: a list if its elements are single values, `Labelled` if they are numbers of pixels.

    Raises
    ------
    GraphError
        If it is no array, or one of arrays of different lengths.
    """
    if isinstance(data, Labelled):
        return data if data.values.dtype.kind != "O" or data.values.ndim > 1 else list(data.values)
    if not isinstance(data, list | tuple):
        raise not_a(name, "array", data)
    return Labelled(stacked(list(data))) if any(map(is_pixels, data)) else list(data)


def numbers_of(data: Value, name: str = "data") -> list[Value] | Labelled:
    """An array of numbers and null; that of pixels as float32 or float64."""
    found = elements_of(data, name)
    if isinstance(found, Labelled):
        return replace(found, values=floats(found.values))
    for item in found:
        if item is not None and not is_number(item):
            raise not_a(name, "array of numbers", item) from None
    return found


def stacked(items: list[Value]) -> Values:
    """Elements of which some are of pixels as one array, shape (elements, ...)."""
    pixels = [floats(item) if item.dtype != bool else item for item in items if is_pixels(item)]
    booleans = all(item.dtype == bool if is_pixels(item) else isinstance(item, bool) for item in items)
    dtype = np.dtype(bool) if booleans else np.result_type(np.float32, *(each for each in pixels))
    shape = np.broadcast_shapes(*(each.shape for each in pixels))
    found = np.empty((len(items), *shape), dtype)
    for place, item in enumerate(items):
        if not (item is None or is_pixels(item) or isinstance(item, int | float)):
            raise GraphError(
                f"an array has pixels and {item!r}: all elements must be numbers",
                fault="ProcessParameterInvalid",
            )
        found[place] = np.nan if item is None else item
    return found


def labels_of(data: Value) -> tuple[Label, ...] | None:
    """Labels of an array; None if it has none."""
    return data.labels if isinstance(data, Labelled) else None


def float_list(items: list[Value]) -> Values:
    """Numbers as float64, with NaN for null.

    Raises
    ------
    GraphError
        If one is larger than such a number can be.
    """
    try:
        return np.array([np.nan if item is None else item for item in items], np.float64)
    except OverflowError:
        raise GraphError("a number is too large for 64 bits", fault="ProcessParameterInvalid") from None


def items_of(found: Elements) -> list[Value]:
    """Elements one by one; those of pixels as arrays."""
    return found if isinstance(found, list) else [found.values[place, ...] for place in range(len(found))]


def array_of(items: list[Value], labels: tuple[Label, ...] | None = None) -> list[Value] | Labelled:
    """An array of elements: a list if these are no pixels and have no labels."""
    if any(map(is_pixels, items)):
        return Labelled(stacked(items), labels)
    if labels is None:
        return items
    values = np.empty(len(items), object)
    for place, item in enumerate(items):
        values[place] = item
    return Labelled(values, labels)


def index_of(value: Value, name: str) -> int:
    """A position: a whole number, of any type.

    Raises
    ------
    GraphError
        If it is none.
    """
    if isinstance(value, np.ndarray | np.generic) and not np.ndim(value):
        value = value.item()
    if not is_number(value) or value != value or value in (np.inf, -np.inf) or value != int(value):
        raise not_a(name, "whole number", value)
    return int(value)
