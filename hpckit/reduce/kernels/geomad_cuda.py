"""Geometric median with its deviations, and the medoid, on a GPU: the twins of `hpckit.reduce.kernels.geomad_cpu`.

One thread per pixel, with the place of the median in its own memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import config, cuda, float32

from hpckit.reduce.kernels.geomad_cpu import GeoMad, Mask, Stack

# In the simulator every thread of a block is a thread of the system: fewer are faster there.
_THREADS = 8 if config.ENABLE_CUDASIM else 128
_MOST_BANDS = 16
_MOST_STEPS = 200


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


def _cube(stack: Stack, mask: Mask | None) -> tuple[Any, Any]:
    """Stack on the device as (bands, dates, pixels), mask as (dates, pixels)."""
    flat = np.ascontiguousarray(stack).reshape(*stack.shape[:2], -1)
    excluded = np.zeros((1, 1), np.bool_) if mask is None else np.ascontiguousarray(mask).reshape(flat.shape[1:])
    return cuda.to_device(flat), cuda.to_device(excluded)


def _blocks(pixels: int) -> int:
    return max(1, -(-pixels // _THREADS))


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
