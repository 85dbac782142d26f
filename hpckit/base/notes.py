"""Notes of many writers: one append-only file each, `<folder>/<writer>.jsonl`, read on from where one was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class NewLines:
    """Lines that writers added to their notes since they were last read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def __iter__(self) -> Iterator[bytes]:
        """Whole lines of each file, without those read before; a file that cannot be read now is read later."""
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    content = file.read()
            except OSError:
                continue
            whole = content[: content.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            yield from whole.splitlines()
