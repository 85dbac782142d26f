"""Composites on a GPU: the twins of `hpckit.reduce.kernels.composite_cpu`, with the same numbers.

One thread per pixel; threads beside each other read pixels beside each other. Values of a rank are found by their
bits, as on the CPU, so that a pixel may have any number of dates and nothing is copied or sorted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import config, cuda, float32, float64, int64, uint32

from hpckit.reduce.kernels import composite_cpu
from hpckit.reduce.kernels.composite_cpu import Mask, Stack, Summary
from hpckit.reduce.kernels.geomad_cuda import geomad, medoid
from hpckit.reduce.kernels.smooth_cuda import smooth

__all__ = [
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

# In the simulator every thread of a block is a thread of the system: fewer are faster there.
_THREADS = 8 if config.ENABLE_CUDASIM else 128

rounded = composite_cpu.rounded
take = composite_cpu.take


def percentiles(stack: Stack, wanted: npt.NDArray[np.float64], mask: Mask | None = None) -> npt.NDArray[np.float32]:
    """Percentiles over the dates; see the CPU twin."""
    values, left_out = _pair(stack, mask)
    pixels = _pixels(stack)
    found = cuda.to_device(np.empty((len(wanted), pixels), np.float32))
    quantiles = cuda.to_device(np.asarray(wanted, np.float64) / 100.0)
    _percentiles[_blocks(pixels), _THREADS](values, left_out, mask is not None, quantiles, found)
    return np.asarray(found.copy_to_host()).reshape(len(wanted), *stack.shape[1:])


def median(stack: Stack, mask: Mask | None = None) -> npt.NDArray[np.float32]:
    """Median over the dates; see the CPU twin."""
    result: npt.NDArray[np.float32] = percentiles(stack, np.array([50.0]), mask)[0]
    return result


def summary(stack: Stack, mask: Mask | None = None) -> Summary:
    """Count, mean, minimum and maximum over the dates; see the CPU twin."""
    values, left_out = _pair(stack, mask)
    pixels = _pixels(stack)
    found = [cuda.to_device(np.empty(pixels, dtype)) for dtype in (np.uint16, np.float32, np.uint16, np.uint16)]
    _summary[_blocks(pixels), _THREADS](values, left_out, mask is not None, *found)
    return Summary._make(array.copy_to_host().reshape(stack.shape[1:]) for array in found)


def max_ndvi(red: Stack, nir: Stack, offset: float = 0, mask: Mask | None = None) -> npt.NDArray[np.int32]:
    """Date of the greatest NDVI; see the CPU twin."""
    low, left_out = _pair(red, mask)
    high, _ = _pair(nir, None)
    found = cuda.to_device(np.empty(_pixels(red), np.int32))
    _max_ndvi[_blocks(_pixels(red)), _THREADS](low, high, np.float32(offset), left_out, mask is not None, found)
    return np.asarray(found.copy_to_host()).reshape(red.shape[1:])


def best_score(
    stack: Stack,
    day_score: npt.NDArray[np.float32],
    distance: npt.NDArray[np.uint8],
    distance_score: npt.NDArray[np.float32],
    mask: Mask | None = None,
) -> npt.NDArray[np.int32]:
    """Date of the greatest score; see the CPU twin."""
    values, left_out = _pair(stack, mask)
    found = cuda.to_device(np.empty(_pixels(stack), np.int32))
    _best_score[_blocks(_pixels(stack)), _THREADS](
        values,
        cuda.to_device(day_score),
        cuda.to_device(np.ascontiguousarray(distance).reshape(len(stack), -1)),
        cuda.to_device(distance_score),
        left_out,
        mask is not None,
        found,
    )
    return np.asarray(found.copy_to_host()).reshape(stack.shape[1:])


def interpolate(
    stack: Stack, days: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], mask: Mask | None = None
) -> npt.NDArray[np.float32]:
    """Interpolate linearly in time; see the CPU twin."""
    values, left_out = _pair(stack, mask)
    pixels = _pixels(stack)
    found = cuda.to_device(np.full((len(wanted), pixels), np.nan, np.float32))
    _interpolate[_blocks(pixels), _THREADS](
        values,
        cuda.to_device(np.asarray(days, np.float64)),
        cuda.to_device(np.asarray(wanted, np.float64)),
        left_out,
        mask is not None,
        found,
    )
    return np.asarray(found.copy_to_host()).reshape(len(wanted), *stack.shape[1:])


def _pair(stack: Stack, mask: Mask | None) -> tuple[Any, Any]:
    """Stack and mask on the device, as (dates, pixels)."""
    flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
    excluded = np.zeros((1, 1), np.bool_) if mask is None else np.ascontiguousarray(mask).reshape(flat.shape)
    return cuda.to_device(flat), cuda.to_device(excluded)


def _pixels(stack: Stack) -> int:
    return int(np.prod(stack.shape[1:]))


def _blocks(pixels: int) -> int:
    return max(1, -(-pixels // _THREADS))


@cuda.jit(device=True)
def _value(stack, mask, masked, date, p):  # type: ignore[no-untyped-def]
    """Value of a date, 0 if it is left out."""
    if masked and mask[date, p]:
        return uint32(0)
    return uint32(stack[date, p])


@cuda.jit(device=True)
def _select(stack, mask, masked, p, rank):  # type: ignore[no-untyped-def]
    """Value of a rank among all dates, those that are left out being 0."""
    found = uint32(0)
    for step in range(16):
        bound = found | (uint32(1) << uint32(15 - step))
        count = 0
        for date in range(stack.shape[0]):
            if _value(stack, mask, masked, date, p) < bound:
                count += 1
        if count <= rank:
            found = bound
    return found


@cuda.jit
def _percentiles(stack, mask, masked, quantiles, result):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= stack.shape[1]:
        return
    dates = stack.shape[0]
    seen = 0
    for date in range(dates):
        if _value(stack, mask, masked, date, p) > 0:
            seen += 1
    for q in range(len(quantiles)):
        if seen == 0:
            result[q, p] = math.nan
            continue
        position = (seen - 1) * quantiles[q]
        whole = int64(position)
        low = _select(stack, mask, masked, p, dates - seen + whole)
        part = position - whole
        high = low
        if part > 0:
            high = _select(stack, mask, masked, p, dates - seen + whole + 1)
        result[q, p] = float64(low) + part * (float64(high) - float64(low))


@cuda.jit
def _summary(stack, mask, masked, count, mean, minimum, maximum):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= stack.shape[1]:
        return
    seen, total, least, most = 0, int64(0), uint32(65535), uint32(0)
    for date in range(stack.shape[0]):
        value = _value(stack, mask, masked, date, p)
        if value > 0:
            seen += 1
            total += value
            least = min(least, value)
            most = max(most, value)
    count[p] = seen
    mean[p] = float64(total) / seen if seen else math.nan
    minimum[p] = least if seen else 0
    maximum[p] = most


@cuda.jit
def _max_ndvi(red, nir, offset, mask, masked, result):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= red.shape[1]:
        return
    best, where = float32(-math.inf), -1
    for date in range(red.shape[0]):
        if red[date, p] == 0 or nir[date, p] == 0 or (masked and mask[date, p]):
            continue
        low, high = float32(red[date, p]) - offset, float32(nir[date, p]) - offset
        if low + high > 0 and (high - low) / (high + low) > best:
            best = (high - low) / (high + low)
            where = date
    result[p] = where


@cuda.jit
def _best_score(stack, day_score, distance, distance_score, mask, masked, result):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= stack.shape[1]:
        return
    best, where = float32(-math.inf), -1
    for date in range(stack.shape[0]):
        score = day_score[date] + distance_score[distance[date, p]]
        if _value(stack, mask, masked, date, p) > 0 and score > best:
            best = score
            where = date
    result[p] = where


@cuda.jit
def _interpolate(stack, days, wanted, mask, masked, result):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= stack.shape[1]:
        return
    step, before = 0, -1
    for date in range(stack.shape[0]):
        value = _value(stack, mask, masked, date, p)
        if value == 0:
            continue
        while step < len(wanted) and wanted[step] < days[date]:
            if before >= 0:
                share = (wanted[step] - days[before]) / (days[date] - days[before])
                low = float64(stack[before, p])
                result[step, p] = low + share * (float64(value) - low)
            step += 1
        before = date
    while step < len(wanted) and before >= 0:
        if wanted[step] == days[before]:
            result[step, p] = stack[before, p]
        step += 1
