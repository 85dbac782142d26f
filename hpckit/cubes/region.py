"""Reading a rectangle of all dates of an array: each shard is opened once, each chunk decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.cubes.arrays import Array
from hpckit.cubes.shardreader import Place, open_shard
from hpckit.space.box import Box

_LOOKED_UP: Final = 2**13
"""Pixels at once: numpy's copy of their numbers stays in the cache, and is no new memory of the system."""


def read_region(
    array: Array,
    box: Box,
    dates: range | None = None,
    *,
    windows: npt.NDArray[np.bool_] | None = None,
    table: npt.NDArray[np.float32] | None = None,
    threads: int = 1,
) -> npt.NDArray[Any]:
    """Read a rectangle of an array.

    Parameters
    ----------
    dates : range, optional
        Consecutive positions on the time axis; all if not given.
    windows : ndarray of bool, shape (window rows, window columns), optional
        Read only these; the others stay fill value, and take no memory where this is 0.
    table : ndarray of float32, shape (2 ** bits,), optional
        Of an array of integers: what each of them means, by its bits. These are read instead.
    threads : int
        Shards that are read and decoded at a time.

    Returns
    -------
    ndarray, shape (dates, rows, columns)
        Of the type of the array or table; fill value where the array has nothing, and beyond its edges.

    Raises
    ------
    ShardError
        If a shard is gone or damaged.
    """
    dates = range(array.shape[0]) if dates is None else dates
    stack = np.zeros((len(dates), *box.shape), dtype=array.dtype if table is None else table.dtype)
    fill = array.fill if table is None else table[0]
    if fill:  # or NaN
        stack[:] = fill
    shards = [place for place in _shards(array, box, dates) if windows is None or windows[place[1:]]]
    if threads == 1 or len(shards) == 1:
        for shard in shards:
            _read_shard(array, box, dates, shard, stack, table)
        return stack
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda shard: _read_shard(array, box, dates, shard, stack, table), shards))
    return stack


def _shards(array: Array, box: Box, dates: range) -> Iterator[Place]:
    """Block, row and column of each shard that holds some of it."""
    inside, edge = box.within(array.shape), array.grid.window
    if not len(dates) or inside.top >= inside.bottom or inside.left >= inside.right:
        return
    for block in range(dates[0] // array.dates_per_shard, dates[-1] // array.dates_per_shard + 1):
        for row in range(inside.top // edge, (inside.bottom - 1) // edge + 1):
            for column in range(inside.left // edge, (inside.right - 1) // edge + 1):
                yield block, row, column


def _read_shard(
    array: Array,
    box: Box,
    dates: range,
    shard: Place,
    stack: npt.NDArray[Any],
    table: npt.NDArray[np.float32] | None,
) -> None:
    block, row, column = shard
    first, per_date = block * array.dates_per_shard, array.grid.per_date
    parts = {place: (target, part) for place, target, part in _chunks(array, box, row, column)}
    wanted = range(max(first, dates[0]), min(first + array.dates_per_shard, dates[-1] + 1))
    with open_shard(array, shard) as held:
        if held is None:
            return
        numbers = [(date - first) * per_date + place for date in wanted for place in parts]
        for number, chunk in held.chunks(numbers):
            date, place = divmod(number, per_date)
            target, part = parts[place]
            _put(chunk[part], table, stack[first + date - dates[0]][target])


def _put(stored: npt.NDArray[Any], table: npt.NDArray[np.float32] | None, into: npt.NDArray[Any]) -> None:
    if table is None:
        into[...] = stored
        return
    codes = stored.view(f"u{stored.itemsize}")
    step = max(1, _LOOKED_UP // codes.shape[1])
    for top in range(0, len(codes), step):
        rows = slice(top, top + step)
        into[rows] = np.take(table, codes[rows], mode="clip")  # which checks nothing: each integer has its place


def _chunks(
    array: Array, box: Box, row: int, column: int
) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Place in the window of each chunk that the box touches, what it fills of the box, and with which part."""
    edge, window, inside = array.grid.chunk, array.grid.window, box.within(array.shape)
    for place in range(array.grid.per_date):
        down, along = divmod(place, array.grid.per_side)
        top, left = row * window + down * edge, column * window + along * edge
        first, last = max(top, inside.top), min(top + edge, inside.bottom)
        start, stop = max(left, inside.left), min(left + edge, inside.right)
        if first < last and start < stop:
            target = slice(first - box.top, last - box.top), slice(start - box.left, stop - box.left)
            yield place, target, (slice(first - top, last - top), slice(start - left, stop - left))
