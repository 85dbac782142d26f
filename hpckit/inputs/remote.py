"""Files that do not lie on this machine, read in ranges as if they did.

What GDAL reads of a file before its pixels is small, and asked for again and again: headers, directories, the chain
of tile parts of JPEG 2000. It is kept. Pixels are read once, in ranges that are joined where they are near. A fault
is remembered, since GDAL says nothing of it, or something else.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from typing import Any, Final, TypeVar

from rasterio.abc import MultiByteRangeResourceContainer

from hpckit.errors import SceneError
from hpckit.inputs import httpfiles, s3files
from hpckit.inputs.transfer import AbsentError, Piece, TransferError, replaced
from hpckit.inputs.uri import is_remote

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")
_HEAD: Final = 2**14
"""Read of a file that is opened: the directory of a Cloud-Optimised GeoTIFF, the headers of JPEG 2000."""
_BLOCK: Final = 2**12
"""Of what is kept. The chain of tile parts of JPEG 2000 takes one for each of them."""
_SMALL: Final = 2**13
"""Bytes of the longest reading of which blocks are kept."""
_GAP: Final = 2**15
"""Bytes between two ranges that cost less than another request."""
_AT_ONCE: Final = 4
"""Requests of a process at a time: what providers allow an account."""
_OPEN: Final = 64
"""Files whose blocks are kept."""
_reading: Final = BoundedSemaphore(_AT_ONCE)
"""Held by each request for pixels: dates are read side by side, each in several ranges."""


def fetch(uri: str, start: int, stop: int) -> Piece:
    """Bytes `start` to `stop` of a remote file, or to its end if it has fewer; see `httpfiles.fetch`."""
    return (s3files.fetch if uri.startswith("s3://") else httpfiles.fetch)(uri, start, stop)


def is_there(uri: str) -> bool:
    """Whether there is a remote file; raises what `fetch` does, but for `AbsentError`."""
    try:
        fetch(uri, 0, 1)
    except AbsentError:
        return False
    return True


class RemoteFile:
    """A remote file, and what was read of it so far; several threads may read at once.

    Parameters
    ----------
    known : tuple of int and str, optional
        Size and entity tag, where they are known: then nothing is asked for before something is read.

    Raises
    ------
    OSError, SceneError
        If it cannot be read.
    """

    def __init__(self, uri: str, known: tuple[int, str] | None = None) -> None:
        head = fetch(uri, 0, _HEAD) if known is None else Piece(b"", *known)
        self.uri, self.size, self.tag = uri, head.size, head.tag
        self.fault: OSError | SceneError | None = None
        """Why the last reading failed, if it did."""
        self.requests, self.nbytes = int(known is None), len(head.data)
        """Sent and received so far."""
        self._lock = Lock()
        self._blocks = {n: head.data[n * _BLOCK : (n + 1) * _BLOCK] for n in range(-(-len(head.data) // _BLOCK))}

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of the file; of short ranges the blocks around are kept."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        if stop - start > _SMALL:
            return self._fetch(start, stop)
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if missing:
            begin = missing[0] * _BLOCK
            data = self._fetch(begin, min((missing[-1] + 1) * _BLOCK, self.size))
            for number in range(missing[0], missing[-1] + 1):
                self._blocks[number] = data[number * _BLOCK - begin : (number + 1) * _BLOCK - begin]
        joined = b"".join(self._blocks[number] for number in range(first, last + 1))
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several ranges (start, stop) at once; those that are near one another by one request."""
        spans = _joined(sorted(ranges))
        read = map if len(spans) == 1 else pooled
        found = dict(zip(spans, read(lambda span: self.read(*span), spans), strict=True))
        return [
            next(
                data[start - first : stop - first]
                for (first, last), data in found.items()
                if first <= start and stop <= last
            )
            for start, stop in ranges
        ]

    def _fetch(self, start: int, stop: int) -> bytes:
        with _reading:
            piece = fetch(self.uri, start, stop)
        with self._lock:
            self.requests += 1
            self.nbytes += len(piece.data)
        if (piece.size, piece.tag) != (self.size, self.tag):
            raise replaced(self.uri)
        return piece.data


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order of their starts, without small gaps between them."""
    spans: list[tuple[int, int]] = []
    for start, stop in ranges:
        if spans and start - spans[-1][1] <= _GAP:
            spans[-1] = spans[-1][0], max(stop, spans[-1][1])
        else:
            spans.append((start, stop))
    return spans


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of a process: a forked one has its own."""
    return ThreadPoolExecutor(_AT_ONCE)


def pooled(ask: Callable[[_Question], _Answer], questions: Sequence[_Question]) -> Iterator[_Answer]:
    """Answers to several questions that servers are asked at once, in the order of the questions."""
    return _pool(os.getpid()).map(ask, questions)


_known: dict[str, RemoteFile] = {}
"""Files of this process and its parent by URI, those used last at the end."""
_knowing: Final = Lock()


def opened(uri: str, *, is_new: bool = False) -> RemoteFile:
    """A remote file, with what this process has read of it before.

    Parameters
    ----------
    is_new : bool
        Ask for it again, since it may be another one by now.

    Raises
    ------
    OSError, SceneError
        If it cannot be read.
    """
    with _knowing:
        file = None if is_new else _known.pop(uri, None)
    if file is None:
        file = RemoteFile(uri)
    with _knowing:
        _known[uri] = file
        while len(_known) > _OPEN:
            del _known[next(iter(_known))]
    return file


@contextmanager
def watched(uri: str) -> Iterator[RemoteFile]:
    """A remote file for readers that say nothing of faults: what failed is raised at the end.

    Raises
    ------
    OSError, SceneError
        If it could not be read, whatever the reader made of that.
    """
    file = opened(uri)
    file.fault = None
    try:
        yield file
    except Exception as error:
        if file.fault is not None:
            raise file.fault from error
        raise
    if file.fault is not None:
        raise file.fault


class _Stream(io.RawIOBase):
    """A remote file as Python's files are."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._position = offset + (0, self._position, self._file.size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        stop = self._file.size if size < 0 else self._position + size
        try:
            data = self._file.read(self._position, stop)
        except (OSError, SceneError) as error:
            self._file.fault = error
            return b""
        self._position += len(data)
        return data

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        ranges = [(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True)]
        try:
            return self._file.read_ranges(ranges)
        except (OSError, SceneError) as error:
            self._file.fault = error
            return [bytes(size) for size in sizes]  # whoever reads them is told at the end


class _Opener(MultiByteRangeResourceContainer):  # type: ignore[misc]
    """How GDAL opens remote files."""

    def open(self, path: str, mode: str = "rb", **_: Any) -> _Stream:
        return _Stream(opened(path))

    def isfile(self, path: str) -> bool:
        return is_remote(path)

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return []

    def mtime(self, path: str) -> int:
        return 0

    def rm(self, path: str) -> None:
        raise TransferError(errno.EROFS, f"{path} is not removed")

    def size(self, path: str) -> int:
        return opened(path).size


OPENER: Final = _Opener()
"""For `rasterio.open`."""
