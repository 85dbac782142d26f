"""Arrays in order: of numbers, or of dates by the instants that they name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hpckit.base.quantities import format_count
from hpckit.errors import GraphError
from hpckit.processgraph.kernels import ranks
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.values.dates import instant_of
from hpckit.processgraph.values.elements import array_of, elements_of, float_list, index_of, items_of, labels_of
from hpckit.processgraph.values.operands import floats, is_number, is_pixels, not_a


@on_values("order")
def order(data: Value, asc: bool = True, nodata: bool | None = None) -> Value:
    """Positions that elements have in order; equal ones stay in their order.

    Of pixels positions of null that are to be left out are null themselves, at the end, since arrays of all pixels
    have one length.
    """
    found = elements_of(data)
    if isinstance(found, list):
        return _order(found, asc, nodata)
    stack = floats(found.values)
    made = ranks.order(stack, not asc, nodata is False, nodata is not None)
    return _cut(Labelled(made), nodata)


@on_values("sort")
def sort(data: Value, asc: bool = True, nodata: bool | None = None) -> Value:
    """Elements in order; of pixels null that is to be left out stands at the end: see `order`."""
    found = elements_of(data)
    if isinstance(found, list):
        return [found[place] for place in _order(found, asc, nodata)]
    return _cut(Labelled(ranks.sort(floats(found.values), not asc, nodata is False)), nodata)


@on_values("rearrange")
def rearrange(data: Value, order: Value) -> Value:
    """Elements at some positions, in the order of these."""
    places = elements_of(order, "order")
    if isinstance(places, Labelled):
        return _rearrange_pixels(data, places)
    items, labels = items_of(elements_of(data)), labels_of(data)
    chosen = [index_of(place, "order") for place in places]
    for place in chosen:
        if not 0 <= place < len(items):
            raise _beyond(place, len(items))
    kept = labels and tuple(labels[place] for place in chosen)
    return array_of([items[place] for place in chosen], kept if kept and len(set(kept)) == len(kept) else None)


def _rearrange_pixels(data: Value, places: Labelled) -> Value:
    found = elements_of(data)
    stack = floats(float_list(found) if isinstance(found, list) else found.values)
    wanted = floats(places.values)
    known = ~np.isnan(wanted)
    if np.any(known & ((wanted < 0) | (wanted >= len(stack)))):
        raise _beyond(int(np.nanmax(wanted)), len(stack))
    shape = np.broadcast_shapes(stack.shape[1:], wanted.shape[1:])
    stack = np.broadcast_to(
        stack.reshape(len(stack), *[1] * (len(shape) - stack.ndim + 1), *stack.shape[1:]), (len(stack), *shape)
    )
    taken = np.take_along_axis(stack, np.where(known, wanted, 0).astype(np.intp), axis=0)
    return Labelled(np.where(known, taken, stack.dtype.type(np.nan)))


def _cut(found: Labelled, nodata: bool | None) -> Labelled:
    """Leave out null, where there are no pixels that would differ in their number."""
    if found.values.ndim > 1 or nodata is not None:
        return found
    return replace(found, values=found.values[~np.isnan(found.values)])


def _order(items: list[Value], ascending: bool, nodata: bool | None) -> list[int]:
    known = [place for place, item in enumerate(items) if item is not None]
    missing = [place for place, item in enumerate(items) if item is None]
    keys = _keys(items)
    numbers = [place for place in known if keys[place] == keys[place]]
    undefined = [place for place in known if keys[place] != keys[place]]
    ordered = (
        sorted(numbers, key=lambda place: keys[place], reverse=False) if ascending else _descending(numbers, keys)
    )
    ordered += undefined
    return ordered if nodata is None else ordered + missing if nodata else missing + ordered


def _descending(places: list[int], keys: list[float]) -> list[int]:
    return sorted(places, key=lambda place: -keys[place])


def _keys(items: list[Value]) -> list[float]:
    """Numbers by which elements are ordered."""
    keys: list[float] = []
    texts = [isinstance(item, str) for item in items if item is not None]
    if any(texts) and not all(texts):
        raise GraphError("an array of both numbers and dates has no order", fault="ProcessParameterInvalid")
    for item in items:
        if item is None:
            keys.append(math.nan)
        elif isinstance(item, str):
            keys.append(instant_of(item, "data").timestamp())
        elif is_number(item) or (is_pixels(item) and not np.ndim(item)):
            keys.append(item)
        else:
            raise not_a("data", "array of numbers or dates", item)
    return keys


def _beyond(place: int, length: int) -> GraphError:
    return GraphError(
        f"argument 'order' has position {place}, and the array has {format_count(length, 'element')}",
        hint="positions start at 0",
        fault="ProcessParameterInvalid",
    )
