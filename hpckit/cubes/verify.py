"""Verify: compare the shards of a cube with its manifest and with the planned inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from hpckit.base.files import PARTIAL
from hpckit.base.quantities import format_count, reading_threads
from hpckit.cubes.audit import damage
from hpckit.cubes.held import WHOLE, Held
from hpckit.cubes.ingest import Shard, kept, rows_of_windows, shards
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import Objects
from hpckit.sensors.model import Acquisition

Kind = Literal["missing", "corrupt", "stale", "unread"]

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Fault:
    """A faulty shard."""

    key: str
    kind: Kind
    detail: str
    unit: str
    """Unit that writes it again."""


def verify(
    spec: CubeSpec,
    tiles: Mapping[str, Sequence[Acquisition]],
    manifest: Manifest,
    progress: Callable[[int, int], None] = lambda done, total: None,
    held: Held = WHOLE,
) -> list[Fault]:
    """Check every shard of the cube by its checksum.

    Parameters
    ----------
    tiles : mapping of str to sequence of Acquisition
        What stands on each tile's time axis.
    progress : callable
        Called with the number of shards checked and of all.
    held : Held
        Windows that the cube holds. Other windows need not be there; those that are there from before are checked.

    Returns
    -------
    list of Fault
        *missing*: never written, or gone. *corrupt*: other bytes than were written. *stale*: made from
        other scenes than the campaign now selects, or a date of it failed. *unread*: the file system refuses just
        now; nothing is known of it.
    """
    wanted = [
        (unit.id, shard)
        for tile, acquisitions in tiles.items()
        for unit in rows_of_windows(spec, tile, acquisitions, held)
        for shard in [*shards(spec, unit, acquisitions), *kept(spec, unit, acquisitions, manifest)]
        if not shard.is_kept or manifest.get(shard.key) is not None
    ]
    objects = spec.objects
    looks = look_at(wanted, lambda item: _check(objects, item[0], item[1], manifest), progress)
    return [fault for _, fault in looks if fault is not None]


def look_at(
    items: Sequence[_Item], look: Callable[[_Item], _Found], progress: Callable[[int, int], None]
) -> Iterator[tuple[_Item, _Found]]:
    """Look at many files, several at a time, and report how far that is."""
    with ThreadPoolExecutor(reading_threads()) as pool:
        for done, found in enumerate(zip(items, pool.map(look, items), strict=True), 1):
            progress(done, len(items))
            yield found


def leftovers(cube: Path) -> Iterator[Path]:
    """Files that a killed writer left under a temporary name."""
    return cube.rglob(f".*{PARTIAL}*")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left; only while nobody writes."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


def _check(cube: Objects, unit: str, shard: Shard, manifest: Manifest) -> Fault | None:
    record = manifest.get(shard.key)
    if record is None:
        return Fault(shard.key, "missing", "never written", unit)
    found = damage(cube, record)
    if found is not None:
        return Fault(shard.key, *found, unit)
    if record.inputs != shard.inputs:
        return Fault(shard.key, "stale", _difference(record, shard), unit)
    return None


def _difference(record: ShardRecord, shard: Shard) -> str:
    failed = sum(not inputs for inputs in record.inputs)
    if failed:
        return f"{failed} of {format_count(len(record.inputs), 'date')} failed"
    made_from, new = format_count(len(record.inputs), "date"), len(set(shard.inputs) - set(record.inputs))
    return f"made from {made_from}; {format_count(new, 'date')} of other inputs"
