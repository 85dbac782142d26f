"""Making overviews: pixels of 8 and 64 on a side, from the shards of a cube or composite that have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.claims import hold
from hpckit.base.files import make_folder, remove_tree
from hpckit.cubes import attributes, multiscales
from hpckit.cubes.arrays import (
    IN_SHARDS,
    Array,
    ArrayGroup,
    Coordinate,
    Files,
    empty_groups,
    note_in_group,
    parse_array,
    positions,
    read_metadata,
    write_changed,
)
from hpckit.cubes.attributes import WINDOWS
from hpckit.cubes.levels import Level, Noted, levels_of, note_key, read_note, root_of, sources, write_note
from hpckit.cubes.objects import Objects, get, objects_at
from hpckit.cubes.read import Group, read_group, resolutions, tiles
from hpckit.cubes.records import Records, records_of
from hpckit.cubes.reduced import reduced
from hpckit.cubes.shards import assemble, encode_window, split
from hpckit.cubes.sound import Faults
from hpckit.errors import CubeError
from hpckit.space.frame import Frame

_LEVEL: Final = 3
"""Of Zstandard."""
_PARTLY: Final = "!"
"""Before the digest of a date of which something could not be read."""


@dataclass(slots=True)
class Built:
    """What was done."""

    planes: int = 0
    """Dates of bands that were made."""
    kept: int = 0
    """Dates of bands that had not changed."""
    faults: Faults = field(default_factory=Faults)


def build(
    store: Path,
    names: Iterable[str] | None = None,
    *,
    cache: Path | None = None,
    threads: int = 2,
    told: Callable[[str], None] = lambda _: None,
) -> Built:
    """Make the overviews that are missing or older than the shards of a cube or composite.

    It may be killed at any time and called again; of two that build the same tile, one is refused.

    Parameters
    ----------
    names : iterable of str, optional
        Tiles; all if not given.
    cache : Path, optional
        Folder for overviews of stores that cannot be written.
    threads : int
        Shards that are read at a time.
    told : callable
        Gets a line for each array of which something was made.

    Raises
    ------
    BusyError
        If another process builds overviews of a tile.
    CubeError
        If metadata are damaged.
    OSError
        If they cannot be written.
    """
    root, built = root_of(store, cache), Built()
    for tile in tiles(store) if names is None else names:
        lock = root / tile / "overviews" / ".building"
        make_folder(lock.parent)
        with hold(lock, f"building overviews of {tile}"):
            above = [] if root == store else ["", tile]
            write_changed(objects_at(root), empty_groups([*above, f"{tile}/overviews"]))
            groups = [read_group(store, tile, resolution_m) for resolution_m in resolutions(store, tile)]
            for group in groups:
                _build_group(store, root, group, built, threads, told)
            if root == store:
                _publish(objects_at(store), groups)
    return built


def _build_group(
    store: Path, root: Path, group: Group, built: Built, threads: int, told: Callable[[str], None]
) -> None:
    records = records_of(store, group.tile)
    records.reload()
    levels, objects = levels_of(group), objects_at(root)
    if not levels:
        return
    _drop_others(root, group, levels)
    write_changed(objects, empty_groups([levels[0].group]))
    for level in levels:
        write_changed(objects, _metadata(objects, group, level))
    for array in group.arrays.values():
        before = built.planes
        _build_array(objects, group, array, levels, records, built, threads)
        if built.planes > before:
            told(f"{array.key}: {built.planes - before} of {array.shape[0]}")


def _build_array(
    objects: Objects,
    group: Group,
    array: Array,
    levels: Sequence[Level],
    records: Records,
    built: Built,
    threads: int,
) -> None:
    key = note_key(group, array.name)
    note = read_note(objects, key)
    for block in reversed(range(ceil(array.shape[0] / array.dates_per_shard))):
        wanted, noted = sources(array, records, block), note.get(str(block), Noted())
        known = noted.padded(len(wanted))
        if noted.files != _states(objects, noted.files):
            known = [""] * len(wanted)
        if not _changed(wanted, known):
            built.kept += sum(map(bool, wanted))
            continue
        stored = [_Stored.read(objects, array, level, block) for level in levels]
        if not all(each.sound for each in stored):
            known = [""] * len(wanted)
        changed = _changed(wanted, known)
        built.kept += sum(map(bool, wanted)) - len(changed)
        made = reduced(array, [block * array.dates_per_shard + place for place in changed], levels, threads)
        for number, place in enumerate(changed):
            for each, planes in zip(stored, made.planes, strict=True):
                each.put(place, planes[number])
            known[place] = f"{_PARTLY}{wanted[place]}" if number in made.partly else wanted[place]
        files = {name: state for each in stored for name, state in each.write().items()}
        note[str(block)] = Noted(known, files)
        write_note(objects, key, note)
        built.faults.shards += made.faults.shards
        built.planes += len(changed)


def _changed(wanted: Sequence[str], known: Sequence[str]) -> list[int]:
    """Places of dates that are there and were not made from what is there."""
    return [place for place, one in enumerate(wanted) if one and one != known[place]]


def _states(objects: Objects, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Bytes and time stamps of those files that are there."""
    found = {}
    for name in names:
        try:
            status = objects.status(name)
        except FileNotFoundError:
            continue
        found[name] = (status.st_size, status.st_mtime_ns)
    return found


@dataclass(slots=True)
class _Stored:
    """Encoded chunks of a block of an overview."""

    array: Array
    block: int
    windows: dict[tuple[int, int], list[bytes | None]]
    sound: bool

    @classmethod
    def read(cls, objects: Objects, source: Array, level: Level, block: int) -> _Stored:
        array, windows, sound = _array(objects, source, level), {}, True
        rows, columns = (ceil(size / level.grid.window) for size in level.shape)
        for row, column in np.ndindex(rows, columns):
            chunks: list[bytes | None] = [None] * array.chunks_per_shard
            try:
                chunks = split(get(objects, f"{array.key}/c/{block}/{row}/{column}"), array.chunks_per_shard)
            except FileNotFoundError:
                pass  # nothing but fill value, or not made yet
            except CubeError:
                sound = False
            windows[row, column] = chunks
        return cls(array, block, windows, sound)

    def put(self, place: int, plane: npt.NDArray[Any]) -> None:
        """Replace a date."""
        edge, per_date = self.array.grid.window, self.array.grid.per_date
        for (row, column), chunks in self.windows.items():
            part = plane[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
            chunks[place * per_date : (place + 1) * per_date] = encode_window(part, self.array.grid, _LEVEL)

    def write(self) -> dict[str, tuple[int, int]]:
        """Write the shards, and return their states; those that hold fill value only are deleted."""
        keys = []
        for (row, column), chunks in self.windows.items():
            key, data = f"{self.array.key}/c/{self.block}/{row}/{column}", assemble(chunks)
            if data is None:
                self.array.objects.delete(key)
            else:
                self.array.objects.put(key, data)
                keys.append(key)
        return _states(self.array.objects, keys)


def _array(objects: Objects, source: Array, level: Level) -> Array:
    """Array of a level."""
    notes = {name: value for name, value in source.attributes.items() if name != WINDOWS}
    return Array(
        objects,
        f"{level.key}/{source.name}",
        (source.shape[0], *level.shape),
        source.dtype,
        source.dates_per_shard,
        level.grid,
        level=_LEVEL,
        codecs=IN_SHARDS,
        attributes=notes,
    )


def _metadata(objects: Objects, group: Group, level: Level) -> Files:
    """Metadata and coordinates of a level; those along time are copies."""
    where = group.where
    frame = Frame(group.tile, where.epsg, where.transform.c, where.transform.f, {level.resolution_m: level.shape}, {})
    arrays = [_array(objects, array, level) for array in group.arrays.values()]
    coordinates = positions(frame, level.resolution_m, "NaN") | _along_time(group)
    notes = {**group.attributes, **attributes.group_attributes(frame, level.resolution_m)}
    yield from ArrayGroup(level.key, arrays, coordinates, notes).files()


def _along_time(group: Group) -> dict[str, Coordinate]:
    """Coordinates that have no place, as the group has them."""
    found, objects = {}, next(iter(group.arrays.values())).objects
    for name, metadata in group.along_time.items():
        raw = get(objects, "/".join([group.key, name, "c", *("0" for _ in metadata["shape"])]))
        values = np.frombuffer(raw, metadata["data_type"]).reshape(metadata["shape"])
        found[name] = Coordinate(values, metadata["dimension_names"], metadata["attributes"], metadata["fill_value"])
    return found


def _drop_others(root: Path, group: Group, levels: Sequence[Level]) -> None:
    """Remove overviews of another layout."""
    objects = objects_at(root)
    for level, array in ((level, array) for level in levels for array in group.arrays.values()):
        wanted = _array(objects, array, level)
        try:
            known = parse_array(objects, wanted.key, read_metadata(objects, wanted.key))
        except FileNotFoundError:
            continue
        except CubeError:
            known = replace(wanted, dtype="")
        if known.layout != wanted.layout:
            remove_tree(root / wanted.key)
            objects.delete(note_key(group, array.name))


def _publish(objects: Objects, groups: Sequence[Group]) -> None:
    """Name the pyramid in the group of the tile."""
    found: list[tuple[str, str | None, int, Mapping[str, Any]]] = []
    for group in groups:
        asset, before = f"r{group.resolution_m}m", 1
        found.append((asset, None, 1, group.attributes))
        for level in levels_of(group):
            own = f"overviews/r{group.resolution_m}m/r{level.resolution_m}m"
            notes = read_metadata(objects, level.key)["attributes"]
            found.append((own, asset, level.factor // before, notes))
            asset, before = own, level.factor
    note_in_group(objects, groups[0].tile, multiscales.pyramid(found))
