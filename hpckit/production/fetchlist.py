"""What a data mover fetches that has only curl: a file of options for it, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from hpckit.errors import SceneError
from hpckit.inputs.transfer import ETAG, without_secrets
from hpckit.production.fetchable import Fetchable

_KEPT: Final = "%/:=&?~+!$,;'@()*[]-._"
"""Characters of addresses; all others are escaped, so that none ends a line or a quotation."""
_OPTIONS: Final = (
    "create-dirs",
    "continue-at = -",
    "fail",
    "globoff",
    "location",
    "max-redirs = 5",
    'proto-redir = "=http,https"',
    "netrc-optional",
    "retry = 5",
)
_ANSWERS: Final = r'write-out = "%{http_code} %{exitcode} %{filename_effective}\n"'
"""Of objects of Zarr hierarchies only answers tell which ones their servers do not have (`answers`)."""
_COLUMNS: Final = ("url", "target", "size", "digest")


def curl_config(files: Sequence[Fetchable], folder: Path, *, with_signatures: bool) -> str:
    """Options for `curl --config`: it goes on where it ended, and asks again where that helps.

    Where sizes are not known, curl writes a line about each answer.

    Raises
    ------
    SceneError
        If an address has a signature or password that may not be written, or is none that curl reads.
    """
    lines = [*_OPTIONS] if files else []
    if any(file.nbytes is None for file in files):
        lines.append(_ANSWERS)
    for file in files:
        if not urlsplit(file.uri).scheme.lower().startswith("http"):
            raise SceneError(
                f"{without_secrets(file.uri)} is in an object store, from which curl cannot fetch",
                hint="fetch where there is a network, or take `--list tsv` for a client of such stores",
            )
        target = _target(folder, file).replace("\\", "\\\\").replace('"', '\\"')
        lines += [f'url = "{_address(file, with_signatures)}"', f'output = "{target}"']
    return "".join(f"{line}\n" for line in lines)


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
