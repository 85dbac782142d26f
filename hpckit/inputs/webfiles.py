"""Files of a product on a web server, which lists none: each is asked for by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

from hpckit.errors import SceneError
from hpckit.inputs.files import RemoteFiles
from hpckit.inputs.remote import RemoteFile, opened
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import name_of, within

_REQUEST: Final = 8 * 2**20
"""Bytes of one request."""


class WebFiles(RemoteFiles):
    """Files of a product on a web server.

    Parameters
    ----------
    uri : str
        Of its folder, `https://host/x/A.SAFE`; a signature at its end is that of all files.
    known : iterable of str
        Names of files of which others say that they are there.
    """

    def __init__(self, uri: str, known: Iterable[str] = ()) -> None:
        self._found = _Found(uri)
        self._known = sorted(known)
        super().__init__(name_of(uri), uri, self._found)

    def names(self) -> list[str]:
        """Files that others, or the server, said to be there."""
        return sorted({*self._known, *self._found})

    def uri(self, name: str) -> str:
        """Where a file lies, for `hpckit.inputs.opening`."""
        return within(self.href, name)

    def name_of(self, uri: str) -> str:
        """Name, relative to the folder, of a file whose place `uri` gave."""
        return unquote(urlsplit(uri).path).removeprefix(f"{unquote(urlsplit(self.href).path).rstrip('/')}/")

    def tag(self, name: str) -> str:
        """Entity tag of a file."""
        return self._found.file(name).tag

    @contextmanager
    def _open(self, name: str) -> Iterator[Iterator[bytes]]:
        file = self._found.file(name)
        try:
            yield (file.read(start, start + _REQUEST) for start in range(0, file.size, _REQUEST))
        except OSError as error:
            raise SceneError(f"{self.name}: {name} cannot be read") from error


class _Found(Mapping[str, int]):
    """Sizes of files by name; a server is asked for each name once."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, RemoteFile | None] = {}

    def file(self, name: str) -> RemoteFile:
        """One of the files.

        Raises
        ------
        KeyError
            If it is not there.
        SceneError
            If the server does not tell.
        """
        if name not in self._files:
            self._files[name] = self._asked(name)
        found = self._files[name]
        if found is None:
            raise KeyError(name)
        return found

    def _asked(self, name: str) -> RemoteFile | None:
        address = within(self._folder, name)
        try:
            return opened(address, is_new=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SceneError(f"{without_secrets(address)} cannot be read") from error

    def __getitem__(self, name: str) -> int:
        return self.file(name).size

    def __iter__(self) -> Iterator[str]:
        return (name for name, file in self._files.items() if file is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
