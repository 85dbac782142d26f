"""Arrays of which each element is made from those before it: cumulated, or filled by interpolation."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled
from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels.along import along, row

_BLOCK: Final = 1024
_FEW: Final = 256
"""Pixels whose arrays are interpolated at once."""
_OPERATIONS: Final = ("sum", "product", "min", "max")
_SUM, _PRODUCT, _MIN, _MAX = range(4)


def cumulate(stack: Values, operation: Literal["sum", "product", "min", "max"], ignore: bool) -> Values:
    """Sums, products or extremes of each element and all before it, made in float64; null stays null.

    Parameters
    ----------
    stack : ndarray of float32 or float64, shape (elements, ...)
    operation : str
    ignore : bool
        Otherwise all elements after one that is null are null.
    """
    return along(_cumulate, stack, len(stack), _OPERATIONS.index(operation), ignore)


def interpolate(stack: Values, places: npt.NDArray[np.float64]) -> Values:
    """Fill what is null between two elements that are not, linearly; what leads or trails stays null.

    Parameters
    ----------
    stack : ndarray of float32 or float64, shape (elements, ...)
    places : ndarray of float64, shape (elements,)
        Where elements lie; ascending or descending.
    """
    return along(_interpolate, stack, len(stack), places)


@compiled(nogil=True, error_model="numpy")
def _cumulate(first: Any, last: Any, stack: Any, found: Any, operation: Any, ignore: Any) -> None:
    so_far, ended = np.empty(_BLOCK, np.float64), np.empty(_BLOCK, np.bool_)
    start = (0.0, 1.0, np.inf, -np.inf)[operation]
    for left in range(first, last, _BLOCK):
        size = min(_BLOCK, last - left)
        so_far[:size] = start
        ended[:size] = False
        for element in range(stack.elements):
            given, into = row(stack, element, left, size), row(found, element, left, size)
            for p in range(size):
                value = np.float64(given[p])
                known = value == value
                if operation == _SUM:
                    joined = so_far[p] + value
                elif operation == _PRODUCT:
                    joined = so_far[p] * value
                elif operation == _MIN:
                    joined = value if value < so_far[p] else so_far[p]
                else:
                    joined = value if value > so_far[p] else so_far[p]
                so_far[p] = joined if known else so_far[p]
                ended[p] |= not known and not ignore
                into[p] = so_far[p] if known and not ended[p] else np.nan


@compiled(nogil=True, error_model="numpy")
def _interpolate(first: Any, last: Any, stack: Any, found: Any, places: Any) -> None:
    # What follows each element, and where, is found from the end; what precedes it is known on the way forth.
    values = np.empty((stack.elements, _FEW), np.float64)
    ends = np.empty((stack.elements, _FEW), np.float64)
    before, begin = np.empty(_FEW, np.float64), np.empty(_FEW, np.float64)
    for left in range(first, last, _FEW):
        size = min(_FEW, last - left)
        _look_ahead(stack, left, size, places, values, ends)
        before[:] = np.nan
        begin[:] = np.nan
        for element in range(stack.elements):
            given, into = row(stack, element, left, size), row(found, element, left, size)
            filled, share, place = values[element], ends[element], places[element]
            # Short loops over few arrays: LLVM makes vectors of no others.
            for p in range(size):
                share[p] = (place - begin[p]) / (share[p] - begin[p])
            for p in range(size):
                between = before[p] * (1.0 - share[p]) + filled[p] * share[p]
                filled[p] = filled[p] if before[p] == filled[p] else between
            for p in range(size):
                into[p] = given[p] if given[p] == given[p] else filled[p]
            for p in range(size):
                now, earlier = given[p], before[p]
                before[p] = now if now == now else earlier
            for p in range(size):
                now, earlier = given[p], begin[p]
                begin[p] = place if now == now else earlier


@compiled(nogil=True, error_model="numpy")
def _look_ahead(stack: Any, left: Any, size: Any, places: Any, values: Any, ends: Any) -> None:
    """For each element the next one that is not null: its value and its place, or NaN."""
    for step in range(stack.elements):
        element = stack.elements - 1 - step
        given, value, end = row(stack, element, left, size), values[element], ends[element]
        place = places[element]
        if step == 0:
            value[:] = np.nan
            end[:] = np.nan
        # The row behind; of the last one itself. Both values are read before the choice, which is no branch then:
        # five times as fast.
        later_value, later_end = values[element + (step > 0)], ends[element + (step > 0)]
        for p in range(size):
            now, later = given[p], later_value[p]
            value[p] = now if now == now else later
        for p in range(size):
            now, later = given[p], later_end[p]
            end[p] = place if now == now else later
