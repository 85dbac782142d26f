"""Kernels, called for all pixels of an array of any shape and any order in memory."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from hpckit.base.compiled import Kernel, compiled, spread
from hpckit.processgraph.cube import Values
from hpckit.processgraph.parts import CACHED_BYTES, Part, for_each, parts

_LEAST: Final = 1 << 15
"""Pixels below which a thread of its own is not worth while."""


class Planes(NamedTuple):
    """An array of which each element has its pixels in one piece of memory."""

    memory: Values
    """One axis."""
    elements: int
    step: int
    """Numbers from one element to the next, of the same pixel."""


@compiled(nogil=True)
def row(planes: Any, element: Any, left: Any, size: Any) -> Any:
    """An element of some pixels."""
    start = element * planes.step + left
    return planes.memory[start : start + size]


def along(kernel: Kernel, stack: Values, rows: int, *options: Any) -> Values:
    """Call a kernel for all pixels.

    Parameters
    ----------
    kernel : Kernel
        Called as `kernel(first, last, stack, found, *options)` for the pixels from `first` to `last`, with `Planes`
        of the stack and of the result.
    stack : ndarray of float32 or float64, shape (elements, ...)
        An array for each pixel.
    rows : int
        Elements of the result.

    Returns
    -------
    ndarray, shape (rows, ...)
        Of the type of `stack`.
    """
    pixels = stack.shape[1:]
    count = math.prod(pixels)
    found = np.empty((rows, *pixels), stack.dtype)
    if count == 0 or rows == 0:
        return found
    if _lies_flat(stack):
        spread(kernel, count, _planes(stack), _planes(found), *options, least=_LEAST)
        return found

    def one(part: Part) -> None:
        cut, into = stack[(slice(None), *part)], found[(slice(None), *part)]
        cut = cut if _lies_flat(cut) else np.ascontiguousarray(cut)
        kernel(0, math.prod(cut.shape[1:]), _planes(cut), _planes(into), *options)

    for_each(one, parts(pixels, max(1, CACHED_BYTES // (stack.itemsize * max(1, len(stack))))))
    return found


def _lies_flat(stack: Values) -> bool:
    """Whether each element has its pixels in one piece of memory."""
    step = stack.strides[0]
    return not len(stack) or (stack[0].flags.c_contiguous and step >= 0 and step % stack.itemsize == 0)


def writable(values: Values) -> Values:
    """The same memory as an array that could be written: for others numba compiles code of its own."""
    return values if values.flags.writeable else np.asarray(_Shared(values))


class _Shared:
    """Keeps an array for as long as another one uses its memory."""

    def __init__(self, values: Values) -> None:
        known = values.__array_interface__
        self.values = values
        self.__array_interface__ = {**known, "data": (known["data"][0], False)}


def _planes(stack: Values) -> Planes:
    stack = writable(stack)
    count = math.prod(stack.shape[1:])
    if stack.flags.c_contiguous:
        return Planes(stack.reshape(-1), len(stack), count)
    step = stack.strides[0] // stack.itemsize
    length = (len(stack) - 1) * step + count
    return Planes(np.lib.stride_tricks.as_strided(stack, (length,), (stack.itemsize,)), len(stack), step)
