"""Files that were compared with a checksum and found right: not compared again while size and time stamp stay.

One append-only file per writer in a folder of the run directory, `<run>/seen/<what>/<writer>.jsonl`, so that nobody
waits for anybody. What is lost is compared once more; nothing else hangs on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from hpckit.base.files import append_line, write_text
from hpckit.base.notes import NewLines

_COMPACTED = "0-compacted"

Entry = tuple[str, int, int, str]
"""Path, bytes, time stamp in nanoseconds, checksum."""


class FileState(Protocol):
    """What of a file's state is compared, by the names that `os.stat_result` has."""

    @property
    def st_size(self) -> int:
        """Bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """Time stamp, nanoseconds."""


class Seen:
    """Files that were found right."""

    def __init__(self, folder: Path | None, writer: str) -> None:
        """Read what all writers noted; without a folder it is remembered in this process only."""
        self._folder = folder
        self._writer = writer
        self._known: dict[str, list[Any]] = {}
        self._new: Iterable[bytes] = () if folder is None else NewLines(folder)
        self.refresh()

    def has(self, path: str, status: FileState, checksum: str) -> bool:
        """Whether a file is the one that was found right by that checksum."""
        return self._known.get(path) == [status.st_size, status.st_mtime_ns, checksum]

    def checksum(self, path: str, status: FileState) -> str | None:
        """Checksum of a file as it is now; None if it was not noted."""
        size, stamp, checksum = self._known.get(path, (None, None, None))
        return checksum if [size, stamp] == [status.st_size, status.st_mtime_ns] else None

    def refresh(self) -> None:
        """Read what others noted since."""
        self._known |= {name: rest for name, *rest in _parse(self._new)}

    def add(self, found: Iterable[tuple[str, FileState, str]]) -> None:
        """Note files that were found right, by their state before they were read."""
        entries = [(path, status.st_size, status.st_mtime_ns, checksum) for path, status, checksum in found]
        self._known |= {path: rest for path, *rest in entries}
        if self._folder is not None and entries:
            _note(self._folder, self._writer, entries)


def note(folder: Path, writer: str, path: Path, checksum: str) -> None:
    """Note a file that was just written, without reading what others noted."""
    status = path.stat()
    _note(folder, writer, [(str(path), status.st_size, status.st_mtime_ns, checksum)])


def _note(folder: Path, writer: str, entries: Iterable[Entry]) -> None:
    with suppress(OSError):  # a note that is lost costs a second look
        folder.mkdir(parents=True, exist_ok=True)
        append_line(folder / f"{writer}.jsonl", "\n".join(map(json.dumps, entries)))


def compact(folder: Path) -> None:
    """Join the notes of all writers. Only while nobody writes."""
    paths = sorted(folder.glob("*.jsonl"))
    if len(paths) < 2:
        return
    latest = {entry[0]: entry for entry in _entries(folder)}
    write_text(folder / f"{_COMPACTED}.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in latest.values()))
    for path in paths:
        if path.stem != _COMPACTED:
            path.unlink()


def _entries(folder: Path) -> Iterator[Entry]:
    for path in sorted(folder.glob("*.jsonl")):
        with suppress(OSError):
            yield from _parse(path.read_bytes().splitlines())


def _parse(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        with suppress(ValueError, TypeError):  # a line that was cut
            name, size, stamp, checksum = json.loads(line)
            if isinstance(name, str):
                yield name, size, stamp, checksum
