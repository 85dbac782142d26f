"""Callbacks on many pixels, evaluated for strips of them: what nodes hand on stays in the processor's cache.

Evaluated for all pixels at once, each node of a callback would write its result to memory and read it back. Processes
of values know no neighbours, so that any pixels can be computed alone, and by several threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from hpckit.processgraph.cube import Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.parts import Part, for_each, parts
from hpckit.processgraph.process import Value

STRIP: Final = 1 << 16
"""Pixels of a strip: 256 KiB of float32 for each result of a node."""


def in_strips(callback: Callable[..., Value], arguments: Mapping[str, Value]) -> Value:
    """Call a function of pixels, each of which it knows alone, for strips of them.

    Parameters
    ----------
    callback : callable
    arguments : mapping of str to Value
        Those that are arrays of pixels (ndarray or `Labelled`) have one shape, but for the first axis of `Labelled`;
        if not, or if pixels are few, the function is called once.

    Returns
    -------
    Value
        What `callback(**arguments)` returns.
    """
    pixels = {name: value for name, value in arguments.items() if _has_pixels(value)}
    shapes = {_shape(each) for each in pixels.values()}
    shape = shapes.pop() if len(shapes) == 1 else ()
    if math.prod(shape) < 2 * STRIP:
        return callback(**arguments)

    def of(part: Part) -> Value:
        return callback(**{**arguments, **{name: _cut(each, part) for name, each in pixels.items()}})

    left = parts(shape, STRIP)
    first = next(left)
    found = of(first)
    whole = _room(found, np.broadcast_to(0, shape)[first].shape, shape)
    if whole is None:
        return found

    def work(part: Part) -> None:
        _put(whole, part, of(part))

    _put(whole, first, found)
    for_each(work, left)
    return whole


def _has_pixels(value: Value) -> bool:
    return isinstance(value, np.ndarray) or (isinstance(value, Labelled) and value.values.ndim > 1)


def _shape(value: Values | Labelled) -> tuple[int, ...]:
    return value.values.shape[1:] if isinstance(value, Labelled) else value.shape


def _cut(value: Values | Labelled, part: Part) -> Values | Labelled:
    if isinstance(value, Labelled):
        return replace(value, values=value.values[(slice(None), *part)])
    return value[part]


def _room(found: Value, strip: tuple[int, ...], shape: tuple[int, ...]) -> Values | Labelled | None:
    """Room for the results of all strips; None if the result is the same for all pixels."""
    if isinstance(found, Labelled) and found.values.shape[1:] == strip:
        return replace(found, values=np.empty((len(found), *shape), found.values.dtype))
    if isinstance(found, np.ndarray) and found.shape == strip:
        return np.empty(shape, found.dtype)
    return None


def _put(whole: Values | Labelled, part: Part, found: Value) -> None:
    if isinstance(whole, Labelled):
        whole.values[(slice(None), *part)] = found.values
    else:
        whole[part] = found
