"""Order statistics of arrays: many pixels are sorted at once by a network of comparators.

A comparator of two elements is a minimum and a maximum, without a branch: one vector instruction each does it for
4 to 16 pixels. The network is Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2,
algorithm M), which sorts any number of elements; the same comparators serve all pixels. Null sorts as +infinity; how
many elements are not null says which of the sorted ones count.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled
from hpckit.processgraph.cube import Values
from hpckit.processgraph.kernels.along import along, row

_BYTES: Final = 24_576
"""Of a block of pixels that is sorted: it stays in the first-level cache."""
_LEAST_PIXELS: Final = 32
_MOST_PIXELS: Final = 1024


def quantiles(stack: Values, shares: npt.NDArray[np.float64], ignore: bool) -> Values:
    """Quantiles, interpolated linearly between order statistics (Hyndman & Fan 1996, type 7).

    Parameters
    ----------
    stack : ndarray of float32 or float64, shape (elements, ...)
    shares : ndarray of float64
        0 to 1.
    ignore : bool
        Whether elements that are null are left out; otherwise one of them makes all results null.

    Returns
    -------
    ndarray, shape (len(shares), ...)
        Of the type of `stack`; null where there are no elements.
    """
    return along(_quantiles, stack, len(shares), ignore, shares, _network(len(stack)))


def sort(stack: Values, descending: bool, nulls_first: bool) -> Values:
    """Elements of each pixel in order, and those that are null all at one end; the shape is that of `stack`."""
    return along(_sort, stack, len(stack), descending, nulls_first, _network(len(stack)))


def order(stack: Values, descending: bool, nulls_first: bool, keep_nulls: bool) -> Values:
    """Positions, from 0, that elements of each pixel have in order; equal ones stay in their order.

    Parameters
    ----------
    nulls_first : bool
        Where positions of elements that are null stand.
    keep_nulls : bool
        Otherwise the positions of those are left out, and null follows the others.
    """
    return along(_order, stack, len(stack), descending, nulls_first, keep_nulls, _network(len(stack)))


@lru_cache(maxsize=64)
def _network(elements: int) -> npt.NDArray[np.int64]:
    """Comparators, shape (comparators, 2): the smaller one of two elements goes to the first place."""
    pairs: list[tuple[int, int]] = []
    top = 1 << max(0, (elements - 1).bit_length() - 1)
    step = top if elements > 1 else 0
    while step:
        ahead, residue, distance = top, 0, step
        while True:
            pairs += [(low, low + distance) for low in range(elements - distance) if low & step == residue]
            if ahead == step:
                break
            distance, ahead, residue = ahead - step, ahead // 2, step
        step //= 2
    return np.array(pairs, np.int64).reshape(-1, 2)


@compiled(nogil=True)
def _width(elements: Any, nbytes: Any) -> Any:
    """Pixels that are sorted at once; a multiple of those of a vector."""
    return min(_MOST_PIXELS, max(_LEAST_PIXELS, _BYTES // (max(1, elements) * nbytes) // 16 * 16))


@compiled(nogil=True, error_model="numpy")
def _load(stack: Any, left: Any, size: Any, rows: Any, seen: Any, negated: Any) -> None:
    """Copy a block of pixels, with infinity for null, and count what is not null."""
    top = rows.dtype.type(np.inf)
    seen[:] = 0
    for element in range(stack.elements):
        given, into = row(stack, element, left, size), rows[element]
        for p in range(size):
            known = given[p] == given[p]
            seen[p] += known
            into[p] = (-given[p] if negated else given[p]) if known else top


@compiled(nogil=True, error_model="numpy")
def _exchange(rows: Any, pairs: Any) -> None:
    width = rows.shape[1]
    for number in range(len(pairs)):
        low, high = rows[pairs[number, 0]], rows[pairs[number, 1]]
        for p in range(width):
            a, b = low[p], high[p]
            low[p] = a if a < b else b
            high[p] = b if a < b else a


@compiled(nogil=True, error_model="numpy")
def _exchange_both(rows: Any, places: Any, pairs: Any) -> None:
    """Sort by value, then by place; places move along."""
    width = rows.shape[1]
    for number in range(len(pairs)):
        low, high = rows[pairs[number, 0]], rows[pairs[number, 1]]
        low_place, high_place = places[pairs[number, 0]], places[pairs[number, 1]]
        for p in range(width):
            a, b, i, j = low[p], high[p], low_place[p], high_place[p]
            swap = (b < a) | ((a == b) & (j < i))
            low[p] = b if swap else a
            high[p] = a if swap else b
            low_place[p] = j if swap else i
            high_place[p] = i if swap else j


@compiled(nogil=True, error_model="numpy")
def _quantiles(first: Any, last: Any, stack: Any, found: Any, ignore: Any, shares: Any, pairs: Any) -> None:
    elements = stack.elements
    width = _width(elements, stack.memory.itemsize)
    rows, seen = np.zeros((elements, width), stack.memory.dtype), np.empty(width, np.int32)
    for left in range(first, last, width):
        size = min(width, last - left)
        _load(stack, left, size, rows, seen, False)
        _exchange(rows, pairs)
        for number in range(len(shares)):
            into = row(found, number, left, size)
            for p in range(size):
                known = np.int64(seen[p])
                if known == 0 or (known < elements and not ignore):
                    into[p] = np.nan
                    continue
                place = shares[number] * (known - 1)
                below = np.int64(place)
                share = place - below
                low = rows[below, p]
                high = rows[min(below + 1, known - 1), p]
                if share == 0.0 or low == high:
                    into[p] = low
                else:
                    into[p] = np.float64(low) * (1.0 - share) + np.float64(high) * share


@compiled(nogil=True, error_model="numpy")
def _sort(first: Any, last: Any, stack: Any, found: Any, descending: Any, nulls_first: Any, pairs: Any) -> None:
    elements = stack.elements
    width = _width(elements, stack.memory.itemsize)
    rows, seen = np.zeros((elements, width), stack.memory.dtype), np.empty(width, np.int32)
    nothing = stack.memory.dtype.type(np.nan)
    for left in range(first, last, width):
        size = min(width, last - left)
        _load(stack, left, size, rows, seen, descending)
        _exchange(rows, pairs)
        for element in range(elements):
            into, ordered = row(found, element, left, size), rows[element]
            if nulls_first:
                for p in range(size):
                    place = element - (elements - seen[p])
                    value = rows[max(place, 0), p]
                    into[p] = nothing if place < 0 else -value if descending else value
            else:
                for p in range(size):
                    value = -ordered[p] if descending else ordered[p]
                    into[p] = value if element < seen[p] else nothing


@compiled(nogil=True, error_model="numpy")
def _order(
    first: Any, last: Any, stack: Any, found: Any, descending: Any, nulls_first: Any, keep_nulls: Any, pairs: Any
) -> None:
    elements = stack.elements
    width = _width(elements, stack.memory.itemsize)
    rows, seen = np.zeros((elements, width), stack.memory.dtype), np.empty(width, np.int32)
    places = np.empty((elements, width), np.int32)
    for left in range(first, last, width):
        size = min(width, last - left)
        _load(stack, left, size, rows, seen, descending)
        for element in range(elements):
            given = row(stack, element, left, size)
            for p in range(size):
                # Null behind all others, also behind infinity.
                places[element, p] = element if given[p] == given[p] else element + elements
        _exchange_both(rows, places, pairs)
        for element in range(elements):
            into = row(found, element, left, size)
            for p in range(size):
                place = element
                if nulls_first and keep_nulls:
                    nulls = elements - seen[p]
                    place = element + seen[p] if element < nulls else element - nulls
                if place < seen[p]:
                    into[p] = places[place, p]
                elif keep_nulls:
                    into[p] = places[place, p] - elements
                else:
                    into[p] = np.nan
