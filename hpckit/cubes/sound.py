"""Reading for pictures: what is sound of a rectangle, with fill value where a shard is gone or damaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.cubes.arrays import Array
from hpckit.cubes.region import read_region
from hpckit.errors import ShardError
from hpckit.space.box import Box


@dataclass(slots=True)
class Faults:
    """What could not be read."""

    shards: list[ShardError] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """A sentence for each."""
        return list(dict.fromkeys(str(fault) for fault in self.shards))


def read_sound(array: Array, box: Box, dates: range, faults: Faults, *, threads: int = 1) -> npt.NDArray[Any]:
    """Read a rectangle of consecutive dates; where a shard is gone or damaged, there is fill value.

    Returns
    -------
    ndarray, shape (dates, rows, columns)
        As `hpckit.cubes.region.read_region` gives it.

    Raises
    ------
    FileUnavailableError
        If the file system refuses: that is no damage.
    """
    try:
        return read_region(array, box, dates, threads=threads)
    except ShardError:
        blocks = sorted({date // array.dates_per_shard for date in dates})
        edges = [(block * array.dates_per_shard, (block + 1) * array.dates_per_shard) for block in blocks]
        parts = [range(max(first, dates[0]), min(last, dates[-1] + 1)) for first, last in edges]
        return np.concatenate([_without_damage(array, box, part, faults, threads) for part in parts])


def _without_damage(array: Array, box: Box, dates: range, faults: Faults, threads: int) -> npt.NDArray[Any]:
    """Read dates of one block of shards, without those that are damaged."""
    windows = np.ones([-(-size // array.grid.window) for size in array.shape[1:]], np.bool_)
    while True:
        try:
            return read_region(array, box, dates, windows=windows, threads=threads)
        except ShardError as fault:
            row, column = map(int, fault.key.split("/")[-2:])
            if not windows[row, column]:
                raise
            faults.shards.append(fault)
            windows[row, column] = False
