"""Sorting and searching within kernels: numba's own takes a second to compile for each type."""

from __future__ import annotations

from typing import Final

import numpy as np

from hpckit.base.compiled import compiled

_FEW: Final = 24
"""Values that are sorted faster by insertion."""


@compiled(nogil=True)
def sort(values):  # type: ignore[no-untyped-def]
    """Sort an array without NaN, in place: quicksort (Hoare 1962, doi:10.1093/comjnl/5.1.10), median of three."""
    if len(values) <= _FEW:
        _insert(values, np.int64(0), np.int64(len(values) - 1))
        return
    left = np.empty(64, np.int64)  # the larger part waits, so that 64 are enough
    right = np.empty(64, np.int64)
    waiting = 0
    first, last = np.int64(0), np.int64(len(values) - 1)
    while True:
        while last - first >= _FEW:
            a, b, c = values[first], values[(first + last) // 2], values[last]
            pivot = max(min(a, b), min(max(a, b), c))
            i, j = first, last
            while i <= j:
                while values[i] < pivot:
                    i += 1
                while values[j] > pivot:
                    j -= 1
                if i <= j:
                    values[i], values[j] = values[j], values[i]
                    i += 1
                    j -= 1
            if j - first < last - i:
                left[waiting], right[waiting] = i, last
                last = j
            else:
                left[waiting], right[waiting] = first, j
                first = i
            waiting += 1
        _insert(values, first, last)
        if waiting == 0:
            return
        waiting -= 1
        first, last = left[waiting], right[waiting]


@compiled(nogil=True)
def _insert(values, first, last):  # type: ignore[no-untyped-def]
    for place in range(first + 1, last + 1):
        value = values[place]
        before = place - 1
        while before >= first and values[before] > value:
            values[before + 1] = values[before]
            before -= 1
        values[before + 1] = value


@compiled(nogil=True)
def count_up_to(ascending, value):  # type: ignore[no-untyped-def]
    """Number of values that are not above one."""
    low, high = np.int64(0), np.int64(len(ascending))
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low
