"""Sums, moments, counts and ends of arrays: one pass over the elements, for a block of pixels at a time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hpckit.base.compiled import compiled
from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels.along import along, row

_BLOCK: Final = 1024
"""Pixels whose sums stay in the first-level cache."""
_SUM, _MEAN, _VARIANCE, _DEVIATION, _PRODUCT = range(5)


def total(stack: Values, ignore: bool) -> Values:
    """Sum of each pixel's elements that are not null, made in float64; null where there are none.

    Parameters
    ----------
    stack : ndarray of float32 or float64, shape (elements, ...)
    ignore : bool
        Whether elements that are null are left out; otherwise one of them makes the result null.

    Returns
    -------
    ndarray, shape (...)
        Of the type of `stack`.
    """
    return _only(along(_moments, stack, 1, ignore, _SUM))


def product(stack: Values, ignore: bool) -> Values:
    """Product; otherwise as `total`."""
    return _only(along(_moments, stack, 1, ignore, _PRODUCT))


def mean(stack: Values, ignore: bool) -> Values:
    """Arithmetic mean; otherwise as `total`."""
    return _only(along(_moments, stack, 1, ignore, _MEAN))


def variance(stack: Values, ignore: bool) -> Values:
    """Sample variance (divided by n - 1) about the mean, in two passes; null for one element, too."""
    return _only(along(_moments, stack, 1, ignore, _VARIANCE))


def deviation(stack: Values, ignore: bool) -> Values:
    """Sample standard deviation: the square root of `variance`."""
    return _only(along(_moments, stack, 1, ignore, _DEVIATION))


def count_valid(stack: Values) -> Values:
    """Number of finite elements."""
    return _only(along(_count, stack, 1))


def end(stack: Values, last: bool) -> Values:
    """First or last element that is not null; null where there is none."""
    return _only(along(_end, stack, 1, last))


def _only(found: Values) -> Values:
    first: Values = found[0, ...]
    return first


@compiled(nogil=True, error_model="numpy")
def _moments(first: Any, last: Any, stack: Any, found: Any, ignore: Any, which: Any) -> None:
    seen, sums = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.float64)
    squares = np.empty(_BLOCK, np.float64)
    for left in range(first, last, _BLOCK):
        size = min(_BLOCK, last - left)
        into = row(found, 0, left, size)
        if which == _PRODUCT:
            _multiply(stack, left, size, seen, sums)
        else:
            _add(stack, left, size, seen, sums)
        if which in (_MEAN, _VARIANCE, _DEVIATION):
            for p in range(size):
                sums[p] /= seen[p]
        if which in (_VARIANCE, _DEVIATION):
            _square(stack, left, size, sums, squares)
            for p in range(size):
                sums[p] = squares[p] / (seen[p] - 1)
        if which == _DEVIATION:
            for p in range(size):
                sums[p] = np.sqrt(sums[p])
        for p in range(size):
            known = seen[p] > 0 and (ignore or seen[p] == stack.elements)
            into[p] = sums[p] if known else np.nan


@compiled(nogil=True, error_model="numpy")
def _add(stack: Any, left: Any, size: Any, seen: Any, sums: Any) -> None:
    seen[:size] = 0
    sums[:size] = 0.0
    for element in range(stack.elements):
        given = row(stack, element, left, size)
        for p in range(size):
            known = given[p] == given[p]
            seen[p] += known
            sums[p] += np.float64(given[p]) if known else 0.0


@compiled(nogil=True, error_model="numpy")
def _multiply(stack: Any, left: Any, size: Any, seen: Any, sums: Any) -> None:
    seen[:size] = 0
    sums[:size] = 1.0
    for element in range(stack.elements):
        given = row(stack, element, left, size)
        for p in range(size):
            known = given[p] == given[p]
            seen[p] += known
            sums[p] *= np.float64(given[p]) if known else 1.0


@compiled(nogil=True, error_model="numpy")
def _square(stack: Any, left: Any, size: Any, means: Any, squares: Any) -> None:
    squares[:size] = 0.0
    for element in range(stack.elements):
        given = row(stack, element, left, size)
        for p in range(size):
            apart = np.float64(given[p]) - means[p]
            squares[p] += apart * apart if given[p] == given[p] else 0.0


@compiled(nogil=True, error_model="numpy")
def _count(first: Any, last: Any, stack: Any, found: Any) -> None:
    seen = np.empty(_BLOCK, np.int32)
    for left in range(first, last, _BLOCK):
        size = min(_BLOCK, last - left)
        seen[:size] = 0
        for element in range(stack.elements):
            given = row(stack, element, left, size)
            for p in range(size):
                seen[p] += given[p] - given[p] == 0  # neither NaN nor infinite
        into = row(found, 0, left, size)
        for p in range(size):
            into[p] = seen[p]


@compiled(nogil=True, error_model="numpy")
def _end(first: Any, last: Any, stack: Any, found: Any, backward: Any) -> None:
    for left in range(first, last, _BLOCK):
        size = min(_BLOCK, last - left)
        kept = row(found, 0, left, size)
        kept[:] = np.nan
        for step in range(stack.elements):
            given = row(stack, stack.elements - 1 - step if backward else step, left, size)
            lacking = 0
            for p in range(size):
                kept[p] = kept[p] if kept[p] == kept[p] else given[p]
                lacking += kept[p] != kept[p]
            if lacking == 0:
                break
