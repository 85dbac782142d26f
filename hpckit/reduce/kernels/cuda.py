"""Statistics of zones on a GPU: the twins of `hpckit.reduce.kernels.cpu`, with the same numbers.

One block per zone. Sums and extremes are reduced in shared memory. An order statistic is found by halving
the range of integer keys, from the zone's minimum to its maximum, until one key is left: about ten counts for
reflectance, and nothing is copied or sorted, so that a zone may have any number of pixels. The keys of
integers are they themselves; those of floats are their bits, changed to sort like the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import config, cuda, float64, int64

from hpckit.reduce.kernels.result import Statistics

# In the simulator every thread of a block is a thread of the system: fewer are faster there.
_THREADS = 8 if config.ENABLE_CUDASIM else 128
_DIGITS = 256


def signatures(
    raster: npt.NDArray[Any],
    offsets: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.uint32] | None,
    weights: npt.NDArray[np.float32] | None,
    excluded: npt.NDArray[np.bool_] | None,
    nodata: int | None,
    percentiles: npt.NDArray[np.float64],
) -> Statistics:
    """Count, mean, standard deviation, minimum, maximum and percentiles of each zone; see the CPU twin."""
    count = len(offsets) - 1
    statistics = Statistics(np.zeros(count), np.zeros(count), np.full((count, 4 + len(percentiles)), np.nan))
    if count == 0:
        return statistics
    no_value = nodata is None or nodata < 0
    outputs = [cuda.to_device(array) for array in statistics]
    _zones[count, _THREADS](
        _device(raster),
        _device(_keys(raster)),
        _kept(offsets),
        _kept(np.empty(0, np.uint32) if pixels is None else pixels),
        _kept(np.empty(0, np.float32) if weights is None else weights),
        _device(np.empty(0, np.uint8) if excluded is None else excluded.view(np.uint8)),
        not no_value,
        raster.dtype.type(0 if no_value else nodata),
        _device(percentiles / 100.0),
        *outputs,
    )
    for output, array in zip(outputs, statistics, strict=True):
        output.copy_to_host(array)
    return statistics


def histogram(
    raster: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.uint32] | None,
    weights: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float64]:
    """Count, or covered area, of each class in each zone; see the CPU twin."""
    count = len(offsets) - 1
    if count == 0:
        return np.zeros((0, _DIGITS))
    counts = cuda.to_device(np.zeros((count, _DIGITS)))
    _classes[count, _THREADS](
        _device(raster),
        _kept(offsets),
        _kept(np.empty(0, np.uint32) if pixels is None else pixels),
        _kept(np.empty(0, np.float32) if weights is None else weights),
        counts,
    )
    return np.asarray(counts.copy_to_host())


def _keys(raster: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Unsigned integers in the order of the values."""
    if raster.dtype.kind == "u":
        return raster
    bits = np.ascontiguousarray(raster, dtype=np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _device(array: npt.NDArray[Any]) -> Any:
    """Array on the device for one call."""
    if array.size == 0:
        return cuda.to_device(np.zeros(1, array.dtype))[:0]
    return cuda.to_device(np.ascontiguousarray(array))


_resident: dict[int, tuple[npt.NDArray[Any], Any]] = {}
_MOST_RESIDENT = 6  # offsets, pixels and weights at two resolutions


def _kept(array: npt.NDArray[Any]) -> Any:
    """Array of an index on the device, where it stays, since every date and band uses it."""
    if array.size == 0:
        return _device(array)
    # The host array is held too, so that no other one can have its identity.
    if id(array) not in _resident:
        if len(_resident) >= _MOST_RESIDENT:
            _resident.clear()
        _resident[id(array)] = (array, _device(array))
    return _resident[id(array)][1]


@cuda.jit(device=True)
def _value(raster, pixels, position):  # type: ignore[no-untyped-def]
    return raster[pixels[position]] if len(pixels) > 0 else raster[position]


@cuda.jit(device=True)
def _usable(value, excluded, position, has_nodata, nodata):  # type: ignore[no-untyped-def]
    if value != value:
        return False
    if has_nodata and value == nodata:
        return False
    return not (len(excluded) > 0 and excluded[position] != 0)


@cuda.jit(device=True)
def _share(weights, position):  # type: ignore[no-untyped-def]
    return float64(weights[position]) if len(weights) > 0 else 1.0


@cuda.jit(device=True)
def _combine(shared, thread):  # type: ignore[no-untyped-def]
    """Sum one partial sum per thread; every thread of the block calls it."""
    cuda.syncthreads()
    step = _THREADS // 2
    while step > 0:
        if thread < step:
            shared[thread] += shared[thread + step]
        cuda.syncthreads()
        step //= 2
    result = shared[0]
    cuda.syncthreads()
    return result


@cuda.jit(device=True)
def _extreme(shared, thread, sign):  # type: ignore[no-untyped-def]
    """Largest of one value per thread, times `sign`; every thread of the block calls it."""
    cuda.syncthreads()
    step = _THREADS // 2
    while step > 0:
        if thread < step:
            shared[thread] = max(shared[thread], shared[thread + step])
        cuda.syncthreads()
        step //= 2
    result = shared[0] * sign
    cuda.syncthreads()
    return result


@cuda.jit
def _zones(  # type: ignore[no-untyped-def]
    raster, keys, offsets, pixels, weights, excluded, has_nodata, nodata, fractions, valid, total, values
):
    zone, thread = cuda.blockIdx.x, cuda.threadIdx.x
    begin, end = offsets[zone], offsets[zone + 1]
    shared = cuda.shared.array(_THREADS, float64)

    covered = used = number = 0.0
    low, high = np.inf, -np.inf
    for position in range(begin + thread, end, _THREADS):
        weight = _share(weights, position)
        covered += weight
        value = _value(raster, pixels, position)
        if _usable(value, excluded, position, has_nodata, nodata):
            used += weight
            number += 1.0
            low = min(low, float64(value))
            high = max(high, float64(value))
    shared[thread] = covered
    covered = _combine(shared, thread)
    shared[thread] = used
    used = _combine(shared, thread)
    shared[thread] = number
    number = _combine(shared, thread)
    shared[thread] = -low
    low = _extreme(shared, thread, -1.0)
    shared[thread] = high
    high = _extreme(shared, thread, 1.0)
    if thread == 0:
        total[zone] = covered
        valid[zone] = used
    if used <= 0.0:  # the same in all threads of the block
        return

    # Deviations from the minimum keep the sums exact.
    first = second = 0.0
    for position in range(begin + thread, end, _THREADS):
        value = _value(raster, pixels, position)
        if _usable(value, excluded, position, has_nodata, nodata):
            deviation = float64(value) - low
            weight = _share(weights, position)
            first += weight * deviation
            second += weight * deviation * deviation
    shared[thread] = first
    first = _combine(shared, thread) / used
    shared[thread] = second
    second = _combine(shared, thread) / used
    if thread == 0:
        values[zone, 0] = low + first
        values[zone, 1] = max(0.0, second - first * first) ** 0.5
        values[zone, 2] = low
        values[zone, 3] = high

    first_key, last_key = _key_range(raster, keys, begin, end, pixels, excluded, has_nodata, nodata, shared)
    for wanted in range(len(fractions)):
        if len(weights) > 0:
            result = _weighted(
                raster,
                keys,
                begin,
                end,
                pixels,
                weights,
                excluded,
                has_nodata,
                nodata,
                shared,
                last_key,
                fractions[wanted] * used,
            )
        else:
            rank = fractions[wanted] * (number - 1.0)
            lower = float64(int64(rank))
            one, other = low, high
            if low != high:
                one = _order(
                    raster, keys, begin, end, pixels, excluded, has_nodata, nodata, shared, first_key, last_key, lower
                )
                upper = min(lower + 1.0, number - 1.0)
                other = _order(
                    raster, keys, begin, end, pixels, excluded, has_nodata, nodata, shared, first_key, last_key, upper
                )
            result = one + (rank - lower) * (other - one)
        if thread == 0:
            values[zone, 4 + wanted] = result


@cuda.jit(device=True)
def _key_range(raster, keys, begin, end, pixels, excluded, has_nodata, nodata, shared):  # type: ignore[no-untyped-def]
    """Smallest and largest key of a zone."""
    thread = cuda.threadIdx.x
    smallest, largest = np.inf, -np.inf
    for position in range(begin + thread, end, _THREADS):
        if _usable(_value(raster, pixels, position), excluded, position, has_nodata, nodata):
            key = float64(_value(keys, pixels, position))
            smallest, largest = min(smallest, key), max(largest, key)
    shared[thread] = -smallest
    smallest = _extreme(shared, thread, -1.0)
    shared[thread] = largest
    largest = _extreme(shared, thread, 1.0)
    return int64(smallest), int64(largest)


@cuda.jit(device=True)
def _order(  # type: ignore[no-untyped-def]
    raster, keys, begin, end, pixels, excluded, has_nodata, nodata, shared, low, high, rank
):
    """Value of that rank, counted from 0."""
    thread = cuda.threadIdx.x
    while low < high:  # the same in all threads of the block
        middle = low + (high - low) // 2
        count = 0.0
        for position in range(begin + thread, end, _THREADS):
            if _usable(_value(raster, pixels, position), excluded, position, has_nodata, nodata):
                count += float64(int64(_value(keys, pixels, position)) <= middle)
        shared[thread] = count
        if _combine(shared, thread) > rank:
            high = middle
        else:
            low = middle + 1
    found = -np.inf
    for position in range(begin + thread, end, _THREADS):
        value = _value(raster, pixels, position)
        if _usable(value, excluded, position, has_nodata, nodata) and int64(_value(keys, pixels, position)) == low:
            found = float64(value)
    shared[thread] = found
    return _extreme(shared, thread, 1.0)


@cuda.jit(device=True)
def _next(  # type: ignore[no-untyped-def]
    raster, keys, begin, end, pixels, weights, excluded, has_nodata, nodata, shared, key
):
    """Smallest key above `key`, its value, and its weight; by the whole block."""
    thread = cuda.threadIdx.x
    above = np.inf
    for position in range(begin + thread, end, _THREADS):
        if _usable(_value(raster, pixels, position), excluded, position, has_nodata, nodata):
            candidate = float64(_value(keys, pixels, position))
            if candidate > key:
                above = min(above, candidate)
    shared[thread] = -above
    above = _extreme(shared, thread, -1.0)
    found, weight = -np.inf, 0.0
    for position in range(begin + thread, end, _THREADS):
        value = _value(raster, pixels, position)
        if (
            _usable(value, excluded, position, has_nodata, nodata)
            and float64(_value(keys, pixels, position)) == above
        ):
            found = float64(value)
            weight += _share(weights, position)
    shared[thread] = found
    found = _extreme(shared, thread, 1.0)
    shared[thread] = weight
    return above, found, _combine(shared, thread)


@cuda.jit(device=True)
def _weighted(  # type: ignore[no-untyped-def]
    raster, keys, begin, end, pixels, weights, excluded, has_nodata, nodata, shared, last_key, target_sum
):
    """Weighted percentile between distinct values, where s_i = i w_i + (n - 1) * sum of the weights before i."""
    distinct = 0.0
    key = -1.0
    while key < last_key:  # the same in all threads of the block, like all of what follows
        key, _, _ = _next(raster, keys, begin, end, pixels, weights, excluded, has_nodata, nodata, shared, key)
        distinct += 1.0
    target = target_sum * (distinct - 1.0)
    number = cumulated = s_before = value_before = 0.0
    key = -1.0
    while key < last_key:
        key, value, weight = _next(
            raster, keys, begin, end, pixels, weights, excluded, has_nodata, nodata, shared, key
        )
        s = number * weight + (distinct - 1.0) * cumulated
        if s > target:
            return value_before + (target - s_before) / (s - s_before) * (value - value_before)
        s_before, value_before = s, value
        cumulated += weight
        number += 1.0
    return value_before


@cuda.jit
def _classes(raster, offsets, pixels, weights, counts):  # type: ignore[no-untyped-def]
    zone, thread = cuda.blockIdx.x, cuda.threadIdx.x
    for position in range(offsets[zone] + thread, offsets[zone + 1], _THREADS):
        cuda.atomic.add(counts, (zone, int64(_value(raster, pixels, position))), _share(weights, position))
