"""Overviews of cubes and composites: which there are, and of which shards they were made.

::

    <store>/<tile>/overviews/<r10m>/<r80m | r640m>/<band>[time, y, x]

They are arrays like those that they are made from, so every reader of a cube reads them, and the group of a tile
names them as its pyramid. They lie in the store, or where that cannot be written in a folder of a cache. For each
block of dates, a note says what each date was made from; `hpckit.cubes.overviews` makes what is missing or older.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from math import ceil, log
from pathlib import Path
from typing import Final, Literal

from hpckit.base.files import digest
from hpckit.base.reading import typed
from hpckit.cubes.arrays import Array
from hpckit.cubes.objects import Objects, get, objects_at
from hpckit.cubes.read import Group
from hpckit.cubes.records import Records, records_of
from hpckit.cubes.shards import ChunkGrid

_GOALS: Final = (8, 64)
"""Pixels along an edge that one pixel of an overview covers, or the nearest divisors of a window."""
_CHUNK: Final = 256
_MOST_CHUNKS: Final = 8
"""Along the edge of a shard."""

Files = dict[str, tuple[int, int]]
"""Bytes and time stamp in nanoseconds, by path relative to the root."""
State = Literal["none", "older", "current"]
"""Whether there is an overview of a date, and whether it was made from the shards that are there now."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What is known of a block of dates of an array's overviews."""

    dates: list[str] = field(default_factory=list)
    """What each date was made from; empty where it was not made."""
    files: Files = field(default_factory=dict)
    """Shards of all levels as they were written."""

    def padded(self, count: int) -> list[str]:
        """What each of some dates was made from."""
        return [*self.dates, *[""] * count][:count]


Note = dict[str, Noted]
"""By block."""


@dataclass(frozen=True, slots=True)
class Level:
    """One size of pixels of the overviews of a group."""

    factor: int
    group: str
    """Tile by which `hpckit.cubes.read` finds it: `31UFU/overviews/r10m`."""
    resolution_m: int
    shape: tuple[int, int]
    grid: ChunkGrid

    @property
    def key(self) -> str:
        """Path of its group relative to the store."""
        return f"{self.group}/r{self.resolution_m}m"


def root_of(store: Path, cache: Path | None) -> Path:
    """Folder of the overviews of a store: the store itself, or one in a cache, named after the store's path."""
    if cache is None:
        return store
    real = os.path.realpath(store)
    return cache / f"{store.stem[:60]}-{digest(real.encode())[:16]}"


def levels_of(group: Group) -> list[Level]:
    """Overviews of a group, finest first."""
    array = next(iter(group.arrays.values()))
    found = []
    for factor in factors(array.grid.window):
        rows, columns = (ceil(size / factor) for size in array.shape[1:])
        grid = _chunks(max(rows, columns))
        key = f"{group.tile}/overviews/r{group.resolution_m}m"
        found.append(Level(factor, key, group.resolution_m * factor, (rows, columns), grid))
    return found


def factors(window: int) -> list[int]:
    """Edges of the blocks that become a pixel: each a divisor of the window, and of the next, near 8 and 64."""
    found = [1]
    for goal in _GOALS:
        rest = window // found[-1]
        divisors = [found[-1] * number for number in range(2, rest + 1) if rest % number == 0]
        if divisors:
            found.append(min(divisors, key=lambda factor: abs(log(factor / goal))))
    return found[1:]


def state(store: Path, root: Path, group: Group, name: str, date: int, moment: int) -> State:
    """Whether there are overviews of one date of an array, and of which shards.

    Parameters
    ----------
    moment : int
        The manifest is looked at once for each.
    """
    array = group.arrays[name]
    objects, key = objects_at(root), note_key(group, name)
    try:
        status = objects.status(key)
    except FileNotFoundError:
        return "none"
    block, place = divmod(date, array.dates_per_shard)
    known = _note(root, key, (status.st_size, status.st_mtime_ns)).get(str(block), Noted()).padded(place + 1)
    if not known[place]:
        return "none"
    wanted = sources(array, _records(store, group.tile, moment), block)
    return "current" if known[place] == wanted[place] else "older"


def sources(array: Array, records: Records, block: int) -> list[str]:
    """What each date of a block of shards was made from; empty where there is nothing yet."""
    rows, columns = (ceil(size / array.grid.window) for size in array.shape[1:])
    count = min(array.dates_per_shard, array.shape[0] - block * array.dates_per_shard)
    every = [
        _identities(array, records, f"{array.key}/c/{block}/{row}/{column}", count)
        for row in range(rows)
        for column in range(columns)
    ]
    dates = zip(*every, strict=True)
    return [digest("\n".join(date).encode()) if any(date) else "" for date in dates]


def _identities(array: Array, records: Records, key: str, count: int) -> list[str]:
    """What the dates of a shard were made from: by its record, or by the file where none knows it."""
    record = records.get(key)
    if record is None:
        try:
            status = array.objects.status(key)
        except FileNotFoundError:
            return [""] * count
        return [f"{status.st_size}:{status.st_mtime_ns}"] * count
    if len(record.inputs) == 1:  # of a composite: all its periods
        return [record.inputs[0]] * count
    return [*record.inputs, *[""] * count][:count]


def read_note(objects: Objects, key: str) -> Note:
    """What is known of the overviews of an array; nothing where there is no note, or no sound one."""
    try:
        found = json.loads(get(objects, key))
        return {str(block): typed(Noted, each) for block, each in found.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def write_note(objects: Objects, key: str, note: Note) -> None:
    """Write what is known of the overviews of an array."""
    known = {block: asdict(each) for block, each in note.items()}
    objects.put(key, json.dumps(known, separators=(",", ":")).encode())


def note_key(group: Group, name: str) -> str:
    """Path of the note of an array, relative to the root."""
    return f"{group.tile}/overviews/r{group.resolution_m}m/.made-{name}.json"


@lru_cache(maxsize=256)
def _records(store: Path, tile: str, _moment: int) -> Records:
    records = records_of(store, tile)
    records.reload()
    return records


@lru_cache(maxsize=4096)
def _note(root: Path, key: str, _state: tuple[int, int]) -> Note:
    return read_note(objects_at(root), key)


def _chunks(edge: int) -> ChunkGrid:
    """How an overview is cut: chunks of about 256, in as few shards as may be."""
    per_side = ceil(edge / _CHUNK)
    chunk = ceil(edge / per_side)
    return ChunkGrid(chunk * min(per_side, _MOST_CHUNKS), chunk)
