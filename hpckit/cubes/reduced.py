"""Pixels of an array on coarser levels: a window at a time, since blocks never cross its edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.cubes import blocks
from hpckit.cubes.arrays import Array
from hpckit.cubes.levels import Level
from hpckit.cubes.region import read_region
from hpckit.cubes.sound import Faults, read_sound
from hpckit.errors import ShardError
from hpckit.space.box import Box


@dataclass(slots=True)
class Reduced:
    """Some dates of an array on each level."""

    planes: list[npt.NDArray[Any]]
    """By level, shape (dates, rows, columns): stored numbers, fill value where nothing is valid."""
    partly: set[int] = field(default_factory=set)
    """Places of dates of which something could not be read."""
    faults: Faults = field(default_factory=Faults)


def reduced(array: Array, dates: Sequence[int], levels: Sequence[Level], threads: int) -> Reduced:
    """Reduce dates of one block of shards.

    Each shard is opened once. Memory holds the planes of the levels, and the dates of as many windows as there are
    threads.

    Parameters
    ----------
    dates : sequence of int
        Positions on the time axis, rising.
    threads : int
        Windows at a time.

    Raises
    ------
    FileUnavailableError
        If the file system refuses: that is no damage.
    """
    fill = _nothing(array)
    made = Reduced([np.full((len(dates), *level.shape), fill, array.dtype) for level in levels])
    edge, (rows, columns) = array.grid.window, array.shape[1:]
    windows = [(row, column) for row in range(ceil(rows / edge)) for column in range(ceil(columns / edge))]

    def reduce(window: tuple[int, int]) -> None:
        row, column = window
        box = Box(row * edge, column * edge, min(rows, (row + 1) * edge), min(columns, (column + 1) * edge))
        for number, stored in enumerate(_dates(array, box, dates, made)):
            if fill == 0 and not stored.any():
                continue  # 0 is no data, or the mean
            for level, planes, part in zip(levels, made.planes, _on_levels(array, stored, levels), strict=True):
                top, left = row * edge // level.factor, column * edge // level.factor
                planes[number, top : top + part.shape[0], left : left + part.shape[1]] = part

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(reduce, windows))
    return made


def _dates(array: Array, box: Box, dates: Sequence[int], made: Reduced) -> Iterator[npt.NDArray[Any]]:
    """Pixels of a window on each date, without what cannot be read."""
    try:
        stack = read_region(array, box, range(dates[0], dates[-1] + 1))
        yield from (stack[date - dates[0]] for date in dates)
    except ShardError:
        for number, date in enumerate(dates):
            faults = Faults()
            yield read_sound(array, box, range(date, date + 1), faults)[0]
            if faults.shards:
                made.partly.add(number)
                made.faults.shards += faults.shards


def _on_levels(array: Array, stored: npt.NDArray[Any], levels: Sequence[Level]) -> Iterator[npt.NDArray[Any]]:
    """A window on each level."""
    if array.is_categorical:
        countable = stored.dtype == np.uint8 and "flag_masks" not in array.attributes
        for level in levels:
            yield (blocks.modes if countable else blocks.picked)(stored, level.factor)
        return
    nodata = _nodata(array)
    totals, counts, before = stored, np.empty(0, np.int64), 1
    for level in levels:
        if before == 1:
            totals, counts = blocks.sums(stored, level.factor, nodata)
        else:
            totals, counts = (blocks.joined(each, level.factor // before) for each in (totals, counts))
        before = level.factor
        yield blocks.means(totals, counts, array.dtype, nodata, _nothing(array))


def _nodata(array: Array) -> float | None:
    known = array.attributes.get("_FillValue")
    return None if known is None else float(known)


def _nothing(array: Array) -> float:
    """What stands where no pixel is valid."""
    nodata = _nodata(array)
    return array.fill if nodata is None or array.is_categorical else nodata
