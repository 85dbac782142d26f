"""The manifest: which shards a cube has, with their checksums and what they were made from.

It lies beside the data, `<cube>/.manifest/<tile>/<writer>.jsonl`: one append-only file per writer and tile, so
that nobody waits for anybody, and nobody reads the records of a continent to write some. The last record of a
shard counts; records carry a counter that grows with every one that a writer sees, so that "last" does not
depend on clocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpckit.base.files import append_line, make_folder, write_text
from hpckit.base.reading import files_below, read_below, typed_line
from hpckit.campaign.owner import manifest_folder

_COMPACTED = "0-compacted.jsonl"


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard, as it was written."""

    key: str
    """Path relative to the cube."""
    nbytes: int
    """0 for a shard that is all fill value and therefore not there."""
    digest: str
    """`hpckit.base.files.digest` of its bytes; empty for a shard that is not there."""
    inputs: tuple[str, ...]
    """Per date, digest of what it was made from; empty where that date is missing since it failed."""
    generation: int = 0
    """Grows with each record of a shard."""
    seal: str = ""
    """`hpckit.cubes.shards.seal_of` its bytes: what a reader compares that reads a part of them."""
    mtime: int = 0
    """Time stamp of the file when it was written, nanoseconds: one with another stamp is looked at by content."""


class Manifest:
    """Records of a cube's shards."""

    def __init__(self, cube: Path, records: dict[str, ShardRecord]) -> None:
        self._folder = manifest_folder(cube)
        self._records = records
        self._tiles: set[str] | None = None

    @classmethod
    def load(cls, cube: Path, tiles: Iterable[str] | None = None) -> Manifest:
        """Read all records, or those of some tiles; a line that was cut by a crash is left out.

        Raises
        ------
        FileUnavailableError
            If some cannot be read at the moment: which shards there are is unknown then.
        """
        records: dict[str, ShardRecord] = {}
        folders = [manifest_folder(cube)] if tiles is None else [manifest_folder(cube) / tile for tile in tiles]
        for content in (content for folder in folders for content in read_below(folder, ".jsonl").values()):
            for line in content.split(b"\n"):
                record = _parse(line)
                if record is None:
                    continue
                known = records.get(record.key)
                if known is None or record.generation >= known.generation:
                    records[record.key] = record
        return cls(cube, records)

    def __len__(self) -> int:
        """Number of shards with a record."""
        return len(self._records)

    def has(self, tile: str) -> bool:
        """Whether any shard of a tile has a record."""
        if self._tiles is None:
            self._tiles = {_tile(key) for key in self._records}
        return tile in self._tiles

    def get(self, key: str) -> ShardRecord | None:
        """Record of a shard; None if it was never written, or found faulty since."""
        record = self._records.get(key)
        return record if record is not None and record.inputs else None

    def latest(self, key: str) -> ShardRecord | None:
        """Last record of a shard, also one that says that it was found faulty: without inputs."""
        return self._records.get(key)

    def records(self) -> list[ShardRecord]:
        """All records that count, by key."""
        return [self._records[key] for key in sorted(self._records) if self._records[key].inputs]

    def append(self, records: Iterable[ShardRecord], writer: str) -> None:
        """Add records, on disk first."""
        lines: dict[str, list[str]] = {}
        self._tiles = None
        for record in records:
            known = self._records.get(record.key)
            numbered = replace(record, generation=known.generation + 1 if known else 0)
            lines.setdefault(_tile(record.key), []).append(_line(numbered))
            self._records[record.key] = numbered
        for tile, mine in lines.items():
            make_folder(self._folder / tile)
            append_line(self._folder / tile / f"{writer}.jsonl", "\n".join(mine))

    def forget(self, keys: Iterable[str]) -> None:
        """Take shards for faulty in this process only; nothing is written."""
        for key in keys:
            if key in self._records:
                self._records[key] = replace(self._records[key], inputs=())

    def disown(self, keys: Iterable[str], writer: str) -> None:
        """Mark shards as faulty, so that the next run writes them again."""
        self.append((ShardRecord(key, 0, "", ()) for key in keys), writer)

    def compact(self) -> None:
        """Join the files of all writers of a tile to one. Only while nobody writes, and with all tiles loaded."""
        lines: dict[str, list[str]] = {}
        for record in self._records.values():
            lines.setdefault(_tile(record.key), []).append(_line(record))
        for tile, mine in lines.items():
            paths = files_below(self._folder / tile, ".jsonl")
            if len(paths) < 2:
                continue
            write_text(self._folder / tile / _COMPACTED, "\n".join(mine) + "\n")
            for path in paths:
                if path.name != _COMPACTED:
                    path.unlink()


def _tile(key: str) -> str:
    return key.partition("/")[0]


def _line(record: ShardRecord) -> str:
    return json.dumps(asdict(record), separators=(",", ":"))


def _parse(line: bytes) -> ShardRecord | None:
    try:
        return typed_line(ShardRecord, line)
    except (ValueError, RecursionError):
        return None
