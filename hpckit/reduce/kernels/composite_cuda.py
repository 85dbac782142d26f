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
from hpckit.reduce.kernels.geomad_cpu import GeoMad

# In the simulator every thread of a block is a thread of the system: fewer are faster there.
_THREADS = 8 if config.ENABLE_CUDASIM else 128
_MOST_BANDS = 16
_MOST_STEPS = 200

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


def max_ndvi(red: Stack, nir: Stack, offset: int = 0, mask: Mask | None = None) -> npt.NDArray[np.int32]:
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


def medoid(stack: Stack, mask: Mask | None = None) -> npt.NDArray[np.int32]:
    """Date whose distances to all others have the smallest sum; see the CPU twin."""
    values, left_out = _cube(stack, mask)
    found = cuda.to_device(np.empty(values.shape[2], np.int32))
    _medoid[_blocks(values.shape[2]), _THREADS](values, left_out, mask is not None, found)
    return np.asarray(found.copy_to_host()).reshape(stack.shape[2:])


def geomad(
    stack: Stack, scale: float = 1e-4, offset: float = 0.0, mask: Mask | None = None, tolerance: float = 0.1
) -> GeoMad:
    """Geometric median over the dates, and its deviations; see the CPU twin.

    Raises
    ------
    ValueError
        If there are more than 16 bands.
    """
    bands = len(stack)
    if bands > _MOST_BANDS:
        raise ValueError(f"{bands} bands; a GPU takes {_MOST_BANDS} at most, use device: cpu")
    values, left_out = _cube(stack, mask)
    pixels = values.shape[2]
    centre = cuda.to_device(np.empty((bands, pixels), np.float32))
    deviations = [cuda.to_device(np.empty(pixels, np.float32)) for _ in range(3)]
    observations = cuda.to_device(np.empty(pixels, np.uint16))
    room = cuda.to_device(np.empty((values.shape[1], pixels), np.float32))
    _geometric_median[_blocks(pixels), _THREADS](
        values, left_out, mask is not None, np.float32(tolerance), centre, observations
    )
    for kind, result in enumerate(deviations):
        _deviation[_blocks(pixels), _THREADS](
            values, left_out, mask is not None, centre, observations,
            np.float32(-offset / scale), np.float32(scale), kind, room, result,
        )  # fmt: skip
    shape = stack.shape[2:]
    smad, emad, bcmad = (np.asarray(array.copy_to_host()).reshape(shape) for array in deviations)
    middle = np.asarray(centre.copy_to_host()).reshape(bands, *shape)
    return GeoMad(middle, smad, emad, bcmad, np.asarray(observations.copy_to_host()).reshape(shape))


def _pair(stack: Stack, mask: Mask | None) -> tuple[Any, Any]:
    """Stack and mask on the device, as (dates, pixels)."""
    flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
    excluded = np.zeros((1, 1), np.bool_) if mask is None else np.ascontiguousarray(mask).reshape(flat.shape)
    return cuda.to_device(flat), cuda.to_device(excluded)


def _cube(stack: Stack, mask: Mask | None) -> tuple[Any, Any]:
    """Stack on the device as (bands, dates, pixels), mask as (dates, pixels)."""
    flat = np.ascontiguousarray(stack).reshape(*stack.shape[:2], -1)
    excluded = np.zeros((1, 1), np.bool_) if mask is None else np.ascontiguousarray(mask).reshape(flat.shape[1:])
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


@cuda.jit(device=True)
def _counts(stack, mask, masked, date, p):  # type: ignore[no-untyped-def]
    """Whether all bands have a date."""
    if masked and mask[date, p]:
        return False
    whole = True
    for band in range(stack.shape[0]):
        whole &= stack[band, date, p] != 0
    return whole


@cuda.jit
def _medoid(stack, mask, masked, result):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= stack.shape[2]:
        return
    best, where = float32(math.inf), -1
    for one in range(stack.shape[1]):
        if not _counts(stack, mask, masked, one, p):
            continue
        total = float32(0)
        for other in range(stack.shape[1]):
            if _counts(stack, mask, masked, other, p):
                squared = float32(0)
                for band in range(stack.shape[0]):
                    away = float32(stack[band, one, p]) - float32(stack[band, other, p])
                    squared += away * away
                total += math.sqrt(squared)
        if where < 0 or total < best:
            best = total
            where = one
    result[p] = where


@cuda.jit
def _geometric_median(stack, mask, masked, tolerance, centre, observations):  # type: ignore[no-untyped-def]
    p = cuda.grid(1)
    if p >= stack.shape[2]:
        return
    bands, dates = stack.shape[0], stack.shape[1]
    at, shift = cuda.local.array(_MOST_BANDS, float32), cuda.local.array(_MOST_BANDS, float32)
    seen = 0
    for band in range(bands):
        at[band] = 0
    for date in range(dates):
        if _counts(stack, mask, masked, date, p):
            seen += 1
            for band in range(bands):
                at[band] += stack[band, date, p]
    for band in range(bands):
        at[band] /= max(seen, 1)
    stretch, moved = float32(1), float32(math.inf)
    steps = 0
    while seen and steps < _MOST_STEPS and moved >= tolerance * tolerance:
        total = float32(0)
        for band in range(bands):
            shift[band] = 0
        for date in range(dates):
            if _counts(stack, mask, masked, date, p):
                squared = float32(1e-4)
                for band in range(bands):
                    squared += (stack[band, date, p] - at[band]) ** 2
                weight = float32(1) / math.sqrt(squared)
                total += weight
                for band in range(bands):
                    shift[band] += weight * (stack[band, date, p] - at[band])
        moved = float32(0)
        for band in range(bands):
            by = stretch * shift[band] / total
            at[band] += by
            moved += by * by
        stretch = float32(1.5)
        steps += 1
    for band in range(bands):
        centre[band, p] = at[band] if seen else math.nan
    observations[p] = seen


@cuda.jit
def _deviation(  # type: ignore[no-untyped-def]
    stack, mask, masked, centre, observations, origin, scale, kind, room, result
):
    """Median distance of a kind: 0 cosine, 1 Euclidean, 2 Bray-Curtis."""
    p = cuda.grid(1)
    if p >= stack.shape[2]:
        return
    bands, dates, seen = stack.shape[0], stack.shape[1], observations[p]
    for date in range(dates):
        room[date, p] = -1
        if _counts(stack, mask, masked, date, p):
            dot, own, length, away, apart, together = (
                float32(0),
                float32(0),
                float32(0),
                float32(0),
                float32(0),
                float32(0),
            )
            for band in range(bands):
                one, other = float32(stack[band, date, p]) - origin, centre[band, p] - origin
                dot += one * other
                own += one * one
                length += other * other
                away += (one - other) * (one - other)
                apart += abs(one - other)
                together += abs(one + other)
            if kind == 0:
                norm = math.sqrt(own * length)
                room[date, p] = max(float32(0), float32(1) - dot / norm) if norm > 0 else float32(0)
            elif kind == 1:
                room[date, p] = scale * math.sqrt(away)
            else:
                room[date, p] = apart / together if together > 0 else float32(0)
    if seen == 0:
        result[p] = math.nan
        return
    low = _ranked(room, p, dates - seen + (seen - 1) // 2)
    high = _ranked(room, p, dates - seen + seen // 2)
    result[p] = (low + high) / float32(2)


@cuda.jit(device=True)
def _ranked(room, p, rank):  # type: ignore[no-untyped-def]
    """Distance of a rank: the one that as many are below, its equals shared out by their positions."""
    for one in range(room.shape[0]):
        below = 0
        for other in range(room.shape[0]):
            if room[other, p] < room[one, p] or (room[other, p] == room[one, p] and other < one):
                below += 1
        if below == rank:
            return room[one, p]
    return float32(math.nan)
