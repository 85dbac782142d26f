"""Where the files of a Zarr hierarchy lie: they are listed, put, and read by key, as a whole or in ranges.

Cube, composites and pictures read and write hierarchies through `Objects` only. Another place to keep them, an object
store for example, is one more class with these functions, and a line in `objects_at`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hpckit.base.files import write_bytes
from hpckit.base.reading import unavailable
from hpckit.base.seen import FileState


class Opened(Protocol):
    """An object as it was when it was opened, whatever is put in its place meanwhile."""

    @property
    def status(self) -> FileState:
        """Bytes and time stamp."""

    def range(self, offset: int, nbytes: int) -> bytes:
        """Bytes from a position on; fewer where the object ends.

        Raises
        ------
        FileUnavailableError
            If they cannot be read at the moment.
        """


class Objects(Protocol):
    """The files of a hierarchy, by key: `31UFU/r10m/B04/c/0/0/0`."""

    @property
    def path(self) -> Path:
        """Folder of the hierarchy's owner and manifest, by which messages name it."""

    def open(self, key: str) -> AbstractContextManager[Opened]:
        """Open an object to read ranges of it.

        Raises
        ------
        FileNotFoundError
            If there is none.
        FileUnavailableError
            If this is unknown at the moment: that is no damage.
        """

    def status(self, key: str) -> FileState:
        """Bytes and time stamp of an object; raises what `open` does."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object: readers see all of it, or what was there before."""

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""

    def list(self, prefix: str) -> list[str]:
        """Names directly below a prefix, sorted, without hidden ones; none where nothing is."""


def objects_at(path: Path) -> Objects:
    """Files of the hierarchy at a path."""
    return Folder(path)


def get(objects: Objects, key: str) -> bytes:
    """Content of an object; raises what `Objects.open` does."""
    with objects.open(key) as opened:
        return opened.range(0, opened.status.st_size)


@dataclass(frozen=True, slots=True)
class Folder(Objects):
    """A hierarchy in a folder of a file system."""

    path: Path

    @contextmanager
    def open(self, key: str) -> Iterator[Opened]:
        """Open a file; a writer that replaces it meanwhile leaves this one as it is."""
        path = self.path / key
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise _judged(path, error) from None
        try:
            yield _OpenFile(path, descriptor, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def status(self, key: str) -> FileState:
        """State of a file."""
        path = f"{self.path}/{key}"
        try:
            return os.stat(path)  # noqa: PTH116 (a hundred thousand times)
        except OSError as error:
            raise _judged(Path(path), error) from None

    def put(self, key: str, data: bytes) -> None:
        """Write a file under a temporary name, and rename it."""
        write_bytes(self.path / key, data)

    def delete(self, key: str) -> None:
        """Remove a file."""
        (self.path / key).unlink(missing_ok=True)

    def list(self, prefix: str) -> list[str]:
        """Names in a folder."""
        folder = self.path / prefix
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unavailable(folder, error) from None


@dataclass(frozen=True, slots=True)
class _OpenFile:
    path: Path
    descriptor: int
    status: FileState

    def range(self, offset: int, nbytes: int) -> bytes:
        try:
            return os.pread(self.descriptor, nbytes, offset)
        except OSError as error:
            raise unavailable(self.path, error) from None


def _judged(path: Path, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileNotFoundError(error.errno, error.strerror, str(path))
    return unavailable(path, error)
