"""Arrays to whose elements a child process is applied, one element of all pixels at a time."""

from __future__ import annotations

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.process import Callback, Value, on_values
from hpckit.processgraph.values.elements import array_of, elements_of, items_of, labels_of
from hpckit.processgraph.values.operands import floats, is_pixels


@on_values("array_apply")
def array_apply(data: Value, process: Callback, context: Value = None) -> Value:
    """Each element as a process makes it."""
    return array_of(_called(data, process, context), labels_of(data))


@on_values("array_filter")
def array_filter(data: Value, condition: Callback, context: Value = None) -> Value:
    """Elements for which a condition is true.

    Arrays of all pixels have one length: where the condition depends on the pixels, elements for which it is not
    true stay as null, which statistics leave out.
    """
    items, labels = items_of(elements_of(data)), labels_of(data)
    met = _called(data, condition, context)
    if any(map(is_pixels, met)) and any(np.ndim(each) for each in [*met, *items]):
        return array_of([_blanked(item, each) for item, each in zip(items, met, strict=True)], labels)
    kept = [place for place, each in enumerate(met) if _is_true(each)]
    return array_of([items[place] for place in kept], labels and tuple(labels[place] for place in kept))


def _called(data: Value, process: Callback, context: Value) -> list[Value]:
    labels = labels_of(data)
    return [
        process(x=item, index=place, label=None if labels is None else labels[place], context=context)
        for place, item in enumerate(items_of(elements_of(data)))
    ]


def _is_true(value: Value) -> bool:
    return value is True or (is_pixels(value) and bool(value == 1))


def _blanked(item: Value, met: Value) -> Value:
    if item is None or isinstance(item, str | list | dict):
        raise GraphError("a condition on pixels filters numbers only", fault="ProcessParameterInvalid")
    values = floats(np.asarray(item, None if is_pixels(item) else np.float32))
    return np.where(np.equal(met, 1) if is_pixels(met) else met is True, values, values.dtype.type(np.nan))
