"""Statistics of zones on the CPU: parallel over zones, selection, not sorting; integers stay integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import PARTS_PER_THREAD, compiled, spread, thread_count
from hpckit.base.sorting import count_up_to, sort
from hpckit.reduce.kernels.result import Statistics

_BINS = 1024


def signatures(
    raster: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.uint32] | None,
    weights: npt.NDArray[np.float32] | None,
    excluded: npt.NDArray[np.bool_] | None,
    nodata: int | None,
    percentiles: npt.NDArray[np.float64],
) -> Statistics:
    """Count, mean, standard deviation, minimum, maximum and percentiles of each zone.

    Parameters
    ----------
    raster : ndarray of uint8, uint16 or float32
        Flat raster; or, without `pixels`, the values of the zones' pixels one after the other.
    offsets : ndarray of int64, shape (zones + 1,)
        Zone z has the entries `offsets[z]` to `offsets[z + 1]`.
    pixels : ndarray of uint32, shape (entries,), optional
        Position in `raster` of each entry.
    weights : ndarray of float32, shape (entries,), optional
        Covered fraction of each pixel; without it every pixel counts as one.
    excluded : ndarray of bool, shape (entries,), optional
        Entries to leave out.
    nodata : int, optional
        Value to leave out; NaN is always left out.
    percentiles : ndarray of float64
        Ascending, 0 to 100.

    Returns
    -------
    Statistics
        NaN where a zone has no valid pixel. The standard deviation is that of the population. Percentiles
        are interpolated linearly between order statistics (Hyndman & Fan 1996, type 7); with `weights`
        as exactextract does it, between distinct values.
    """
    bounds = _chunks(offsets)
    count = len(offsets) - 1
    valid, total = np.zeros(count), np.zeros(count)
    values = np.full((count, 4 + len(percentiles)), np.nan)
    arguments = (
        raster,
        offsets,
        np.empty(0, np.uint32) if pixels is None else pixels,
        np.empty(0, np.bool_) if excluded is None else excluded,
        nodata is not None,
        raster.dtype.type(0 if nodata is None or nodata < 0 else nodata),
        percentiles / 100.0,
        bounds,
        valid,
        total,
        values,
    )
    if nodata is not None and nodata < 0:  # no unsigned value is
        arguments = (*arguments[:4], False, *arguments[5:])
    if weights is None:
        spread(_plain, len(bounds) - 1, *arguments)
    else:
        spread(_weighted, len(bounds) - 1, weights, raster.dtype.kind == "u", *arguments)
    return Statistics(valid, total, values)


def histogram(
    raster: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.uint32] | None,
    weights: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float64]:
    """Count, or covered area, of each class in each zone; parameters as in `signatures`.

    Returns
    -------
    ndarray of float64, shape (zones, 256)
    """
    counts = np.zeros((len(offsets) - 1, 256))
    bounds = _chunks(offsets)
    spread(
        _count_classes,
        len(bounds) - 1,
        raster,
        offsets,
        np.empty(0, np.uint32) if pixels is None else pixels,
        np.empty(0, np.float32) if weights is None else weights,
        bounds,
        counts,
    )
    return counts


def _chunks(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Ranges of zones with about equal numbers of pixels, more of them than threads."""
    wanted = thread_count() * PARTS_PER_THREAD
    # One is added per zone, so that empty zones are shared out too.
    work = offsets + np.arange(len(offsets))
    inner = np.searchsorted(work, np.linspace(0, work[-1], wanted + 1)[1:-1])
    return np.unique(np.concatenate([[0], inner, [len(offsets) - 1]])).astype(np.int64)


@compiled()
def _entry(raster, pixels, position):  # type: ignore[no-untyped-def]
    return raster[pixels[position]] if len(pixels) > 0 else raster[position]


@compiled()
def _largest(offsets, first, last):  # type: ignore[no-untyped-def]
    size = np.int64(1)
    for zone in range(first, last):
        size = max(size, offsets[zone + 1] - offsets[zone])
    return size


@compiled()
def _bin_scale(low, high):  # type: ignore[no-untyped-def]
    """Factor that maps low..high to bins 0.._BINS - 1, in order."""
    span = np.float64(high) - np.float64(low)
    return (_BINS - 1) / span if span > 0 else 0.0


@compiled(nogil=True)
def _plain(  # type: ignore[no-untyped-def]
    start, stop, raster, offsets, pixels, excluded, has_nodata, nodata, fractions, bounds, valid, total, values
):
    for chunk in range(start, stop):
        first, last = bounds[chunk], bounds[chunk + 1]
        size = _largest(offsets, first, last)
        kept = np.empty(size, raster.dtype)
        picked = np.empty(size, raster.dtype)
        counts = np.empty(_BINS + 1, np.int64)
        slot = np.empty(_BINS, np.int64)
        for zone in range(first, last):
            begin, end = offsets[zone], offsets[zone + 1]
            total[zone] = end - begin
            n = np.int64(0)  # a literal would be a type of its own, compiled for once more
            for position in range(begin, end):
                value = _entry(raster, pixels, position)
                kept[n] = value
                usable = not (has_nodata and value == nodata) and value == value
                if len(excluded) > 0 and excluded[position]:
                    usable = False
                n += usable
            valid[zone] = n
            if n == 0:
                continue
            low, high, mean, variance = _moments(kept, n)
            values[zone, 0] = mean
            values[zone, 1] = np.sqrt(variance)
            values[zone, 2] = low
            values[zone, 3] = high
            _percentiles(kept, n, low, high, fractions, counts, slot, picked, values[zone, 4:])


@compiled()
def _moments(kept, n):  # type: ignore[no-untyped-def]
    """Minimum, maximum, mean and population variance; deviations from the first value keep it exact."""
    low = high = kept[0]
    origin = np.float64(kept[0])
    total = 0.0
    squares = 0.0
    for position in range(n):
        value = kept[position]
        low = min(low, value)
        high = max(high, value)
        deviation = np.float64(value) - origin
        total += deviation
        squares += deviation * deviation
    mean = total / n
    return low, high, origin + mean, max(0.0, squares / n - mean * mean)


@compiled()
def _percentiles(kept, n, low, high, fractions, counts, slot, picked, result):  # type: ignore[no-untyped-def]
    """Order statistics by one histogram pass and a sort of the few bins that hold the wanted ranks."""
    if low == high:
        result[:] = low
        return
    scale = _bin_scale(low, high)
    _count_bins(kept, n, low, scale, counts)
    _find_slots(n, fractions, counts, slot)
    _sort_into_slots(kept, n, low, scale, slot, picked)
    for wanted in range(len(fractions)):
        rank = fractions[wanted] * (n - 1)
        lower = np.int64(rank)
        one = _ranked(lower, counts, slot, picked)
        other = _ranked(min(lower + 1, n - 1), counts, slot, picked)
        result[wanted] = one + (rank - lower) * (other - one)


@compiled()
def _count_bins(kept, n, low, scale, counts):  # type: ignore[no-untyped-def]
    """Number of values below each bin."""
    counts[:] = 0
    for position in range(n):
        counts[np.int64((np.float64(kept[position]) - low) * scale) + 1] += 1
    for number in range(_BINS):
        counts[number + 1] += counts[number]


@compiled()
def _find_slots(n, fractions, counts, slot):  # type: ignore[no-untyped-def]
    """Where the values of each bin that holds a wanted rank begin among those that are picked; else -1."""
    slot[:] = -1
    for wanted in range(len(fractions)):
        rank = fractions[wanted] * (n - 1)
        for neighbour in (np.int64(rank), min(np.int64(rank) + 1, n - 1)):
            slot[_bin_of(neighbour, counts)] = 0
    room = 0
    for number in range(_BINS):
        if slot[number] == 0:
            slot[number] = room
            room += counts[number + 1] - counts[number]


@compiled()
def _sort_into_slots(kept, n, low, scale, slot, picked):  # type: ignore[no-untyped-def]
    fill = slot.copy()
    for position in range(n):
        value = kept[position]
        number = np.int64((np.float64(value) - low) * scale)
        if fill[number] >= 0:
            picked[fill[number]] = value
            fill[number] += 1
    for number in range(_BINS):
        if slot[number] >= 0:
            sort(picked[slot[number] : fill[number]])


@compiled()
def _bin_of(rank, counts):  # type: ignore[no-untyped-def]
    """Last bin that has at most `rank` values below it."""
    return count_up_to(counts, rank) - 1


@compiled()
def _ranked(rank, counts, slot, picked):  # type: ignore[no-untyped-def]
    number = _bin_of(rank, counts)
    return np.float64(picked[slot[number] + rank - counts[number]])


@compiled(nogil=True)
def _weighted(  # type: ignore[no-untyped-def]
    start, stop, weights, integers,
    raster, offsets, pixels, excluded, has_nodata, nodata, fractions, bounds, valid, total, values,
):  # fmt: skip
    for chunk in range(start, stop):
        first, last = bounds[chunk], bounds[chunk + 1]
        size = _largest(offsets, first, last)
        kept = np.empty(size, raster.dtype)
        share = np.empty(size, np.float64)
        table = np.zeros(1 << 16 if integers else 1, np.float64)
        for zone in range(first, last):
            n = np.int64(0)  # a literal would be a type of its own, compiled for once more
            covered = 0.0
            used = 0.0
            for position in range(offsets[zone], offsets[zone + 1]):
                value = _entry(raster, pixels, position)
                weight = np.float64(weights[position])
                covered += weight
                usable = not (has_nodata and value == nodata) and value == value
                if len(excluded) > 0 and excluded[position]:
                    usable = False
                if usable:
                    kept[n] = value
                    share[n] = weight
                    used += weight
                    n += 1
            total[zone] = covered
            valid[zone] = used
            if n == 0 or used <= 0:
                continue
            low, high, mean, variance = _weighted_moments(kept, share, n, used)
            values[zone, 0] = mean
            values[zone, 1] = np.sqrt(variance)
            values[zone, 2] = low
            values[zone, 3] = high
            if integers:
                elements, sums = _merge_integers(kept, share, n, low, high, table)
            else:
                elements, sums = _merge_floats(kept, share, n)
            _weighted_quantiles(elements, sums, fractions, values[zone, 4:])


@compiled()
def _merge_integers(kept, share, n, low, high, table):  # type: ignore[no-untyped-def]
    """Distinct values, ascending, and the weight of each, by a table that is left empty."""
    base = np.int64(low)
    distinct = 0
    for position in range(n):
        place = np.int64(kept[position]) - base
        distinct += table[place] == 0.0
        table[place] += share[position]
    elements, sums = np.empty(distinct, np.float64), np.empty(distinct, np.float64)
    filled = 0
    for place in range(np.int64(high) - base + 1):
        if table[place] > 0.0:
            elements[filled], sums[filled] = base + place, table[place]
            table[place] = 0.0
            filled += 1
    return elements, sums


@compiled()
def _merge_floats(kept, share, n):  # type: ignore[no-untyped-def]
    """Distinct values, ascending, and the weight of each, by sorting."""
    order = np.argsort(kept[:n])
    elements, sums = np.empty(n, np.float64), np.empty(n, np.float64)
    filled = -1
    for position in order:
        value = np.float64(kept[position])
        if filled < 0 or value != elements[filled]:
            filled += 1
            elements[filled], sums[filled] = value, 0.0
        sums[filled] += share[position]
    return elements[: filled + 1], sums[: filled + 1]


@compiled()
def _weighted_quantiles(elements, sums, fractions, result):  # type: ignore[no-untyped-def]
    """Interpolate between distinct values at s_i = i w_i + (n - 1) * sum of the weights before i."""
    n = len(elements)
    last = (n - 1) * sums.sum()
    wanted = 0
    cumulated = 0.0
    s_before = 0.0
    for number in range(n):
        s = number * sums[number] + (n - 1) * cumulated
        while wanted < len(fractions) and s > fractions[wanted] * last:
            step = (fractions[wanted] * last - s_before) / (s - s_before)
            result[wanted] = elements[number - 1] + step * (elements[number] - elements[number - 1])
            wanted += 1
        s_before = s
        cumulated += sums[number]
    result[wanted:] = elements[n - 1]


@compiled()
def _weighted_moments(kept, share, n, used):  # type: ignore[no-untyped-def]
    low = high = kept[0]
    origin = np.float64(kept[0])
    total = 0.0
    squares = 0.0
    for position in range(n):
        value = kept[position]
        low = min(low, value)
        high = max(high, value)
        deviation = np.float64(value) - origin
        total += share[position] * deviation
        squares += share[position] * deviation * deviation
    mean = total / used
    return low, high, origin + mean, max(0.0, squares / used - mean * mean)


@compiled(nogil=True)
def _count_classes(start, stop, raster, offsets, pixels, weights, bounds, counts):  # type: ignore[no-untyped-def]
    for chunk in range(start, stop):
        for zone in range(bounds[chunk], bounds[chunk + 1]):
            for position in range(offsets[zone], offsets[zone + 1]):
                weight = np.float64(weights[position]) if len(weights) > 0 else 1.0
                counts[zone, _entry(raster, pixels, position)] += weight
