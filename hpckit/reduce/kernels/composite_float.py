"""Composites of indices in float32, whose range 16 bits cannot hold: what `composite_cpu` does, with NaN for nodata.

Stacks are float32 of shape (dates, rows, columns). Values of a pixel are sorted; there are too many bits to
select by.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread
from hpckit.reduce.kernels import composite_cpu, smooth_cpu

__all__ = ["Summary", "interpolate", "percentiles", "rounded", "smooth", "summary", "take"]

_BLOCK = 256
_LEAST = np.float32(1e-37)
"""Stands for 0 where 0 is nodata."""

Stack = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class Summary(NamedTuple):
    """Result of one pass over the dates; the shape is that of a date. NaN without observations."""

    observations: npt.NDArray[np.uint16]
    mean: Stack
    minimum: Stack
    maximum: Stack


def percentiles(stack: Stack, wanted: npt.NDArray[np.float64], mask: Mask | None = None) -> Stack:
    """Percentiles over the dates, interpolated linearly between order statistics (Hyndman & Fan 1996, type 7)."""
    flat = _flat(stack, mask)
    found = np.empty((len(wanted), flat.shape[1]), dtype=np.float32)
    spread(_percentiles, -(-flat.shape[1] // _BLOCK), flat, np.asarray(wanted, dtype=np.float64) / 100.0, found)
    return found.reshape(len(wanted), *stack.shape[1:])


def summary(stack: Stack, mask: Mask | None = None) -> Summary:
    """Count, mean, minimum and maximum over the dates."""
    flat = _flat(stack, mask)
    pixels, shape = flat.shape[1], stack.shape[1:]
    found = Summary(np.empty(pixels, np.uint16), *(np.empty(pixels, np.float32) for _ in range(3)))
    spread(_summary, -(-flat.shape[1] // _BLOCK), flat, *found)
    return Summary._make(array.reshape(shape) for array in found)


def take(stack: Stack, index: npt.NDArray[np.int32]) -> Stack:
    """Value of each pixel at its date; NaN where the index is -1."""
    found = composite_cpu.take(stack, index)
    return np.where(index >= 0, found, np.float32(np.nan))


def interpolate(stack: Stack, days: npt.NDArray[Any], wanted: npt.NDArray[Any], mask: Mask | None = None) -> Stack:
    """Interpolate linearly in time between the observations next to each wanted day; see `composite_cpu`."""
    flat = _flat(stack, mask)
    found = np.full((len(wanted), flat.shape[1]), np.nan, dtype=np.float32)
    days, wanted = np.asarray(days, np.float64), np.asarray(wanted, np.float64)
    spread(_interpolate, flat.shape[1], flat, days, wanted, found, least=_BLOCK)
    return found.reshape(len(wanted), *stack.shape[1:])


def smooth(
    stack: Stack,
    days: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    lam: float,
    envelope: float = 0.5,
    extend: int = 0,
    mask: Mask | None = None,
) -> Stack:
    """Values of the smooth curve of each pixel on the wanted days; see `smooth_cpu`."""
    known = np.where(stack == 0, _LEAST, stack)
    left_out = np.isnan(stack) if mask is None else np.isnan(stack) | mask
    coded = np.where(left_out, np.float32(0), known)
    return smooth_cpu.smooth(coded, days, wanted, lam, envelope, extend)


def rounded(values: Stack) -> Stack:
    """As they are: nothing is rounded."""
    return values


def _flat(stack: Stack, mask: Mask | None) -> Stack:
    """Stack of (dates, pixels) with NaN for what is masked."""
    known = stack if mask is None else np.where(mask, np.float32(np.nan), stack)
    return np.ascontiguousarray(known).reshape(stack.shape[0], -1)


@compiled(nogil=True, error_model="numpy")
def _percentiles(start, stop, stack, quantiles, result):  # type: ignore[no-untyped-def]
    dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * _BLOCK
        last = min(pixels, first + _BLOCK)
        block = np.full((dates, _BLOCK), np.inf, dtype=np.float32)
        seen = np.zeros(_BLOCK, np.int64)
        for date in range(dates):
            source, target = stack[date, first:last], block[date]
            for p in range(last - first):
                known = source[p] == source[p]
                target[p] = source[p] if known else np.float32(np.inf)
                seen[p] += known
        _sort(block, dates)
        for q in range(len(quantiles)):
            for p in range(last - first):
                result[q, first + p] = _at(block, p, seen[p], quantiles[q])


@compiled(nogil=True, error_model="numpy")
def _sort(block, dates):  # type: ignore[no-untyped-def]
    """Sort each pixel's values by Batcher's network (1968, AFIPS 32): no branches, all pixels side by side."""
    width = 1
    while width < dates:
        gap = width
        while gap >= 1:
            for begin in range(gap % width, dates - gap, 2 * gap):
                for row in range(begin, begin + min(gap, dates - begin - gap)):
                    if row // (2 * width) == (row + gap) // (2 * width):
                        _exchange(block[row], block[row + gap])
            gap //= 2
        width *= 2


@compiled(nogil=True, error_model="numpy")
def _exchange(low, high):  # type: ignore[no-untyped-def]
    for p in range(_BLOCK):
        a, b = low[p], high[p]
        low[p] = a if a < b else b
        high[p] = b if a < b else a


@compiled(nogil=True, error_model="numpy")
def _at(block, p, seen, quantile):  # type: ignore[no-untyped-def]
    """Value at a quantile of the sorted values of a pixel."""
    if seen == 0:
        return np.float32(np.nan)
    position = (seen - 1) * quantile
    low = min(int(position), seen - 1)
    first, second = np.float64(block[low, p]), np.float64(block[min(low + 1, seen - 1), p])
    return np.float32(first + (position - low) * (second - first))


@compiled(nogil=True, error_model="numpy")
def _summary(start, stop, stack, count, mean, minimum, maximum):  # type: ignore[no-untyped-def]
    dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * _BLOCK
        last = min(pixels, first + _BLOCK)
        seen, total = np.zeros(_BLOCK, np.int64), np.zeros(_BLOCK, np.float64)
        least, most = np.full(_BLOCK, np.inf, np.float32), np.full(_BLOCK, -np.inf, np.float32)
        for date in range(dates):
            row = stack[date, first:last]
            for p in range(last - first):
                value = row[p]
                known = value == value
                seen[p] += known
                total[p] += np.float64(value) if known else 0.0
                least[p] = value if known and value < least[p] else least[p]
                most[p] = value if known and value > most[p] else most[p]
        for p in range(last - first):
            some = seen[p] > 0
            count[first + p] = seen[p]
            mean[first + p] = total[p] / seen[p] if some else np.nan
            minimum[first + p] = least[p] if some else np.nan
            maximum[first + p] = most[p] if some else np.nan


@compiled(nogil=True, error_model="numpy")
def _interpolate(start, stop, stack, days, wanted, result):  # type: ignore[no-untyped-def]
    dates, steps = len(stack), len(wanted)
    for p in range(start, stop):
        step, before = 0, -1
        for date in range(dates):
            if stack[date, p] != stack[date, p]:
                continue
            while step < steps and wanted[step] < days[date]:
                if before >= 0:
                    share = (wanted[step] - days[before]) / (days[date] - days[before])
                    low, high = np.float64(stack[before, p]), np.float64(stack[date, p])
                    result[step, p] = low + share * (high - low)
                step += 1
            before = date
        if step < steps and before >= 0 and wanted[step] == days[before]:
            result[step, p] = stack[before, p]
