"""Whole files from servers: written in pieces, resumed where an earlier try ended, compared with their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from hpckit.errors import SceneError
from hpckit.inputs.remote import fetch
from hpckit.inputs.transfer import ETAG, replaced, without_secrets


def download(
    uri: str,
    path: Path,
    nbytes: int | None,
    digest: str,
    request: int,
    received: Callable[[int], None] = lambda nbytes: None,
) -> None:
    """Write a file, going on where an earlier try ended.

    Parameters
    ----------
    nbytes : int, optional
        Size that it must have.
    digest : str
        As `Asset.digest`: of these only an entity tag is compared here.
    request : int
        Bytes of one request: what is lost at most when a connection breaks.
    received : callable
        Called with the bytes of each piece that was written.

    Raises
    ------
    OSError
        If it cannot be read from its server, or written here.
    SceneError
        If it is another file than its metadata say.
    """
    tag = digest.removeprefix(ETAG) if digest.startswith(ETAG) else ""
    with path.open("ab") as file:
        size = nbytes
        while size is None or file.tell() < size:
            piece = fetch(uri, file.tell(), file.tell() + request)
            if (size is not None and piece.size != size) or (tag and piece.tag != tag):
                file.truncate(0)
                raise replaced(uri)
            size, tag = piece.size, piece.tag
            file.write(piece.data)
            file.flush()
            received(len(piece.data))
        if file.tell() > size:  # what was there is of another file
            file.truncate(0)
            raise replaced(uri)


def digest_of(path: Path, algorithm: str) -> str:
    """Digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def is_comparable(digest: str) -> bool:
    """Whether a digest can be computed from a file: not an entity tag, nor none."""
    return bool(digest.partition(":")[2]) and not digest.startswith(ETAG)


def require_digest(path: Path, uri: str, digest: str) -> None:
    """Refuse a file that has another digest than its metadata state.

    Raises
    ------
    SceneError
        If it does.
    """
    if not is_comparable(digest):
        return
    algorithm, _, expected = digest.partition(":")
    if digest_of(path, algorithm) != expected.lower():
        raise SceneError(f"the {algorithm} digest of {without_secrets(uri)} is not the one that its metadata state")
