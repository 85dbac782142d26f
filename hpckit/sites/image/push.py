"""Bringing an image to where jobs run: by ssh to a site, or through an OCI registry; and signing it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hpckit.base.files import PARTIAL
from hpckit.errors import ImageError
from hpckit.sites.image.sif import read_header
from hpckit.sites.image.tools import command_of
from hpckit.sites.login.copying import push
from hpckit.sites.login.ssh import session_for
from hpckit.sites.site import Site

_REASONS: Final = (
    (
        r"no such host|connection refused|i/o timeout|no route|network is unreachable",
        "does not answer",
        "is its name right, and does this machine reach it?",
    ),
    (r"HTTP response to HTTPS", "speaks plain HTTP", "use --no-https if you trust the way to it"),
    (r"certificate", "has no certificate that this machine trusts", "ask who runs it for its authority"),
    (r"\b40[13]\b|[Uu]nauthorized|[Dd]enied|authentication required", "does not let you", "log in: {login}"),
    (r"\b404\b|not found|MANIFEST_UNKNOWN|NAME_UNKNOWN", "has no such image", "is its name right, and its tag?"),
)
"""What Apptainer and registries say, what it means, and what helps."""
_KEPT: Final = 4000
"""Bytes of the end of what a program said, in which its reason is looked for."""


def push_to_registry(path: Path, target: str, *, command: str = "apptainer", tls: bool = True) -> None:
    """Push to `oras://…`; `apptainer registry login` gives the permission.

    Parameters
    ----------
    tls : bool
        Off for a registry that speaks plain HTTP.

    Raises
    ------
    ImageError
        If the registry is not there, or refuses.
    """
    read_header(path)
    _require_oras(target)
    found, _, _ = command_of(command)
    code, said = _heard([found, "push", *([] if tls else ["--no-https"]), str(path), target])
    if code != 0:
        raise _refusal(target, "the registry did not take the image", said, command)


def pull_from_registry(source: str, path: Path, *, command: str = "apptainer", tls: bool = True) -> None:
    """Fetch an image from `oras://…`; it appears under its name when it is whole.

    Raises
    ------
    ImageError
        If the registry is not there, refuses, has no such image, or what it has is no image.
    """
    _require_oras(source)
    found, _, _ = command_of(command)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}{PARTIAL}.sif")
    try:
        words = [found, "pull", "--force", *([] if tls else ["--no-https"]), str(partial), source]
        code, said = _heard(words)
        if code != 0:
            raise _refusal(source, "the image cannot be had", said, command)
        read_header(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def push_to_site(path: Path, site: Site, remote: str) -> None:
    """Copy to a folder or file of a site over its login, one that is open if there is one.

    Raises
    ------
    LoginError
        If the login does not work, or nothing can be written there.
    """
    read_header(path)
    folder, _, name = remote.rpartition("/") if remote.endswith(".sif") else (remote, "", path.name)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".push-") as aside:
        named = path
        if name != path.name:
            named = Path(aside) / name
            os.link(path, named)
        push(session_for(site), [named], folder or ".")


def push_to_host(path: Path, target: str) -> None:
    """Copy to `[user@]host:path` by rsync over ssh; it appears there when it is whole.

    Raises
    ------
    ImageError
        If it cannot be copied.
    """
    read_header(path)
    # rsync writes to a temporary name and renames; --partial-dir lets a cut copy go on.
    words = ["rsync", "--chmod=a+r", "--partial-dir=.hpckit-partial", "--info=progress2", str(path), target]
    try:
        code = subprocess.run(words, check=False).returncode
    except FileNotFoundError:
        raise ImageError("rsync is not found", hint="install it, or copy the image by scp") from None
    if code != 0:
        raise ImageError(
            f"{target}: the image was not copied (rsync ended with {code})",
            hint="check the login with `hpckit login check SITE`; the same command continues where it stopped",
        )


def sign(path: Path, *, command: str = "apptainer") -> None:
    """Sign with the user's key; its passphrase is asked for by Apptainer.

    Raises
    ------
    ImageError
        If there is no key, or the file cannot be written.
    """
    read_header(path)
    found, _, _ = command_of(command)
    if subprocess.run([found, "sign", str(path)], check=False).returncode != 0:
        raise ImageError(f"{path}: not signed", hint=f"`{command} key newpair` makes a key")


def _require_oras(uri: str) -> None:
    if not re.fullmatch(r"oras://[^/\s]+/\S+", uri):
        raise ImageError(f"{uri!r} names no image in a registry", hint="write oras://REGISTRY/NAME:TAG")


def _heard(words: Sequence[str]) -> tuple[int, str]:
    """Run a program whose progress people see; its exit code, and the end of what it said."""
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while block := os.read(process.stderr.fileno(), 4096):
            sys.stderr.buffer.write(block)
            sys.stderr.buffer.flush()
            said = (said + block)[-_KEPT:]
    return process.returncode, said.decode(errors="replace")


def _refusal(uri: str, what: str, said: str, command: str) -> ImageError:
    registry = uri.removeprefix("oras://").partition("/")[0]
    login = f"{command} registry login --username NAME oras://{registry}"
    reason = next((item for item in _REASONS if re.search(item[0], said)), None)
    if reason is not None:
        return ImageError(f"{uri}: {what}: {registry} {reason[1]}", hint=reason[2].format(login=login))
    lines = [line for line in said.splitlines() if line.strip()]
    return ImageError(f"{uri}: {what}: {lines[-1].strip() if lines else 'no reason given'}", hint=f"log in? {login}")
