"""Kernels that reduce the pixels of many geometries at once; the results of openEO's reducers, to the rounding."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread
from hpckit.base.sorting import sort

STATISTICS: Final = ("count", "sum", "mean", "variance", "min", "max", "product", "first", "last")
"""What is always computed, in this order; quantiles follow."""
_MOST: Final = 256
"""Geometries of one layer that a thread takes at once."""
_BINS: Final = 1024
"""At most, into which the values of a geometry are counted to select some: about one for each value."""
_FEW: Final = 24
"""Values that are sorted faster."""
_SELECTED: Final = 8
"""Quantiles that are selected; for more of them sorting is faster."""


def reduce_zones(
    values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], fractions: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Statistics of the valid values of each geometry.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (layers, entries)
        Values of the pixels of geometries, one after the other; NaN is no value.
    offsets : ndarray of int64, shape (geometries + 1,)
        Geometry g has the entries `offsets[g]` to `offsets[g + 1]`.
    fractions : ndarray of float64
        Of quantiles, 0 to 1: interpolated linearly between order statistics (Hyndman & Fan 1996, type 7).

    Returns
    -------
    ndarray of float64, shape (geometries, layers, len(STATISTICS) + len(fractions))
        NaN where there is no valid value, but for `count`; `variance` is that of a sample (n - 1).
    """
    zones, layers = len(offsets) - 1, len(values)
    found = np.full((zones, layers, len(STATISTICS) + len(fractions)), np.nan)
    found[:, :, 0] = 0
    chunks = -(-zones // _MOST)
    if zones and values.size:
        spread(_reduce, layers * chunks, chunks, np.ascontiguousarray(values), offsets, fractions, found)
    return found


@compiled(nogil=True)
def _reduce(start, stop, chunks, values, offsets, fractions, found):  # type: ignore[no-untyped-def]
    for part in range(start, stop):
        layer, chunk = part // chunks, part % chunks
        first, last = chunk * _MOST, min((chunk + 1) * _MOST, len(offsets) - 1)
        room = np.int64(1)
        for zone in range(first, last):
            room = max(room, offsets[zone + 1] - offsets[zone])
        kept, picked = np.empty(room, values.dtype), np.empty(room, values.dtype)
        numbers, counts = np.empty(room, np.int64), np.empty(_BINS, np.int64)
        for zone in range(first, last):
            n = np.int64(0)
            for place in range(offsets[zone], offsets[zone + 1]):
                value = values[layer, place]
                kept[n] = value
                n += value == value
            found[zone, layer, 0] = n
            if n > 0:
                _moments(kept[:n], found[zone, layer])
                _quantiles(kept[:n], fractions, picked, numbers, counts, found[zone, layer])


@compiled(nogil=True)
def _moments(kept, found):  # type: ignore[no-untyped-def]
    """Sum to last of `STATISTICS`; the variance from deviations of the mean (two passes)."""
    total, product, squares = 0.0, 1.0, 0.0
    low = high = kept[0]
    for value in kept:
        total += value
        product *= value
        low, high = min(low, value), max(high, value)
    mean = total / len(kept)
    for value in kept:
        squares += (value - mean) * (value - mean)
    found[1], found[2] = total, mean
    if len(kept) > 1:
        found[3] = squares / (len(kept) - 1)
    found[4], found[5], found[6] = low, high, product
    found[7], found[8] = kept[0], kept[len(kept) - 1]


@compiled(nogil=True)
def _quantiles(kept, fractions, picked, numbers, counts, found):  # type: ignore[no-untyped-def]
    """Quantiles; few of many values are selected, else the values are sorted in place."""
    if len(fractions) == 0:
        return
    low = np.float64(found[4])
    bins = np.int64(min(_BINS, len(kept)))
    span = found[5] - low
    scale = (bins - 1) / span if span > 0 else 0.0
    # Infinite values, and spans next to nothing, have no bins.
    selects = len(kept) > _FEW and len(fractions) <= _SELECTED and 0 < scale < np.inf
    if selects:
        counts[:bins] = 0
        for place in range(len(kept)):
            number = np.int64((np.float64(kept[place]) - low) * scale)
            numbers[place] = number
            counts[number] += 1
    else:
        sort(kept)
    for wanted in range(len(fractions)):
        rank = fractions[wanted] * (len(kept) - 1)
        lower = np.int64(rank)
        part = rank - lower
        if selects:
            one, other = _pair(kept, lower, picked, numbers, counts)
        else:
            one, other = np.float64(kept[lower]), np.float64(kept[min(lower + 1, len(kept) - 1)])
        found[len(STATISTICS) + wanted] = one if part == 0 else one + part * (other - one)


@compiled(nogil=True)
def _pair(kept, rank, picked, numbers, counts):  # type: ignore[no-untyped-def]
    """The value of a rank, and the next one: only the bin that holds it is sorted."""
    number, below = np.int64(0), np.int64(0)
    while below + counts[number] <= rank:
        below += counts[number]
        number += 1
    size, above = np.int64(0), np.inf
    for place in range(len(kept)):
        value = kept[place]
        picked[size] = value
        size += numbers[place] == number
        if numbers[place] > number:
            above = min(above, np.float64(value))
    sort(picked[:size])
    one = np.float64(picked[rank - below])
    return one, np.float64(picked[rank - below + 1]) if rank - below + 1 < size else above
