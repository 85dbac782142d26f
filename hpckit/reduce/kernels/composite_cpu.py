"""Composites on the CPU: statistics of each pixel over its dates; selection by bits, no sort, no float copy.

Stacks are uint16 of shape (dates, pixels) or (dates, rows, columns); 0 is nodata. A mask of the same shape is True
where a value is to be left out. Blocks of pixels go through the cache once, in parallel over blocks.

The value of a rank is found by deciding its bits from the top: a bit is set if at most `rank` values lie below
the number that it gives. Values that are left out count as 0, lie below all others, and merely raise the rank.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread
from hpckit.reduce.kernels.geomad_cpu import GeoMad, geomad, medoid
from hpckit.reduce.kernels.lanes import LANES, bit_length, count_below, least_above, select_rank
from hpckit.reduce.kernels.smooth_cpu import smooth

__all__ = [
    "GeoMad",
    "Summary",
    "best_score",
    "geomad",
    "interpolate",
    "max_ndvi",
    "median",
    "medoid",
    "percentiles",
    "rounded",
    "smooth",
    "summary",
    "take",
]

_BLOCK = 16 * LANES
_LEAST = 1 << 16
"""Pixels that are copied faster by one thread than by two."""
_STRIDE = _BLOCK + 32
"""An odd number of cache lines between dates, so that they do not fall into the same sets of the cache."""

Stack = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]
_NO_MASK = np.zeros((1, 1), dtype=np.bool_)


class Summary(NamedTuple):
    """Result of one pass over the dates; the shape is that of a date."""

    observations: npt.NDArray[np.uint16]
    """Observations."""
    mean: npt.NDArray[np.float32]
    """NaN without observations."""
    minimum: npt.NDArray[np.uint16]
    """0 without observations."""
    maximum: npt.NDArray[np.uint16]


def percentiles(stack: Stack, wanted: npt.NDArray[np.float64], mask: Mask | None = None) -> npt.NDArray[np.float32]:
    """Percentiles over the dates, interpolated linearly between order statistics (Hyndman & Fan 1996, type 7).

    Parameters
    ----------
    stack : ndarray of uint16, shape (dates, ...)
        At most 65535 dates.
    wanted : ndarray of float64
        0 to 100.

    Returns
    -------
    ndarray of float32, shape (len(wanted), ...)
        NaN without observations.
    """
    flat, masked, excluded = _flat(stack, mask)
    found = np.empty((len(wanted), flat.shape[1]), dtype=np.float32)
    spread(
        _percentiles,
        -(-flat.shape[1] // _BLOCK),
        flat,
        excluded,
        masked,
        np.asarray(wanted, dtype=np.float64) / 100.0,
        found,
    )
    return found.reshape(len(wanted), *stack.shape[1:])


def median(stack: Stack, mask: Mask | None = None) -> npt.NDArray[np.float32]:
    """Median over the dates; see `percentiles`."""
    result: npt.NDArray[np.float32] = percentiles(stack, np.array([50.0]), mask)[0]
    return result


def summary(stack: Stack, mask: Mask | None = None) -> Summary:
    """Count, mean, minimum and maximum over the dates."""
    flat, masked, excluded = _flat(stack, mask)
    pixels, shape = flat.shape[1], stack.shape[1:]
    found = Summary(
        np.empty(pixels, np.uint16),
        np.empty(pixels, np.float32),
        np.empty(pixels, np.uint16),
        np.empty(pixels, np.uint16),
    )
    spread(_summary, -(-flat.shape[1] // _BLOCK), flat, excluded, masked, *found)
    return Summary._make(array.reshape(shape) for array in found)


def max_ndvi(red: Stack, nir: Stack, offset: float = 0, mask: Mask | None = None) -> npt.NDArray[np.int32]:
    """Date of the greatest NDVI.

    Parameters
    ----------
    offset : float
        Stored number of reflectance zero.

    Returns
    -------
    ndarray of int32
        The first of equal dates; -1 where no date has both bands and a positive sum of reflectances.
    """
    first, masked, excluded = _flat(red, mask)
    second, _, _ = _flat(nir, None)
    found = np.empty(first.shape[1], dtype=np.int32)
    blocks = -(-first.shape[1] // _BLOCK)
    spread(_max_ndvi, blocks, first, second, np.float32(offset), excluded, masked, found)
    return found.reshape(red.shape[1:])


def best_score(
    stack: Stack,
    day_score: npt.NDArray[np.float32],
    distance: npt.NDArray[np.uint8],
    distance_score: npt.NDArray[np.float32],
    mask: Mask | None = None,
) -> npt.NDArray[np.int32]:
    """Date of the greatest score: that of its day plus that of the distance to what is masked.

    Parameters
    ----------
    stack : ndarray of uint16
        A band that shows where there are data.
    day_score : ndarray of float32, shape (dates,)
    distance : ndarray of uint8, shape of the stack
        Pixels to the next cloud, as far as they are looked for.
    distance_score : ndarray of float32, shape (256,)
        Score of each distance.

    Returns
    -------
    ndarray of int32
        The first of equal dates; -1 without observations.
    """
    flat, masked, excluded = _flat(stack, mask)
    found = np.empty(flat.shape[1], dtype=np.int32)
    spread(
        _best_score,
        -(-flat.shape[1] // _BLOCK),
        flat,
        day_score,
        distance.reshape(flat.shape),
        distance_score,
        excluded,
        masked,
        found,
    )
    return found.reshape(stack.shape[1:])


def take(stack: npt.NDArray[Any], index: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Value of each pixel at its date; 0 where the index is -1."""
    flat = stack.reshape(stack.shape[0], -1)
    found = np.empty(flat.shape[1], dtype=stack.dtype)
    spread(_take, index.size, flat, index.reshape(-1), found, least=_LEAST)
    return found.reshape(index.shape)


def interpolate(
    stack: Stack, days: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], mask: Mask | None = None
) -> npt.NDArray[np.float32]:
    """Interpolate linearly in time between the observations next to each wanted day.

    Parameters
    ----------
    days : ndarray of float64, shape (dates,)
        Ascending.
    wanted : ndarray of float64
        Ascending.

    Returns
    -------
    ndarray of float32, shape (len(wanted), ...)
        NaN before the first and after the last observation. Of observations on one day, the last counts.
    """
    flat, masked, excluded = _flat(stack, mask)
    found = np.empty((len(wanted), flat.shape[1]), dtype=np.float32)
    days, wanted = np.asarray(days, np.float64), np.asarray(wanted, np.float64)
    spread(_interpolate, -(-flat.shape[1] // _BLOCK), flat, days, wanted, excluded, masked, found)
    return found.reshape(len(wanted), *stack.shape[1:])


def rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Nearest stored numbers: 0 for NaN, and what is a value never becomes 0 or passes 65535."""
    found = np.empty(values.size, dtype=np.uint16)
    spread(_rounded, values.size, np.ascontiguousarray(values).reshape(-1), found, least=_LEAST)
    return found.reshape(values.shape)


def _flat(stack: Stack, mask: Mask | None) -> tuple[Stack, bool, Mask]:
    flat = np.ascontiguousarray(stack).reshape(stack.shape[0], -1)
    if mask is None:
        return flat, False, _NO_MASK
    return flat, True, np.ascontiguousarray(mask).reshape(flat.shape)


@compiled(nogil=True, error_model="numpy")
def pack(stack, mask, masked, first, block):  # type: ignore[no-untyped-def]
    """Copy pixels of all dates into a block, with 0 for what is masked; return the bits that any value has."""
    pixels = min(_BLOCK, stack.shape[1] - first)
    bits = np.uint16(0)
    for date in range(stack.shape[0]):
        source, target = stack[date, first : first + pixels], block[date]
        if masked:
            left_out = mask[date, first : first + pixels]
            for p in range(pixels):
                target[p] = source[p] * np.uint16(not left_out[p])
        else:
            for p in range(pixels):
                target[p] = source[p]
        for p in range(pixels):
            bits |= target[p]
    return bits


@compiled(nogil=True, error_model="numpy")
def _percentiles(start, stop, stack, mask, masked, quantiles, result):  # type: ignore[no-untyped-def]
    dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * _BLOCK
        block = np.zeros((dates, _STRIDE), dtype=np.uint16)
        bits = bit_length(pack(stack, mask, masked, first, block))
        last = min(pixels, first + _BLOCK)
        _percentiles_of_block(block.reshape(-1), dates, bits, quantiles, result[:, first:last])


@compiled(nogil=True, error_model="numpy")
def _percentiles_of_block(values, dates, bits, quantiles, result):  # type: ignore[no-untyped-def]
    room = np.empty((6, LANES), dtype=np.uint16)
    missing, low, high, rank, bound, count = room[0], room[1], room[2], room[3], room[4], room[5]
    part = np.empty(LANES, np.float64)
    pixels = result.shape[1]
    for group in range(0, pixels, LANES):
        lanes = min(LANES, pixels - group)
        bound[:] = 1
        count_below(values, group, dates, _STRIDE, bound, missing)
        for q in range(len(quantiles)):
            _ranks(missing, dates, quantiles[q], rank, part)
            select_rank(values, group, dates, _STRIDE, rank, low, bits)
            _next_ranks(values, group, dates, rank, part, low, high, bound, count)
            row = result[q, group : group + lanes]
            for lane in range(lanes):
                between = np.float64(low[lane]) + part[lane] * (np.float64(high[lane]) - np.float64(low[lane]))
                row[lane] = between if missing[lane] < dates else np.nan


@compiled(nogil=True, error_model="numpy")
def _ranks(missing, dates, quantile, rank, part):  # type: ignore[no-untyped-def]
    """Rank of the value below the percentile among all dates, and how far it lies towards the next."""
    for lane in range(LANES):
        observations = dates - np.int64(missing[lane])
        position = max(0, observations - 1) * quantile
        whole = np.int64(position)
        part[lane] = position - whole
        rank[lane] = min(np.int64(missing[lane]) + whole, dates - 1)


@compiled(nogil=True, error_model="numpy")
def _next_ranks(values, group, dates, rank, part, low, high, bound, count):  # type: ignore[no-untyped-def]
    """Value of the next rank wherever the percentile lies between two."""
    between = False
    for lane in range(LANES):
        between |= part[lane] > 0
    if not between:
        high[:] = low
        return
    for lane in range(LANES):
        bound[lane] = low[lane] + 1  # 65535 + 1 is 0: none is below, and none is above 65535 either
    count_below(values, group, dates, _STRIDE, bound, count)
    least_above(values, group, dates, _STRIDE, low, high)
    for lane in range(LANES):
        same = (part[lane] == 0) | (count[lane] > rank[lane] + 1) | (low[lane] == 65535)
        high[lane] = low[lane] if same else high[lane]


@compiled(nogil=True, error_model="numpy")
def _summary(start, stop, stack, mask, masked, count, mean, minimum, maximum):  # type: ignore[no-untyped-def]
    dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * _BLOCK
        last = min(pixels, first + _BLOCK)
        block = np.zeros((dates, _STRIDE), dtype=np.uint16)
        pack(stack, mask, masked, first, block)
        seen, total = np.zeros(_BLOCK, np.uint16), np.zeros(_BLOCK, np.uint32)
        least, most = np.full(_BLOCK, 65535, np.uint16), np.zeros(_BLOCK, np.uint16)
        for date in range(dates):
            row = block[date]
            for p in range(_BLOCK):
                seen[p] += np.uint16(row[p] != 0)
            for p in range(_BLOCK):
                total[p] += np.uint32(row[p])  # 65535 dates of 65535 fit
            for p in range(_BLOCK):
                least[p] = min(least[p], np.uint16(row[p] - np.uint16(1)))  # nodata becomes the largest
            for p in range(_BLOCK):
                most[p] = max(most[p], row[p])
        for p in range(last - first):
            count[first + p] = seen[p]
            mean[first + p] = np.float64(total[p]) / seen[p] if seen[p] else np.nan
            minimum[first + p] = np.uint16(least[p] + np.uint16(1)) if seen[p] else 0
            maximum[first + p] = most[p]


@compiled(nogil=True, error_model="numpy")
def _max_ndvi(start, stop, red, nir, offset, mask, masked, result):  # type: ignore[no-untyped-def]
    dates, pixels = red.shape
    for number in range(start, stop):
        first = number * _BLOCK
        last = min(pixels, first + _BLOCK)
        best = np.full(_BLOCK, -np.inf, dtype=np.float32)
        where = result[first:last]
        where[:] = -1
        for date in range(dates):
            _greener(
                red[date, first:last], nir[date, first:last], offset,
                mask[date, first:last] if masked else mask[0], masked, date, best, where,
            )  # fmt: skip


@compiled(nogil=True, error_model="numpy")
def _greener(red, nir, offset, left_out, masked, date, best, where):  # type: ignore[no-untyped-def]
    """Remember a date wherever its NDVI is greater than all before."""
    for p in range(len(where)):
        low, high = np.float32(red[p]) - offset, np.float32(nir[p]) - offset
        ndvi = (high - low) / (high + low)
        better = (red[p] != 0) & (nir[p] != 0) & (low + high > 0) & (ndvi > best[p])
        if masked:
            better &= not left_out[p]
        best[p] = ndvi if better else best[p]
        where[p] = date if better else where[p]


@compiled(nogil=True, error_model="numpy")
def _best_score(start, stop, stack, day_score, distance, distance_score, mask, masked, result):  # type: ignore[no-untyped-def]
    dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * _BLOCK
        last = min(pixels, first + _BLOCK)
        best = np.full(_BLOCK, -np.inf, dtype=np.float32)
        result[first:last] = -1
        for date in range(dates):
            for p in range(first, last):
                score = day_score[date] + distance_score[distance[date, p]]
                if stack[date, p] != 0 and not (masked and mask[date, p]) and score > best[p - first]:
                    best[p - first] = score
                    result[p] = date


@compiled(nogil=True, error_model="numpy")
def _take(start, stop, stack, index, result):  # type: ignore[no-untyped-def]
    for p in range(start, stop):
        result[p] = stack[index[p], p] if index[p] >= 0 else 0


@compiled(nogil=True, error_model="numpy")
def _interpolate(start, stop, stack, days, wanted, mask, masked, result):  # type: ignore[no-untyped-def]
    dates, pixels = stack.shape
    steps = len(wanted)
    for number in range(start, stop):
        first = number * _BLOCK
        block = np.zeros((dates, _STRIDE), dtype=np.uint16)
        pack(stack, mask, masked, first, block)
        for p in range(min(_BLOCK, pixels - first)):
            step, before = 0, -1
            for date in range(dates):
                if block[date, p] == 0:
                    continue
                while step < steps and wanted[step] < days[date]:
                    result[step, first + p] = _between(block[:, p], days, before, date, wanted[step])
                    step += 1
                before = date
            while step < steps:
                at_last = before >= 0 and wanted[step] == days[before]
                result[step, first + p] = np.float32(block[before, p]) if at_last else np.nan
                step += 1


@compiled(nogil=True, error_model="numpy")
def _between(values, days, before, after, day):  # type: ignore[no-untyped-def]
    if before < 0:
        return np.float32(np.nan)
    share = (day - days[before]) / (days[after] - days[before])
    low, high = np.float64(values[before]), np.float64(values[after])
    return np.float32(low + share * (high - low))


@compiled(nogil=True, error_model="numpy")
def _rounded(start, stop, values, result):  # type: ignore[no-untyped-def]
    for p in range(start, stop):
        value = values[p]
        whole = min(max(np.rint(value), np.float32(1)), np.float32(65535))
        result[p] = np.uint16(whole) if value == value else np.uint16(0)
