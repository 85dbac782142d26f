"""Reading shards: the bytes are those that the manifest says, or they are refused.

A file that is not there holds nothing only where the manifest says so. Of a file that is there the size and the tail
are compared with the record, so that an older one, or that of another window, is found by reading a few kilobytes;
each chunk is then compared with its checksum in the tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from hpckit.base.files import digest
from hpckit.base.quantities import format_count
from hpckit.cubes.arrays import Array
from hpckit.cubes.manifest import ShardRecord
from hpckit.cubes.objects import Objects, Opened, get
from hpckit.cubes.records import records_of
from hpckit.cubes.shards import Tail, decode, read_tail, seal_of, split, tail_nbytes
from hpckit.errors import CubeError, ShardError

_GAP: Final = 2**16
"""Bytes between chunks up to which they are read at once."""

_FOUND: Final = "was found damaged, and was not written again since"

Place = tuple[int, int, int]
"""Block of dates, row and column of a shard."""


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard that holds something, opened."""

    array: Array
    key: str
    opened: Opened
    end: bytes
    """Of a file that is a single chunk, all of it."""
    tail: Tail | None
    """None for a file that is a single chunk."""

    def chunks(self, numbers: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Decode chunks; those that are all fill value are left out.

        Raises
        ------
        ShardError
            If one is damaged.
        """
        try:
            for number, chunk in self._encoded(numbers):
                yield number, decode(chunk, self.array.dtype, self.array.grid.chunk)
        except CubeError as error:
            raise ShardError(self.array.objects.path, self.key, "corrupt", error.message) from None

    def _encoded(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Bytes of chunks; neighbours are read at once."""
        tail = self.tail
        if tail is None:
            yield from ((number, self.end) for number in numbers)
            return
        places = sorted((tail.place(number), number) for number in numbers if tail.holds(number))
        while places:
            run, end = 1, sum(places[0][0])
            while run < len(places) and places[run][0][0] - end <= _GAP:
                end, run = max(end, sum(places[run][0])), run + 1
            begin = places[0][0][0]
            data = memoryview(self.opened.range(begin, end - begin))
            for (offset, length), number in places[:run]:
                yield number, tail.unpack(number, data[offset - begin : offset - begin + length])
            places = places[run:]


@contextmanager
def open_shard(array: Array, place: Place) -> Iterator[OpenShard | None]:
    """Open a shard of an array; None where it is rightly not there, since all of it is fill value.

    Raises
    ------
    ShardError
        If it is gone, or is not the one that the manifest says.
    FileUnavailableError
        If the file system refuses: that is no damage.
    """
    objects, key = array.objects, "/".join((array.key, "c", *map(str, place)))
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(objects.open(key))
        except FileNotFoundError:
            require_absent(objects, key)
            yield None
            return
        yield _open(array, key, opened)


def _open(array: Array, key: str, opened: Opened) -> OpenShard:
    if not array.sharded:
        end, _ = require_record(array.objects, key, opened, None)
        return OpenShard(array, key, opened, end, None)
    count = array.chunks_per_shard
    end, record = require_record(array.objects, key, opened, count)
    ours = record is not None and bool(record.seal)
    try:
        tail = read_tail(end, count, ours=ours, checksums=array.checksums)
    except CubeError as error:
        raise ShardError(array.objects.path, key, "corrupt", error.message) from None
    return OpenShard(array, key, opened, end, tail)


def require_absent(objects: Objects, key: str) -> None:
    """Refuse a shard that is not there and should be.

    Raises
    ------
    ShardError
        If its record says that it holds something, or that it was found faulty.
    """
    detail = ""
    for record in _records(objects, key):
        if record is None or (record.inputs and not record.nbytes):
            return
        detail = "the file is gone" if record.inputs else _FOUND
    raise ShardError(objects.path, key, "missing", detail)


def require_record(objects: Objects, key: str, opened: Opened, count: int | None) -> tuple[bytes, ShardRecord | None]:
    """Read the tail of a shard, and compare it with the record.

    Parameters
    ----------
    count : int or None
        Chunks in the shard; None for a file that is a single chunk, which is read as a whole.

    Returns
    -------
    tuple of bytes and ShardRecord or None
        None for a file that no record knows: it is left to its own checksums.

    Raises
    ------
    ShardError
        If it does not fit the last record of the shard.
    """
    size = opened.status.st_size
    first = 0 if count is None else max(0, size - tail_nbytes(count))
    end, detail = opened.range(first, size - first), ""
    for record in _records(objects, key):
        detail = "" if record is None else _misfit(record, opened, end, count)
        if record is not None and not detail:
            return end, record
    if detail:
        raise ShardError(objects.path, key, "corrupt", detail)
    return end, None


def stored_chunks(objects: Objects, record: ShardRecord, count: int, *, sharded: bool) -> list[bytes | None] | None:
    """Encoded chunks of the shard of a record, to be written again; None if it is gone or other bytes are there.

    Raises
    ------
    FileUnavailableError
        If they cannot be read at the moment.
    """
    if not record.nbytes:
        return [None] * count
    try:
        data = get(objects, record.key)
        if digest(data) != record.digest:
            return None
        return split(data, count) if sharded else [data]
    except (FileNotFoundError, CubeError):
        return None


def _misfit(record: ShardRecord, opened: Opened, end: bytes, count: int | None) -> str:
    """Why a shard is not the one of a record; an old record has a digest of the whole file only."""
    size = opened.status.st_size
    if not record.inputs:
        return _FOUND
    if size != record.nbytes:
        return f"{format_count(size, 'byte')} instead of {record.nbytes}"
    same = seal_of(end, count) == record.seal if record.seal else digest(opened.range(0, size)) == record.digest
    return "" if same else "these are not the bytes that were written"


def _records(objects: Objects, key: str) -> Iterator[ShardRecord | None]:
    """Record of a shard, and once more where a run has written records since they were loaded."""
    return records_of(objects.path, key.partition("/")[0]).editions(key)
