"""What the manifest says of shards, for readers: loaded once, and again when a file does not fit it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final

from hpckit.campaign.owner import manifest_folder
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.errors import ShardError

_TILES: Final = 32
"""Tiles whose records are kept in memory."""


class Records:
    """Records of one tile of a cube, or of a composite; threads may read them while one loads them again."""

    def __init__(self, store: Path, tile: str) -> None:
        self._store = store
        self._tile = tile
        self._loading = Lock()
        self._load()

    def get(self, key: str) -> ShardRecord | None:
        """Last record of a shard, as far as it was loaded; without inputs if it was found faulty."""
        return self._manifest.latest(key)

    def editions(self, key: str) -> Iterator[ShardRecord | None]:
        """Last record of a shard as far as it was loaded, and again as long as there are others by now."""
        while True:
            seen = self._manifest
            yield seen.latest(key)
            with self._loading:
                if self._manifest is seen and not self._load_again():
                    return

    def reload(self) -> None:
        """Read the records again if there are others by now."""
        with self._loading:
            self._load_again()

    def _load_again(self) -> bool:
        if self._state() == self._loaded:
            return False
        self._load()
        return True

    def _load(self) -> None:
        self._loaded = self._state()  # before the records: what comes in between is seen by the next look
        self._manifest = Manifest.load(self._store, [self._tile])

    def _state(self) -> list[tuple[str, int, int]]:
        found = []
        for path in sorted((manifest_folder(self._store) / self._tile).glob("*.jsonl")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # joined with others at this moment
            found.append((path.name, status.st_size, status.st_mtime_ns))
        return found


@lru_cache(_TILES)
def records_of(store: Path, tile: str) -> Records:
    """Records of a tile; one object in a process."""
    return Records(store, tile)


def disown(fault: ShardError, writer: str) -> None:
    """Mark the shard that a reader found faulty, so that the next run writes it again."""
    manifest = Manifest.load(fault.store, [fault.key.partition("/")[0]])
    if manifest.get(fault.key) is not None:
        manifest.disown([fault.key], writer)
