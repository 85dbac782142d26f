"""What a server gave of a file, or why it did not."""

from __future__ import annotations

import errno
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hpckit.errors import SceneError

ETAG: Final = "etag:"
"""Begin of a digest that is the entity tag of a server: it tells two files apart, and cannot be computed from one."""


def digest_of_tag(tag: str) -> str:
    """Digest that is an entity tag; empty if the server gives none."""
    return f"{ETAG}{tag}" if tag else ""


class Piece(NamedTuple):
    """Part of a file."""

    data: bytes
    size: int
    """Bytes of the whole file."""
    tag: str
    """Entity tag: another one means another file; empty if the server gives none."""


class TransferError(OSError):
    """A server did not give what it was asked for; that may pass by itself."""

    def __str__(self) -> str:
        """What happened, without a number."""
        return str(self.strerror)


class AbsentError(TransferError, FileNotFoundError):
    """There is no such file."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ENOENT, reason)


class ForbiddenError(TransferError, PermissionError):
    """A file may not be read: a signature, login or key is missing, wrong or out of date."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, reason)


class ReplacedError(SceneError):
    """A file is another one than was scanned, or than was read before."""


def replaced(uri: str) -> ReplacedError:
    """Say that a file is not the one any more that was scanned."""
    return ReplacedError(f"{without_secrets(uri)} was replaced since it was scanned", hint="scan the products again")


def without_secrets(uri: str) -> str:
    """A URI as messages show it: signatures, names and passwords are left out."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
