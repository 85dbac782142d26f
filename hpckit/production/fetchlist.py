"""What a data mover fetches that has only curl: a file of options for it, or a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from hpckit.errors import SceneError
from hpckit.inputs.fetched import object_name
from hpckit.inputs.transfer import ETAG, without_secrets
from hpckit.inputs.uri import within
from hpckit.production.answers import QUESTION
from hpckit.production.fetchable import Fetchable

_KEPT: Final = "%/:=&?~+!$,;'@()*[]-._"
"""Characters of addresses; all others are escaped, so that none ends a line or a quotation."""
_ANY: Final = (
    "create-dirs",
    "fail",
    "globoff",
    "location",
    "max-redirs = 5",
    'proto-redir = "=http,https"',
    "netrc-optional",
    "retry = 5",
)
_OPTIONS: Final = ("continue-at = -", *_ANY)
_HEAD_OPTIONS: Final = ("next", "head", *_ANY)
"""Of questions whether an object is there, after all that is fetched."""
_ANSWERS: Final = r'write-out = "%{http_code} %{exitcode} %{filename_effective}\n"'
"""Of objects of Zarr hierarchies only answers tell which ones their servers do not have (`answers`)."""
_COLUMNS: Final = ("url", "target", "size", "digest")


def curl_config(files: Sequence[Fetchable], folder: Path, *, with_signatures: bool) -> str:
    """Options for `curl --config`: it goes on where it ended, and asks again where that helps.

    Where sizes are not known, curl writes a line about each answer. Of chunks that writers may have left out, it asks
    whether a band that is not fetched has the same chunk, if none that is fetched would tell.

    Raises
    ------
    SceneError
        If an address has a signature or password that may not be written, or is none that curl reads.
    """
    lines = [*_OPTIONS] if files else []
    if any(file.nbytes is None for file in files):
        lines.append(_ANSWERS)
    for file in files:
        lines += _entry(file, folder, with_signatures)
    asked = {file.name: file for file in _witnesses(files, folder)}
    lines += [*_HEAD_OPTIONS, _ANSWERS] if asked else []
    for file in asked.values():
        lines += _entry(file, folder, with_signatures)
    return "".join(f"{line}\n" for line in lines)


def _witnesses(files: Sequence[Fetchable], folder: Path) -> Iterator[Fetchable]:
    """Chunks of other bands, for those that may be absent where nothing that is fetched tells if that is right."""
    names = {file.name for file in files}
    for file in files:
        what = file.stored
        if what is None or not what.empty_with:
            continue
        keys = [f"{array}/{what.name}" for array in (*what.empty_with, *what.witnesses)]
        others = {key: object_name(what.place, key) for key in keys}
        if not any(name in names or (folder / name).is_file() for name in others.values()):
            yield replace(file, uri=within(what.place.address, keys[0]), name=f"{others[keys[0]]}{QUESTION}")


def _entry(file: Fetchable, folder: Path, with_signatures: bool) -> list[str]:
    if not urlsplit(file.uri).scheme.lower().startswith("http"):
        raise SceneError(
            f"{without_secrets(file.uri)} is in an object store, from which curl cannot fetch",
            hint="fetch where there is a network, or take `--list tsv` for a client of such stores",
        )
    target = _target(folder, file).replace("\\", "\\\\").replace('"', '\\"')
    return [f'url = "{_address(file, with_signatures)}"', f'output = "{target}"']


def table(files: Sequence[Fetchable], folder: Path, *, with_signatures: bool) -> str:
    """URL, target, size in bytes and digest (`sha256:…`), separated by tabs; empty what is not known.

    Raises
    ------
    SceneError
        If an address has a signature or password that may not be written.
    """
    lines = ["\t".join(_COLUMNS)]
    for file in files:
        digest = "" if file.digest.startswith(ETAG) else file.digest
        size = "" if file.nbytes is None else str(file.nbytes)
        lines.append("\t".join((_address(file, with_signatures), _target(folder, file), size, digest)))
    return "".join(f"{line}\n" for line in lines)


def _target(folder: Path, file: Fetchable) -> str:
    target = str(folder / file.name)
    if not target.isprintable():
        raise SceneError(f"{target!r} cannot stand in a list", hint="give `scenes.fetched` a folder of another name")
    return target


def _address(file: Fetchable, with_signatures: bool) -> str:
    parts = urlsplit(file.uri)
    if (parts.query or "@" in parts.netloc) and not with_signatures:
        raise SceneError(
            f"{without_secrets(file.uri)} has a signature or password in its address, which is not written",
            hint="`--with-signatures` writes them: keep the list secret, and use it before they end",
        )
    return quote(parts._replace(fragment="").geturl(), safe=_KEPT)
