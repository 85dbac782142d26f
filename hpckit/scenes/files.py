"""Files of a product, in a SAFE folder or in a zip file that holds one."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.errors import SceneError

_IN_ZIP: Final = re.compile(r"(?P<root>(?:.*/)?[^/]+\.SAFE)/")
_MOST_METADATA: Final = 64 * 2**20
"""Bytes; real metadata files have one or two mebibytes. A zip file may claim to hold any size."""
UNREADABLE: Final = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged or encrypted zip file raises."""


class Files:
    """Files of a product, in a folder or in a zip file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_zip = path.is_file()
        self.root = ""
        self._sizes = self._list_zip() if self.is_zip else self._list_folder()

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of that name, relative to the SAFE folder."""
        return name in self._sizes

    def names(self) -> list[str]:
        """All files, relative to the SAFE folder."""
        return sorted(self._sizes)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises
        ------
        SceneError
            If it is missing, cannot be read, or is too large for metadata.
        """
        if self._sizes.get(name, 0) > _MOST_METADATA:
            raise SceneError(f"{self.path.name}: {name} has {self._sizes[name]} bytes; no metadata are that large")
        with self.open(name) as chunks:
            return b"".join(chunks)

    @contextmanager
    def open(self, name: str) -> Iterator[Iterator[bytes]]:
        """Content of a file in blocks of a mebibyte."""
        if name not in self._sizes:
            raise SceneError(f"{self.path.name}: {name} is missing")
        try:
            if self.is_zip:
                with zipfile.ZipFile(self.path) as archive, archive.open(self._member(name)) as file:
                    yield iter(lambda: file.read(2**20), b"")
            else:
                with (self.path / name).open("rb") as file:
                    yield iter(lambda: file.read(2**20), b"")
        except UNREADABLE as error:
            raise SceneError(f"{self.path.name}: {name} cannot be read") from error

    def _member(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name

    def _list_folder(self) -> dict[str, int]:
        def refuse(error: OSError) -> None:
            raise SceneError(f"{self.path.name}: {error.filename} cannot be read") from error

        sizes = {}
        for folder, _, names in os.walk(self.path, onerror=refuse):
            for name in names:
                path = Path(folder) / name
                with suppress(FileNotFoundError):  # a link to nowhere
                    sizes[path.relative_to(self.path).as_posix()] = path.stat().st_size
        return sizes

    def _list_zip(self) -> dict[str, int]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
        except (*UNREADABLE, ValueError) as error:
            raise SceneError(f"{self.path.name}: the zip file is damaged or truncated") from error
        for member in members:
            if _points_outside(member):
                raise SceneError(f"{self.path.name}: refused, since its member {member!r} points outside of it")
        self.root = self._root_in_zip(members)
        prefix = f"{self.root}/" if self.root else ""
        return {m.removeprefix(prefix): size for m, size in members.items() if m.startswith(prefix)}

    def _root_in_zip(self, members: Iterable[str]) -> str:
        roots = {found["root"] for found in map(_IN_ZIP.match, members) if found}
        if len(roots) > 1:
            raise SceneError(f"{self.path.name}: unsupported: {len(roots)} products in one zip file")
        return roots.pop() if roots else ""


def _points_outside(member: str) -> bool:
    path = member.replace("\\", "/")
    return ".." in PurePosixPath(path).parts or path.startswith("/") or path[1:2] == ":"
