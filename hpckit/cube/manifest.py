"""The manifest: which shards a cube has, with their checksums and what they were made from.

It lies beside the data, `<cube>/.manifest/<writer>.jsonl`: one append-only file per writer, so that nobody
waits for anybody. The last record of a shard counts; records carry a counter that grows with every one that
a writer sees, so that "last" does not depend on clocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from hpckit.files import append_line, write_text

_FOLDER = ".manifest"


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard, as it was written."""

    key: str
    """Path relative to the cube."""
    nbytes: int
    """0 for a shard that is all fill value and therefore not there."""
    digest: str
    """`hpckit.files.digest` of its bytes; empty for a shard that is not there."""
    inputs: tuple[str, ...]
    """Per date, digest of what it was made from; empty where that date is missing since it failed."""
    generation: int = 0
    """Grows with each record of a shard."""


class Manifest:
    """Records of a cube's shards."""

    def __init__(self, cube: Path, records: dict[str, ShardRecord]) -> None:
        self._folder = manifest_folder(cube)
        self._records = records

    @classmethod
    def load(cls, cube: Path) -> Manifest:
        """Read all records; a line that was cut by a crash is left out."""
        records: dict[str, ShardRecord] = {}
        for path in sorted(manifest_folder(cube).glob("*.jsonl")):
            for line in _lines(path):
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

    def get(self, key: str) -> ShardRecord | None:
        """Record of a shard; None if it was never written, or found faulty since."""
        record = self._records.get(key)
        return record if record is not None and record.inputs else None

    def records(self) -> list[ShardRecord]:
        """All records that count, by key."""
        return [self._records[key] for key in sorted(self._records) if self._records[key].inputs]

    def append(self, records: Iterable[ShardRecord], writer: str) -> None:
        """Add records, on disk first."""
        lines = []
        for record in records:
            known = self._records.get(record.key)
            numbered = ShardRecord(
                record.key, record.nbytes, record.digest, record.inputs, known.generation + 1 if known else 0
            )
            lines.append(json.dumps(asdict(numbered), separators=(",", ":")))
            self._records[record.key] = numbered
        if lines:
            self._folder.mkdir(parents=True, exist_ok=True)
            append_line(self._folder / f"{writer}.jsonl", "\n".join(lines))

    def disown(self, keys: Iterable[str], writer: str) -> None:
        """Mark shards as faulty, so that the next run writes them anew."""
        self.append((ShardRecord(key, 0, "", ()) for key in keys), writer)

    def compact(self) -> None:
        """Join the files of all writers to one. Only while nobody writes."""
        paths = sorted(self._folder.glob("*.jsonl"))
        if len(paths) < 2:
            return
        lines = [json.dumps(asdict(record), separators=(",", ":")) for record in self._records.values()]
        write_text(self._folder / "0-compacted.jsonl", "\n".join(lines) + "\n")
        for path in paths:
            if path.name != "0-compacted.jsonl":
                path.unlink()


def manifest_folder(cube: Path) -> Path:
    """Folder of the files of all writers."""
    return cube / _FOLDER


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []  # joined with others at this moment


def _parse(line: bytes) -> ShardRecord | None:
    try:
        values = json.loads(line)
        return ShardRecord(**{**values, "inputs": tuple(values["inputs"])})
    except (ValueError, TypeError, KeyError):
        return None
