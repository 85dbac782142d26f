"""A part of a hierarchy as a store of zarr-python, which refuses shards that are gone or are not the ones written.

Zarr itself reads a file that is not there as nodata. Damage within a shard is found by its own codec `crc32c`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from hpckit.cubes.arrays import read_array
from hpckit.cubes.objects import Objects, Opened
from hpckit.cubes.shardreader import require_absent, require_record


class CheckedStore(Store):
    """Files of a hierarchy below a prefix, to read."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, objects: Objects, prefix: str) -> None:
        super().__init__(read_only=True)
        self._objects = objects
        self._prefix = prefix
        self._checked: dict[str, tuple[int, int]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CheckedStore) and (self._objects, self._prefix) == (other._objects, other._prefix)

    def __str__(self) -> str:
        return str(self._objects.path / self._prefix)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Content of a file, or a part of it; of a shard only if it is the one that was written."""
        data = await asyncio.to_thread(self._read, f"{self._prefix}/{key}", byte_range)
        return None if data is None else (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """Parts of files, as `get`."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether a file is there."""
        try:
            await asyncio.to_thread(self._objects.status, f"{self._prefix}/{key}")
        except FileNotFoundError:
            return False
        return True

    async def set(self, key: str, value: Any) -> None:
        """Refuse to write."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse to delete."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Keys of all files."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Keys of the files below a prefix."""
        names = [name async for name in self.list_dir(prefix)]
        for name in names:
            async for key in self.list_prefix(f"{prefix}/{name}".strip("/")):
                yield key
        if not names and prefix and await self.exists(prefix):
            yield prefix

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names directly below a prefix."""
        for name in await asyncio.to_thread(self._objects.list, f"{self._prefix}/{prefix}".rstrip("/")):
            yield name

    def _read(self, key: str, part: Any) -> bytes | None:
        array, _, place = key.rpartition("/c/")
        is_shard = array != "" and place.count("/") == 2  # else a coordinate, or metadata
        try:
            with self._objects.open(key) as opened:
                if is_shard:
                    self._check(key, array, opened)
                return opened.range(*_bounds(part, opened.status.st_size))
        except FileNotFoundError:
            if is_shard:
                require_absent(self._objects, key)
            return None

    def _check(self, key: str, array: str, opened: Opened) -> None:
        """Compare a shard with its record, when it is first touched and when it is another file since."""
        state = (opened.status.st_size, opened.status.st_mtime_ns)
        if self._checked.get(key) == state:
            return
        info = read_array(self._objects, array)
        require_record(self._objects, key, opened, info.chunks_per_shard if info.sharded else None)
        self._checked[key] = state


def _bounds(part: Any, size: int) -> tuple[int, int]:
    """Offset and length of a part of a file."""
    match part:
        case RangeByteRequest():
            return part.start, part.end - part.start
        case OffsetByteRequest():
            return part.offset, max(0, size - part.offset)
        case SuffixByteRequest():
            return max(0, size - part.suffix), min(size, part.suffix)
    return 0, size
