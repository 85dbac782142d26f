"""Files of a product in an object store: one list tells names, sizes and entity tags of all of them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hpckit.base.files import digest_json
from hpckit.errors import SceneError
from hpckit.inputs.files import Files, LocalFiles, RemoteFiles
from hpckit.inputs.s3files import fetch, list_below
from hpckit.inputs.transfer import AbsentError, TransferError
from hpckit.inputs.uri import is_remote, name_of
from hpckit.inputs.webfiles import WebFiles

_REQUEST: Final = 8 * 2**20
"""Bytes of one request."""
_AS_THEY_ARE: Final = "/!$&'()*+,;=:@~-._"
"""Characters of keys that stand for themselves in a URI."""


class StoredFiles(RemoteFiles):
    """Files of a product in an object store.

    Parameters
    ----------
    uri : str
        Of its folder, `s3://bucket/x/A.SAFE`.

    Raises
    ------
    OSError
        If it cannot be listed, or there is nothing (`AbsentError`).
    SceneError
        If the library is missing.
    """

    def __init__(self, uri: str) -> None:
        objects = {one.name: one for one in list_below(uri)}
        if not objects:
            raise AbsentError("nothing is there")
        self._tags = {name: one.tag for name, one in objects.items()}
        super().__init__(name_of(uri), uri, {name: one.size for name, one in objects.items()})

    @property
    def state(self) -> str:
        """Digest of the list: it changes when any file does."""
        return digest_json(self.checksums())

    def uri(self, name: str) -> str:
        """Where a file lies, for `hpckit.inputs.opening`."""
        return f"{self.href}/{quote(name, safe=_AS_THEY_ARE)}"

    def name_of(self, uri: str) -> str:
        """Name, relative to the SAFE folder, of a file whose place `uri` gave."""
        return next((name for name in self._sizes if self.uri(name) == uri), uri)

    def tag(self, name: str) -> str:
        """Entity tag of a file."""
        return self._tags[name]

    def checksums(self) -> list[list[object]]:
        """Name, size and entity tag of all files."""
        return [[name, self._sizes[name], self._tags[name]] for name in self.names()]

    @contextmanager
    def _open(self, name: str) -> Iterator[Iterator[bytes]]:
        try:
            yield self._pieces(name)
        except OSError as error:
            raise SceneError(f"{self.name}: {name} cannot be read") from error

    def _pieces(self, name: str) -> Iterator[bytes]:
        """Content of the file that was listed, and of no other: what changed meanwhile may be half written."""
        for start in range(0, self._sizes[name], _REQUEST):
            try:
                piece = fetch(self.uri(name), start, start + _REQUEST)
            except AbsentError:
                raise TransferError(errno.EAGAIN, "it went away since it was listed") from None
            if (piece.size, piece.tag.strip('"')) != (self._sizes[name], self._tags[name].strip('"')):
                raise TransferError(errno.EAGAIN, "it was replaced since it was listed")
            yield piece.data


def files_at(href: str) -> Files:
    """Files of a product: of a folder, zip file, or folder of an object store or web server.

    Raises
    ------
    OSError
        If a store cannot be asked for it.
    SceneError
        If it cannot be read.
    """
    if not is_remote(href):
        return LocalFiles(Path(href))
    return StoredFiles(href) if href.startswith("s3://") else WebFiles(href)
