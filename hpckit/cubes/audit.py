"""Are the shards there that the manifest lists? By size and time stamp, and by content only where these changed.

So that a plan finds what was deleted, cut, replaced or restored from an old copy without reading a cube. What rots on
the disk and keeps its time stamp is found by whoever reads it, or by `hpckit verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from hpckit.base.files import digest
from hpckit.base.quantities import format_count
from hpckit.base.seen import FileState, Seen
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import Objects, get, objects_at
from hpckit.errors import FileUnavailableError

Kind = Literal["missing", "corrupt", "unread"]

_THREADS: Final = 8
"""On a parallel file system each look waits for a server."""
_AT_ONCE: Final = 1000
_GONE: Final = "the file is gone"


@dataclass(frozen=True, slots=True)
class Look:
    """What became of a shard."""

    damage: tuple[Kind, str] | None
    right: tuple[str, FileState, str] | None = None
    """Noted where its content was compared and found right."""


def sound(store: Path, tiles: Iterable[str], seen: Seen) -> Manifest:
    """Load the records of some tiles, without those whose shards are gone or are not the ones that were written."""
    wanted = sorted(tiles)
    manifest = Manifest.load(store, wanted)
    manifest.forget(damaged(store, manifest.records(), seen))
    return manifest


def damaged(store: Path, records: Sequence[ShardRecord], seen: Seen) -> list[str]:
    """Keys of shards that are gone, or are not the ones that were written."""
    objects = objects_at(store)
    if len(records) <= _AT_ONCE:
        looks = _look_at(objects, records, seen)
    else:
        batches = [records[start : start + _AT_ONCE] for start in range(0, len(records), _AT_ONCE)]
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda batch: _look_at(objects, batch, seen), batches)
            looks = [look for batch in found for look in batch]
    seen.add(look.right for look in looks if look.right is not None)
    return [record.key for record, look in zip(records, looks, strict=True) if look.damage is not None]


def damage(objects: Objects, record: ShardRecord) -> tuple[Kind, str] | None:
    """What is wrong with the bytes of a shard; None if they are those of its record."""
    try:
        data = get(objects, record.key)
    except FileNotFoundError:
        return ("missing", _GONE) if record.nbytes else None
    except FileUnavailableError as error:
        return "unread", error.message
    if len(data) != record.nbytes:
        return "corrupt", f"{format_count(len(data), 'byte')} instead of {record.nbytes}"
    return None if digest(data) == record.digest else ("corrupt", "checksum differs")


def _look_at(objects: Objects, records: Sequence[ShardRecord], seen: Seen) -> list[Look]:
    return [_look(objects, record, seen) for record in records]


def _look(objects: Objects, record: ShardRecord, seen: Seen) -> Look:
    try:
        status = objects.status(record.key)
    except FileNotFoundError:
        return Look(("missing", _GONE) if record.nbytes else None)
    except FileUnavailableError:
        return Look(None)  # whoever reads it will say
    if status.st_size == record.nbytes and status.st_mtime_ns == record.mtime:
        return Look(None)
    path = f"{objects.path}/{record.key}"
    if status.st_size == record.nbytes and seen.has(path, status, record.digest):
        return Look(None)
    found = damage(objects, record)
    if found is not None and found[0] == "unread":
        return Look(None)  # nothing is known of it
    return Look(found, None if found else (path, status, record.digest))
