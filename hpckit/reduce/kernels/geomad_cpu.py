"""Geometric median of many bands with its three median absolute deviations, and the medoid, on the CPU.

Sources: Weiszfeld (1937) for the iteration; Ostresh (1978, Operations Research 26) for steps up to twice as long;
Roberts, Mueller & McIntyre (2017, IEEE TGRS 55) for the geometric median of a pixel's dates; Roberts, Dunn & Mueller
(2018, IGARSS) for the deviations, as Digital Earth Australia publishes them; Flood (2013, Remote Sensing 5) for the
medoid.

A block of 64 pixels is iterated at once, each loop over pixels a vector loop. A date counts for a pixel where all
bands have data (0 is nodata) and the mask, where given, is False.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled, spread
from hpckit.reduce.kernels.lanes import LANES, bit_length, count_below, least_above, select_rank

_MOST_STEPS = 200
_LEAST = 4
"""Groups of pixels for which a thread is worth while."""
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}  # no promise about NaN is given up
Stack = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]
_NO_MASK = np.zeros((1, 1), dtype=np.bool_)


class GeoMad(NamedTuple):
    """Geometric median and the deviations from it."""

    median: npt.NDArray[np.float32]
    """In stored numbers; shape (bands, ...); NaN without observations."""
    smad: npt.NDArray[np.float32]
    """Median of the cosine distances."""
    emad: npt.NDArray[np.float32]
    """Median of the Euclidean distances, in physical units."""
    bcmad: npt.NDArray[np.float32]
    """Median of the Bray-Curtis dissimilarities."""
    observations: npt.NDArray[np.uint16]
    """Observations."""


def geomad(
    stack: npt.NDArray[np.uint16],
    scale: float = 1e-4,
    offset: float = 0.0,
    mask: npt.NDArray[np.bool_] | None = None,
    tolerance: float = 0.1,
) -> GeoMad:
    """Geometric median over the dates, and the medians of the distances of the dates from it.

    Parameters
    ----------
    stack : ndarray of uint16, shape (bands, dates, ...)
    scale, offset : float
        Physical value = stored number * scale + offset.
    mask : ndarray of bool, shape (dates, ...), optional
        True where a date is to be left out.
    tolerance : float
        Stored numbers by which a step may still move a pixel when it ends.
    """
    flat, masked, excluded = _flat(stack, mask)
    bands, pixels, shape = flat.shape[0], flat.shape[2], stack.shape[2:]
    found = GeoMad(
        np.empty((bands, pixels), np.float32),
        np.empty(pixels, np.float32),
        np.empty(pixels, np.float32),
        np.empty(pixels, np.float32),
        np.empty(pixels, np.uint16),
    )
    physical = np.float32(-offset / scale), np.float32(scale)
    groups = -(-pixels // LANES)
    spread(_geomad, groups, flat, excluded, masked, *physical, np.float32(tolerance), *found, least=_LEAST)
    return GeoMad._make(array.reshape(*array.shape[:-1], *shape) for array in found)


def medoid(stack: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int32]:
    """Date whose distances to all others of the pixel have the smallest sum.

    Parameters
    ----------
    stack : ndarray of uint16, shape (bands, dates, ...)

    Returns
    -------
    ndarray of int32
        The first of equal dates; -1 without observations.
    """
    flat, masked, excluded = _flat(stack, mask)
    found = np.empty(flat.shape[2], dtype=np.int32)
    spread(_medoid, -(-found.size // LANES), flat, excluded, masked, found, least=_LEAST)
    return found.reshape(stack.shape[2:])


def _flat(
    stack: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_] | None
) -> tuple[npt.NDArray[np.uint16], bool, npt.NDArray[np.bool_]]:
    bands, dates = stack.shape[:2]
    flat = np.ascontiguousarray(stack).reshape(bands, dates, -1)
    if mask is None:
        return flat, False, _NO_MASK
    return flat, True, np.ascontiguousarray(mask).reshape(dates, -1)


@compiled(nogil=True, error_model="numpy")
def _geomad(start, stop, stack, mask, masked, origin, scale, tolerance, median, smad, emad, bcmad, count):  # type: ignore[no-untyped-def]
    bands, dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * LANES
        lanes = min(LANES, pixels - first)
        values = np.zeros((dates, bands, LANES), dtype=np.float32)
        weight = np.zeros((dates, LANES), dtype=np.float32)
        _load(stack, mask, masked, first, values, weight)
        centre, seen = np.zeros((bands, LANES), np.float32), np.zeros(LANES, np.float32)
        _centre(values, weight, centre, seen)
        _iterate(values, weight, centre, tolerance)
        _write_median(centre, seen, median[:, first : first + lanes], count[first : first + lanes])
        _deviations(
            values, weight, centre, seen, origin, scale,
            smad[first : first + lanes], emad[first : first + lanes], bcmad[first : first + lanes],
        )  # fmt: skip


@compiled(nogil=True, error_model="numpy")
def _load(stack, mask, masked, first, values, weight):  # type: ignore[no-untyped-def]
    """Bring the stored numbers of a block into the cache, and weigh by 1 the dates that count, by 0 the others."""
    bands, dates, pixels = stack.shape
    lanes = min(LANES, pixels - first)
    for date in range(dates):
        row = weight[date]
        for p in range(lanes):
            row[p] = np.float32(1)
        if masked:
            left_out = mask[date, first : first + lanes]
            for p in range(lanes):
                row[p] *= np.float32(not left_out[p])
        for band in range(bands):
            source, target = stack[band, date, first : first + lanes], values[date, band]
            for p in range(lanes):
                target[p] = np.float32(source[p])
            for p in range(lanes):
                row[p] *= np.float32(source[p] != 0)


@compiled(nogil=True, error_model="numpy", fastmath=_FASTMATH)
def _centre(values, weight, centre, seen):  # type: ignore[no-untyped-def]
    """Mean of the dates that count: where the iteration begins."""
    dates, bands, _ = values.shape
    for date in range(dates):
        for p in range(LANES):
            seen[p] += weight[date, p]
    for band in range(bands):
        total = centre[band]
        for date in range(dates):
            row, by = values[date, band], weight[date]
            for p in range(LANES):
                total[p] += by[p] * row[p]
        for p in range(LANES):
            total[p] /= max(seen[p], np.float32(1))


@compiled(nogil=True, error_model="numpy", fastmath=_FASTMATH)
def _iterate(values, weight, centre, tolerance):  # type: ignore[no-untyped-def]
    dates, bands, _ = values.shape
    shift = np.empty((bands, LANES), np.float32)
    total, squared, moved = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for step in range(_MOST_STEPS):
        shift[:] = 0
        total[:] = 0
        for date in range(dates):
            squared[:] = np.float32(1e-4)  # a date at the very place weighs much, not infinitely
            for band in range(bands):
                row, at = values[date, band], centre[band]
                for p in range(LANES):
                    away = row[p] - at[p]
                    squared[p] += away * away
            by = weight[date]
            for p in range(LANES):
                squared[p] = by[p] / np.sqrt(squared[p])
            for p in range(LANES):
                total[p] += squared[p]
            for band in range(bands):
                row, at, sums = values[date, band], centre[band], shift[band]
                for p in range(LANES):
                    sums[p] += squared[p] * (row[p] - at[p])
        moved[:] = 0
        stretch = np.float32(1.5) if step else np.float32(1)
        for p in range(LANES):
            total[p] = stretch / total[p] if total[p] > 0 else np.float32(0)
        for band in range(bands):
            sums, at = shift[band], centre[band]
            for p in range(LANES):
                by_now = sums[p] * total[p]
                at[p] += by_now
                moved[p] += by_now * by_now
        if moved.max() < tolerance * tolerance:
            return


@compiled(nogil=True, error_model="numpy")
def _write_median(centre, seen, median, count):  # type: ignore[no-untyped-def]
    for p in range(len(count)):
        count[p] = np.uint16(seen[p])
        for band in range(len(centre)):
            median[band, p] = centre[band, p] if seen[p] > 0 else np.nan


@compiled(nogil=True, error_model="numpy", fastmath=_FASTMATH)
def _deviations(values, weight, centre, seen, origin, scale, smad, emad, bcmad):  # type: ignore[no-untyped-def]
    dates, bands, _ = values.shape
    cosine, euclid = np.empty((dates, LANES), np.float32), np.empty((dates, LANES), np.float32)
    bray = np.empty((dates, LANES), np.float32)
    length = np.zeros(LANES, np.float32)
    for band in range(bands):
        for p in range(LANES):
            length[p] += (centre[band, p] - origin) ** 2
    dot, own, away, apart, together = (
        np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32),
        np.empty(LANES, np.float32), np.empty(LANES, np.float32),
    )  # fmt: skip
    for date in range(dates):
        dot[:] = 0
        own[:] = 0
        away[:] = 0
        apart[:] = 0
        together[:] = 0
        for band in range(bands):
            row, at = values[date, band], centre[band]
            for p in range(LANES):
                one, other = row[p] - origin, at[p] - origin
                dot[p] += one * other
                own[p] += one * one
                away[p] += (one - other) * (one - other)
                apart[p] += abs(one - other)
                together[p] += abs(one + other)
        for p in range(LANES):
            norm = np.sqrt(own[p] * length[p])
            cosine[date, p] = max(np.float32(0), np.float32(1) - dot[p] / norm) if norm > 0 else np.float32(0)
            euclid[date, p] = scale * np.sqrt(away[p])
            bray[date, p] = apart[p] / together[p] if together[p] > 0 else np.float32(0)
    _median_of(cosine, weight, seen, smad)
    _median_of(euclid, weight, seen, emad)
    _median_of(bray, weight, seen, bcmad)


@compiled(nogil=True, error_model="numpy")
def _median_of(distances, weight, seen, result):  # type: ignore[no-untyped-def]
    """Median of the dates that count: the bits of floats that are not negative sort like the floats."""
    dates = len(distances)
    keys = np.empty((dates, LANES), np.uint32)
    bits = distances.view(np.uint32)
    highest = np.uint32(0)
    for date in range(dates):
        for p in range(LANES):
            keys[date, p] = (bits[date, p] + np.uint32(1)) * np.uint32(weight[date, p])
        for p in range(LANES):
            highest |= keys[date, p]
    flat = keys.reshape(-1)
    rank, low, high = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32), np.empty(LANES, np.uint32)
    for p in range(LANES):
        rank[p] = dates - np.int64(seen[p]) + max(0, np.int64(seen[p]) - 1) // 2
        rank[p] = min(rank[p], dates - 1)
    select_rank(flat, 0, dates, LANES, rank, low, bit_length(highest))
    bound, count = low + np.uint32(1), np.empty(LANES, np.uint32)
    count_below(flat, 0, dates, LANES, bound, count)
    least_above(flat, 0, dates, LANES, low, high)
    for p in range(LANES):
        odd = np.int64(seen[p]) % 2 == 1
        high[p] = low[p] if odd or count[p] > rank[p] + 1 else high[p]
    low -= np.uint32(1)
    high -= np.uint32(1)
    first, second = low.view(np.float32), high.view(np.float32)
    for p in range(len(result)):
        result[p] = (first[p] + second[p]) / np.float32(2) if seen[p] > 0 else np.nan


@compiled(nogil=True, error_model="numpy")
def _medoid(start, stop, stack, mask, masked, result):  # type: ignore[no-untyped-def]
    bands, dates, pixels = stack.shape
    for number in range(start, stop):
        first = number * LANES
        values = np.zeros((dates, bands, LANES), dtype=np.float32)
        weight = np.zeros((dates, LANES), dtype=np.float32)
        _load(stack, mask, masked, first, values, weight)
        total = np.zeros((dates, LANES), dtype=np.float32)
        _distances(values, weight, total)
        for p in range(min(LANES, pixels - first)):
            best = -1
            for date in range(dates):
                if weight[date, p] > 0 and (best < 0 or total[date, p] < total[best, p]):
                    best = date
            result[first + p] = best


@compiled(nogil=True, error_model="numpy", fastmath=_FASTMATH)
def _distances(values, weight, total):  # type: ignore[no-untyped-def]
    """Sum of the distances of each date to all that count."""
    dates, bands, _ = values.shape
    squared = np.empty(LANES, np.float32)
    for one in range(dates):
        mine, by = total[one], weight[one]
        for other in range(one):
            squared[:] = 0
            for band in range(bands):
                a, b = values[one, band], values[other, band]
                for p in range(LANES):
                    squared[p] += (a[p] - b[p]) * (a[p] - b[p])
            theirs, its = total[other], weight[other]
            for p in range(LANES):
                squared[p] = np.sqrt(squared[p])
            for p in range(LANES):
                mine[p] += squared[p] * its[p]
            for p in range(LANES):
                theirs[p] += squared[p] * by[p]
