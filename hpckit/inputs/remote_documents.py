"""Metadata documents on servers: small, and asked for again and again, so that a process keeps them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from hpckit.inputs.remote import fetch
from hpckit.inputs.transfer import AbsentError, replaced

_REQUEST: Final = 8 * 2**20
"""Bytes of one request for an object whose size is not known."""
_KNOWN: Final = 4096
"""Documents that are kept: a product has some hundred."""


class Document(NamedTuple):
    """An object, or the rest of one."""

    content: bytes
    tag: str
    """Entity tag of this version."""


@lru_cache(maxsize=_KNOWN)
def document(uri: str) -> Document | None:
    """A document, which a process asks for once; None if there is none.

    Raises
    ------
    OSError
        If it cannot be read.
    SceneError
        If the address is refused, or a library is missing.
    """
    try:
        return whole(uri)
    except AbsentError:
        return None


def forget() -> None:
    """Ask servers again for what this process knows."""
    document.cache_clear()


def whole(uri: str, start: int = 0) -> Document:
    """All of an object from a position on; raises what `document` does, and `AbsentError` if there is none."""
    piece = fetch(uri, start, start + _REQUEST)
    data, position = [piece.data], start + len(piece.data)
    while piece.data and position < piece.size:
        size, tag = piece.size, piece.tag
        piece = fetch(uri, position, position + _REQUEST)
        if (piece.size, piece.tag) != (size, tag):
            raise replaced(uri)
        data.append(piece.data)
        position += len(piece.data)
    return Document(b"".join(data), piece.tag)
