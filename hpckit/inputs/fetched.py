"""Copies of remote files that `hpckit fetch` brought: their names, and where this process looks for them.

The name of a copy says which version of which file it is: of a file that was replaced since there is no copy, and two
files of one name never stand for each other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import RemotePlace, name_of

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST: Final = 120
"""Characters of a name; ids and names of items are others' texts."""
_TAG: Final = 10
"""Hexadecimal digits."""
_LONGEST_KEY: Final = 200
_CHUNK: Final = re.compile(r"(?:\+c)?(?:\+\d+(?:\.\d+)*)+$|\+(?:c(?:\.\d+)*|\.?z[a-z]+(?:\.json)?)$")
"""End of the name of an object's copy, after that of its array."""
ABSENT: Final = b"hpckit: the server has no such object\n"
"""Content of the copy of an object that its server does not have, as Zarr permits it of some: so it is never taken
for one that was not fetched yet, nor the other way round."""


class Copy(NamedTuple):
    """What is there of a copy."""

    path: Path | None
    """The copy, if it can be used."""
    fault: str = ""
    """Why one that is there cannot be used."""


_folders: dict[Path, None] = {}
"""Where this process looks; names say the version, so a copy of any folder is right."""


def look_in(folders: Iterable[Path]) -> None:
    """Let this process use the copies in folders."""
    _folders.update(dict.fromkeys(folders))


def copy_name(product: str, band: str, uri: str, nbytes: int | None, digest: str) -> str:
    """Name of a copy below its folder: `<product>/<file>-<version>.<ending>`.

    Parameters
    ----------
    product, band : str
        `Scene.id` and `BandRef.key`: whose file it is, whatever its server calls it.
    uri, nbytes, digest
        As `Asset` has them; a signature in the URI is no part of a version.
    """
    version = hashlib.sha256("\0".join((product, band, without_secrets(uri), str(nbytes), digest)).encode())
    file = PurePosixPath(_safe(name_of(uri)))
    return f"{_safe(product)}/{file.stem}-{version.hexdigest()[:_TAG]}{file.suffix.lower()}"


def find_copy(name: str, nbytes: int | None) -> Copy:
    """Look for a copy; one of another size is not used.

    Parameters
    ----------
    name : str
        As `copy_name` gives it.
    nbytes : int, optional
        Size that it must have; without one nothing tells whether it is whole, and none is used.
    """
    fault = ""
    for folder in _folders:
        path = folder / name
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            fault = f"its copy {path} cannot be read: {error.strerror}"
            continue
        if size == nbytes:
            return Copy(path)
        fault = f"its copy {path} has {size} bytes instead of {nbytes}"
    return Copy(None, fault)


def object_name(place: RemotePlace, key: str) -> str:
    """Name of the copy of an object of a Zarr hierarchy: `<product>-<version>/<array>+<chunk>`.

    Parameters
    ----------
    key : str
        As in the hierarchy: `measurements/reflectance/r10m/b04/0.0`.
    """
    version = hashlib.sha256("\0".join((without_secrets(place.address), place.version)).encode()).hexdigest()
    name = key.replace("/", "+").lstrip(".")
    if "+" in key or len(name) > _LONGEST_KEY or _UNSAFE.search(name.replace("+", "_")):
        array, _, end = key.rpartition("/")
        name = f"{hashlib.sha256(array.encode()).hexdigest()}+{_safe(end)}"
    return f"{_safe(name_of(place.address))}-{version[:_TAG]}/{name}"


def group_of(name: str) -> str:
    """What is counted as one where there are very many copies: of objects the array, of other files the file."""
    return _CHUNK.sub("", name)


def read_object(name: str, start: int = 0, nbytes: int | None = None) -> tuple[Path, bytes | None] | None:
    """Copy of an object of a hierarchy, and its bytes from a position on; None if there is no copy.

    Parameters
    ----------
    nbytes : int, optional
        How many, fewer where it ends; all if not given.

    Returns
    -------
    tuple of Path and bytes, or None
        Without bytes if the server has no such object.

    Raises
    ------
    OSError
        If a copy is there, and cannot be read.
    """
    for folder in _folders:
        path = folder / name
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == len(ABSENT) and file.read() == ABSENT:
                    return path, None
                file.seek(start)
                return path, file.read(-1 if nbytes is None else nbytes)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return None


def _safe(text: str) -> str:
    """A text as the name of a file: no separators, not hidden, not too long; the ending stays."""
    plain = _UNSAFE.sub("_", text).lstrip(".") or "_"
    ending = PurePosixPath(plain).suffix[-10:]
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - len(ending)] + ending
