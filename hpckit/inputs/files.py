"""Files of a product: in a SAFE folder, or in a zip file that holds one. Those of object stores are in `stored`."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.base.reading import WatchedFile
from hpckit.errors import SceneError
from hpckit.inputs.uri import Location, locate

_IN_ZIP: Final = re.compile(r"(?P<root>(?:.*/)?[^/]+\.SAFE)/")
_MAIN: Final = tuple(
    re.compile(rf"(?:(?P<root>.*)/)?(?:{name})", re.IGNORECASE)
    for name in (
        r"MTD_MSIL(?:1C|2A)\.xml",
        r"S2[A-Z]_(?:OPER|USER)_MTD_SAFL(?:1C|2A)_[^/]*\.xml",
        r"manifest\.safe",
        r"tileInfo\.json",
    )
)
"""The file at the top of a product: of Sentinel-2 (before December 2016 with a longer name), of Sentinel-1, of a
tile in the layout of AWS."""
_MOST_METADATA: Final = 16 * 2**20
"""Bytes; real metadata files have one or two mebibytes. A zip file may claim to hold any size."""
UNREADABLE: Final = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged or encrypted zip file raises."""


class Files:
    """Files of a product, wherever they lie."""

    is_zip = False
    root = ""
    """Folder of the product in a zip file; empty elsewhere."""

    def __init__(self, name: str, href: str, sizes: Mapping[str, int]) -> None:
        self.name = name
        """Of the folder or zip file."""
        self.href = href
        """Where the product lies, as `Scene.href` has it."""
        self._sizes = sizes

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of that name, relative to the SAFE folder."""
        return name in self._sizes

    def names(self) -> list[str]:
        """All files, relative to the SAFE folder."""
        return sorted(self._sizes)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._sizes[name]

    def uri(self, name: str) -> str:
        """Where a file lies, for `hpckit.inputs.opening`."""
        return f"{self.href}/{name}"

    def name_of(self, uri: str) -> str:
        """Name, relative to the SAFE folder, of a file whose place `uri` gave."""
        return uri.removeprefix(f"{self.href}/")

    def checksums(self) -> list[list[object]]:
        """Name, size and checksum of all files, where something lists them; else nothing.

        Raises
        ------
        SceneError
            If it cannot be read.
        """
        return []

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises
        ------
        SceneError
            If it is missing, cannot be read, or is too large for metadata.
        """
        if self._sizes.get(name, 0) > _MOST_METADATA:
            raise SceneError(f"{self.name}: {name} has {self._sizes[name]} bytes; no metadata are that large")
        with self.open(name) as chunks:
            return b"".join(chunks)

    @contextmanager
    def open(self, name: str) -> Iterator[Iterator[bytes]]:
        """Content of a file in blocks.

        Raises
        ------
        SceneError
            If it is missing, or cannot be read.
        """
        if name not in self._sizes:
            raise SceneError(f"{self.name}: {name} is missing")
        with self._open(name) as chunks:
            yield chunks

    def _open(self, name: str) -> AbstractContextManager[Iterator[bytes]]:
        """Content of a file that is listed."""
        raise NotImplementedError


class RemoteFiles(Files):
    """Files of a product on a server, which is asked for the content of each once."""

    def __init__(self, name: str, href: str, sizes: Mapping[str, int]) -> None:
        super().__init__(name, href, sizes)
        self._content: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """Content of a file; see `Files.read`."""
        if name not in self._content:
            self._content[name] = super().read(name)
        return self._content[name]


class LocalFiles(Files):
    """Files of a product in a folder or in a zip file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_zip = path.is_file()
        self._members: dict[str, str] = {}
        self.name = path.name
        super().__init__(path.name, str(path.absolute()), self._list_zip() if self.is_zip else self._list_folder())

    def uri(self, name: str) -> str:
        """Where a file lies, for `hpckit.inputs.opening`."""
        if not self.is_zip:
            return super().uri(name)
        return Location(self.path.absolute(), f"{self.root}/{name}" if self.root else name).uri

    def name_of(self, uri: str) -> str:
        """Name, relative to the SAFE folder, of a file whose place `uri` gave."""
        path, member, _ = locate(uri)
        name = member or super().name_of(path.as_posix())
        return name.removeprefix(f"{self.root}/") if self.root else name

    def checksums(self) -> list[list[object]]:
        """Name, size and CRC of all files, as a zip file's directory has them; a folder has none.

        Raises
        ------
        SceneError
            If it cannot be read.
        """
        if not self.is_zip:
            return []
        with open_zip(self.path) as archive:
            own = {info.filename: info.CRC for info in archive.infolist()}
        return [[name, self._sizes[name], own[self._member(name)]] for name in self.names()]

    @contextmanager
    def _open(self, name: str) -> Iterator[Iterator[bytes]]:
        if self.is_zip:
            with open_zip(self.path, name) as archive, archive.open(self._member(name)) as file:
                yield iter(lambda: file.read(2**20), b"")
            return
        try:
            with (self.path / name).open("rb") as plain:
                yield iter(lambda: plain.read(2**20), b"")
        except OSError as error:
            raise SceneError(f"{self.name}: {name} cannot be read") from error

    def _member(self, name: str) -> str:
        """Name of a file as the zip file has it."""
        return self._members[f"{self.root}/{name}" if self.root else name]

    def _list_folder(self) -> dict[str, int]:
        def refuse(error: OSError) -> None:
            raise SceneError(f"{self.path.name}: {error.filename} cannot be read") from error

        sizes = {}
        for folder, _, names in os.walk(self.path, onerror=refuse):
            for name in names:
                path = Path(folder) / name
                if _is_litter(path.relative_to(self.path).as_posix()):
                    continue
                with suppress(FileNotFoundError):  # a link to nowhere
                    sizes[path.relative_to(self.path).as_posix()] = path.stat().st_size
        return sizes

    def _list_zip(self) -> dict[str, int]:
        with open_zip(self.path) as archive:
            found = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
        for member in found:
            if _points_outside(member):
                raise SceneError(f"{self.path.name}: refused, since its member {member!r} points outside of it")
        self._members = {member_path(member): member for member in found if not _is_litter(member_path(member))}
        self.root = self._root_in_zip(self._members)
        prefix = f"{self.root}/" if self.root else ""
        return {m.removeprefix(prefix): found[own] for m, own in self._members.items() if m.startswith(prefix)}

    def _root_in_zip(self, members: Iterable[str]) -> str:
        members = list(members)
        for pattern in (*_MAIN, _IN_ZIP):
            match = pattern.match if pattern is _IN_ZIP else pattern.fullmatch
            roots = {found["root"] or "" for found in map(match, members) if found}
            if len(roots) > 1:
                raise SceneError(
                    f"{self.path.name}: unsupported: {len(roots)} products in one zip file", hint="unpack it"
                )
            if roots:
                return roots.pop()
        return ""


@contextmanager
def open_zip(path: Path, name: str | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading.

    Parameters
    ----------
    name : str, optional
        What is read of it, for the error.

    Raises
    ------
    SceneError
        If it is damaged, or the file system refuses: the refusal is the cause then, also where `zipfile` turns it
        into "not a zip file".
    """
    try:
        file = WatchedFile(path)
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except (*UNREADABLE, ValueError) as error:
            fault = "cannot be read" if file.fault else "is damaged or truncated"
            raise SceneError(f"{path.name}: the zip file {fault}") from (file.fault or error)
        with archive:
            try:
                yield archive
            except UNREADABLE as error:
                raise SceneError(f"{path.name}: {name or 'the zip file'} cannot be read") from (file.fault or error)


def names_in(folder: Path) -> list[str]:
    """Names of what lies in a folder, sorted.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found)


def member_path(member: str) -> str:
    """Path of a member of a zip file as GDAL has it, whatever wrote it: no backslashes, no leading `./`."""
    return member.replace("\\", "/").removeprefix("./")


def _is_litter(name: str) -> bool:
    """Whether a file is one that desktops and packers leave beside those of the product."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")


def _points_outside(member: str) -> bool:
    path = member.replace("\\", "/")
    return ".." in PurePosixPath(path).parts or path.startswith("/") or path[1:2] == ":"
