"""Callbacks on many pixels, evaluated for strips of them: what nodes hand on stays in the processor's cache.

Evaluated for all pixels at once, each node of a callback would write its result to memory and read it back. Processes
of values know no neighbours, so that any pixels can be computed alone, and by several threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from hpckit.processgraph.cube import Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.parts import Part, for_each, parts
from hpckit.processgraph.process import Callback, Value

STRIP: Final = 1 << 15
"""Pixels of a strip: 128 KiB of float32 for each result of a node."""


def in_strips(callback: Callback, pixels: Mapping[str, Values | Labelled], **constants: Value) -> Value:
    """Call a callback for all pixels.

    Parameters
    ----------
    callback : Callback
        Called once for all pixels if one of its processes is none of values, or if pixels are few.
    pixels : mapping of str to ndarray or Labelled
        Its arguments of pixels, all of one shape but for the first axis of `Labelled`.
    constants
        Its other arguments.

    Returns
    -------
    Value
        What `callback(**pixels, **constants)` returns.
    """
    shapes = {_bare(each).shape[isinstance(each, Labelled) :] for each in pixels.values()}
    if len(shapes) != 1 or not callback.pixelwise:
        return callback(**pixels, **constants)
    (shape,) = shapes
    if math.prod(shape) < 2 * STRIP:
        return callback(**pixels, **constants)

    def of(part: Part) -> Value:
        return callback(**{name: _cut(each, part) for name, each in pixels.items()}, **constants)

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


def _bare(value: Values | Labelled) -> Values:
    return value.values if isinstance(value, Labelled) else value


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
