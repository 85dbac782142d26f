"""Copies of remote files that `hpckit fetch` brought: their names, and where this process looks for them.

The name of a copy says which version of which file it is: of a file that was replaced since there is no copy, and two
files of one name never stand for each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import name_of

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST: Final = 120
"""Characters of a name; ids and names of items are others' texts."""
_TAG: Final = 10
"""Hexadecimal digits."""


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


def _safe(text: str) -> str:
    """A text as the name of a file: no separators, not hidden, not too long; the ending stays."""
    plain = _UNSAFE.sub("_", text).lstrip(".") or "_"
    ending = PurePosixPath(plain).suffix[-10:]
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - len(ending)] + ending
