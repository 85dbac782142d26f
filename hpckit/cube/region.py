"""Reading a rectangle of all dates of an array: each shard is opened once, each chunk decoded once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.cube.read import ArrayInfo
from hpckit.cube.shards import MISSING, decode, index_nbytes, read_index
from hpckit.errors import CubeError


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels; its edges may lie beyond the array."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.bottom - self.top, self.right - self.left

    def grown(self, by: int) -> Box:
        """The rectangle with so many more pixels on each side."""
        return Box(self.top - by, self.left - by, self.bottom + by, self.right + by)

    def within(self, shape: Sequence[int]) -> Box:
        """The part within an array of rows and columns."""
        rows, columns = shape[-2:]
        return Box(max(0, self.top), max(0, self.left), min(rows, self.bottom), min(columns, self.right))


def read_region(
    info: ArrayInfo, box: Box, dates: range | None = None, *, threads: int = 1, fill: float = 0
) -> npt.NDArray[Any]:
    """Read a rectangle of an array.

    Parameters
    ----------
    dates : range, optional
        Consecutive positions on the time axis; all if not given.
    threads : int
        Shards that are read and decoded at a time.
    fill : number
        What stands where the array has nothing, and beyond its edges.

    Returns
    -------
    ndarray, shape (dates, rows, columns)

    Raises
    ------
    CubeError
        If a shard is damaged.
    """
    dates = range(info.shape[0]) if dates is None else dates
    stack = np.full((len(dates), *box.shape), fill, dtype=info.dtype)
    shards = list(_shards(info, box, dates))
    if threads == 1 or len(shards) == 1:
        for shard in shards:
            _read_shard(info, box, dates, shard, stack)
        return stack
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda shard: _read_shard(info, box, dates, shard, stack), shards))
    return stack


def _shards(info: ArrayInfo, box: Box, dates: range) -> Iterator[tuple[int, int, int]]:
    """Block, row and column of each shard that holds some of it."""
    inside, edge = box.within(info.shape), info.grid.window
    if not len(dates) or inside.top >= inside.bottom or inside.left >= inside.right:
        return
    for block in range(dates[0] // info.dates_per_shard, dates[-1] // info.dates_per_shard + 1):
        for row in range(inside.top // edge, (inside.bottom - 1) // edge + 1):
            for column in range(inside.left // edge, (inside.right - 1) // edge + 1):
                yield block, row, column


def _read_shard(
    info: ArrayInfo, box: Box, dates: range, shard: tuple[int, int, int], stack: npt.NDArray[Any]
) -> None:
    block, row, column = shard
    path = info.path / "c" / str(block) / str(row) / str(column)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        index = _index(info, descriptor)
        first = block * info.dates_per_shard
        for date in range(max(first, dates[0]), min(first + info.dates_per_shard, dates[-1] + 1)):
            for place, target, part in _chunks(info, box, row, column):
                offset, nbytes = index[(date - first) * info.grid.per_date + place]
                if offset != MISSING:
                    data = os.pread(descriptor, nbytes, offset)
                    stack[date - dates[0]][target] = decode(data, info.dtype, info.grid.chunk)[part]
    except CubeError as error:
        raise _damaged(path, error) from None
    finally:
        os.close(descriptor)


def _damaged(path: Path, error: CubeError) -> CubeError:
    return CubeError(f"{path}: {error}", hint="`hpckit verify`, then `hpckit run` writes it anew")


def _index(info: ArrayInfo, descriptor: int) -> list[tuple[int, int]]:
    """Offset and length of each chunk of a shard."""
    size = os.fstat(descriptor).st_size
    if not info.sharded:
        return [(0, size)]
    count = info.dates_per_shard * info.grid.per_date
    length = index_nbytes(count)
    found = read_index(os.pread(descriptor, length, max(0, size - length)), count)
    return [(int(offset), int(nbytes)) for offset, nbytes in found.tolist()]


def _chunks(
    info: ArrayInfo, box: Box, row: int, column: int
) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Place in the window of each chunk that the box touches, what it fills of the box, and with which part."""
    edge, window, inside = info.grid.chunk, info.grid.window, box.within(info.shape)
    for place in range(info.grid.per_date):
        down, along = divmod(place, info.grid.per_side)
        top, left = row * window + down * edge, column * window + along * edge
        first, last = max(top, inside.top), min(top + edge, inside.bottom)
        start, stop = max(left, inside.left), min(left + edge, inside.right)
        if first < last and start < stop:
            target = slice(first - box.top, last - box.top), slice(start - box.left, stop - box.left)
            yield place, target, (slice(first - top, last - top), slice(start - left, stop - left))
