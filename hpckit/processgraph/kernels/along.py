"""Kernels, called for all pixels of an array of any shape and any order in memory."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from hpckit.base.compiled import Kernel, spread
from hpckit.processgraph.cube import Values
from hpckit.processgraph.parts import CACHED_BYTES, Part, for_each, parts

_LEAST: Final = 1 << 15
"""Pixels below which a thread of its own is not worth while."""


def along(kernel: Kernel, stack: Values, rows: int, *options: Any) -> Values:
    """Call a kernel for all pixels.

    Parameters
    ----------
    kernel : Kernel
        Called as `kernel(first, last, stack, found, *options)` with `stack` and `found` of two axes: elements, and
        pixels, of which it does those from `first` to `last`.
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
    if stack.flags.c_contiguous:
        flat = stack.reshape(len(stack), count)
        spread(kernel, count, flat, found.reshape(rows, count), *options, least=_LEAST)
        return found

    def one(part: Part) -> None:
        cut = np.ascontiguousarray(stack[(slice(None), *part)])
        size = math.prod(cut.shape[1:])
        into = np.empty((rows, *cut.shape[1:]), cut.dtype)
        kernel(0, size, cut.reshape(len(cut), size), into.reshape(rows, size), *options)
        found[(slice(None), *part)] = into

    for_each(one, parts(pixels, max(1, CACHED_BYTES // (stack.itemsize * max(1, len(stack))))))
    return found
