"""Arrays: made, taken apart, joined, searched."""

from __future__ import annotations

from typing import Final

import numpy as np

from hpckit.base.quantities import format_count
from hpckit.errors import GraphError
from hpckit.processgraph.cube import Label
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.comparison import eq
from hpckit.processgraph.values.elements import (
    array_of,
    elements_of,
    index_of,
    items_of,
    labels_of,
)
from hpckit.processgraph.values.operands import is_number, is_pixels

_MOST: Final = 10_000_000
"""Elements that one array may get."""


@on_values("array_create")
def array_create(data: Value = (), repeat: Value = 1) -> Value:
    """An array of elements, or of several times these."""
    items, count = items_of(elements_of(list(data) if isinstance(data, tuple) else data)), index_of(repeat, "repeat")
    if count < 1 or count * len(items) > _MOST:
        raise GraphError(
            f"argument 'repeat' is {count}", hint=f"1 or more, for {format_count(_MOST, 'element')} at most",
            fault="ProcessParameterInvalid",
        )  # fmt: skip
    return array_of(items * count, labels_of(data) if count == 1 else None)


@on_values("array_create_labeled")
def array_create_labeled(data: Value, labels: Value) -> Value:
    """An array with labels.

    Raises
    ------
    GraphError
        `ArrayLengthMismatch`.
    """
    items, names = items_of(elements_of(data)), items_of(elements_of(labels, "labels"))
    if len(items) != len(names):
        raise GraphError(
            f"argument 'data' has {format_count(len(items), 'element')}, and argument 'labels' {len(names)}",
            fault="ArrayLengthMismatch",
        )
    return array_of(items, tuple(names))


@on_values("array_element")
def array_element(data: Value, index: Value = None, label: Value = None, return_nodata: bool = False) -> Value:
    """One element, by its position or its label; of bands also by their common name.

    Raises
    ------
    GraphError
        `ArrayElementNotAvailable`, `ArrayElementParameterMissing`, `ArrayElementParameterConflict`,
        `ArrayNotLabeled`.
    """
    if (index is None) == (label is None):
        fault = "ArrayElementParameterMissing" if index is None else "ArrayElementParameterConflict"
        raise GraphError("process 'array_element' takes one of the arguments 'index' and 'label'", fault=fault)
    found = elements_of(data)
    place = _labelled_place(data, label) if index is None else index_of(index, "index")
    if place is not None and 0 <= place < len(found):
        return found[place] if isinstance(found, list) else found.values[place, ...]
    if not return_nodata:
        raise _unavailable(data, index, label)
    if isinstance(found, list):
        return None
    dtype = found.values.dtype if found.values.dtype.kind == "f" else np.float32
    return np.full(found.values.shape[1:], np.nan, dtype)


@on_values("array_labels")
def array_labels(data: Value) -> Value:
    """Labels of all elements, or their positions if there are none."""
    labels = labels_of(data)
    return list(range(len(elements_of(data)))) if labels is None else list(labels)


@on_values("array_append")
def array_append(data: Value, value: Value, label: Value = None) -> Value:
    """An array with one element more.

    Raises
    ------
    GraphError
        `LabelExists`, `ArrayNotLabeled`.
    """
    items, labels = items_of(elements_of(data)), labels_of(data)
    if labels is None:
        if label is not None:
            raise _unlabelled("label")
        return array_of([*items, value])
    added = len(items) if label is None else label
    if added in labels:
        raise GraphError(f"the array has an element with label {added!r} already", fault="LabelExists")
    return array_of([*items, value], (*labels, added))


@on_values("array_concat")
def array_concat(array1: Value, array2: Value) -> Value:
    """Two arrays, one behind the other; labels stay if both have some.

    Beyond openEO's specification a number is an array of one element: graphs that people use have it so.

    Raises
    ------
    GraphError
        `ArrayLabelConflict`.
    """
    array1, array2 = ([each] if is_number(each) or is_pixels(each) else each for each in (array1, array2))
    one, other = elements_of(array1, "array1"), elements_of(array2, "array2")
    labels = _joined_labels(labels_of(array1), labels_of(array2), labels_of(array1))
    return array_of([*items_of(one), *items_of(other)], labels)


@on_values("array_modify")
def array_modify(data: Value, values: Value, index: Value, length: Value = 0) -> Value:
    """An array without some elements, and with others in their place.

    Raises
    ------
    GraphError
        `ArrayElementNotAvailable`, `ArrayLabelConflict`.
    """
    items, added = items_of(elements_of(data)), items_of(elements_of(values, "values"))
    first, count = index_of(index, "index"), index_of(length, "length")
    if not 0 <= first <= len(items):
        raise _unavailable(data, first, None)
    if count < 0:
        raise GraphError("argument 'length' is negative", fault="ProcessParameterInvalid")
    last = first + count
    labels, new = labels_of(data), labels_of(values)
    if not items:
        kept = new
    elif not added:
        kept = labels and labels[:first] + labels[last:]
    else:
        left = labels and labels[:first] + labels[last:]
        _joined_labels(left, new, labels)
        kept = labels[:first] + new + labels[last:] if labels and new else None
    return array_of([*items[:first], *added, *items[last:]], kept or None)


@on_values("array_contains")
def array_contains(data: Value, value: Value) -> Value:
    """Whether an element is equal to a value, by `eq`."""
    equal = _equal(data, value)
    if not any(map(is_pixels, equal)):
        return True in equal
    return np.any([np.equal(each, 1) for each in np.broadcast_arrays(*equal)], axis=0)


@on_values("array_find")
def array_find(data: Value, value: Value, reverse: bool = False) -> Value:
    """Position of the first or last element that is equal to a value, by `eq`; null if there is none."""
    equal = _equal(data, value)
    places = range(len(equal))[:: -1 if reverse else 1]
    if not any(map(is_pixels, equal)):
        return next((place for place in places if equal[place] is True), None)
    found = np.full(np.broadcast_shapes(*map(np.shape, equal)), np.nan, np.float32)
    for place in reversed(places):
        np.copyto(found, np.float32(place), where=np.equal(equal[place], 1))
    return found


@on_values("array_find_label")
def array_find_label(data: Value, label: Value) -> Value:
    """Position of a label; null if there is none."""
    elements_of(data)
    labels = labels_of(data)
    return None if labels is None else next((place for place, each in enumerate(labels) if _same(each, label)), None)


def _equal(data: Value, value: Value) -> list[Value]:
    items = items_of(elements_of(data))
    if isinstance(value, list | dict | Labelled):
        return [False] * len(items)
    return [False if isinstance(item, list | dict | Labelled) else eq(x=item, y=value) for item in items]


def _same(one: Label, other: Value) -> bool:
    return isinstance(one, str) == isinstance(other, str) and bool(one == other)


def _labelled_place(data: Value, label: Value) -> int | None:
    labels = labels_of(data)
    if labels is None:
        raise _unlabelled("label")
    place = next((place for place, each in enumerate(labels) if _same(each, label)), None)
    if place is None and isinstance(data, Labelled):
        named = [place for place, band in enumerate(data.bands) if band.common_name == label]
        place = named[0] if len(named) == 1 else None
    return place


def _joined_labels(
    one: tuple[Label, ...] | None, other: tuple[Label, ...] | None, before: tuple[Label, ...] | None
) -> tuple[Label, ...] | None:
    if one is None or other is None or before is None:
        return None
    both = set(one) & set(other)
    if both:
        raise GraphError(
            f"both arrays have an element with label {sorted(map(str, both))[0]!r}", fault="ArrayLabelConflict"
        )
    return one + other


def _unlabelled(name: str) -> GraphError:
    return GraphError(
        f"argument {name!r} is given, and the array has no labels", hint="use 'index'", fault="ArrayNotLabeled"
    )


def _unavailable(data: Value, index: Value, label: Value) -> GraphError:
    wanted = f"element {index}" if label is None else f"element with label {label!r}"
    labels = labels_of(data)
    listed = f"its labels are {', '.join(map(str, labels[:20]))}" if labels else None
    count = len(elements_of(data))
    return GraphError(
        f"the array has no {wanted}",
        hint=listed if label is not None and listed else f"it has {format_count(count, 'element')}, counted from 0",
        fault="ArrayElementNotAvailable",
    )
