"""Bringing an image to where jobs run: by ssh to a site, or to an OCI registry; and signing it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from hpckit.errors import ImageError
from hpckit.image.sif import read_header
from hpckit.image.tools import command_of
from hpckit.login.ssh import session_for
from hpckit.site import Site


def push_to_registry(path: Path, target: str, *, command: str = "apptainer") -> None:
    """Push to `oras://…`; who may is told by `apptainer registry login`.

    Raises
    ------
    ImageError
        If the registry refuses.
    """
    read_header(path)
    found, _, _ = command_of(command)
    if subprocess.run([found, "push", str(path), target], check=False).returncode != 0:
        raise ImageError(
            f"{target}: the registry did not take the image",
            hint=f"log in to it first: {command} registry login, and look at what was said above",
        )


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
        session_for(site).push([named], folder or ".")


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
            hint="`hpckit login check SITE` tells whether the login works; the same command goes on where it was cut",
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
