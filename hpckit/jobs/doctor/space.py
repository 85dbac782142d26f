"""Folders that hpckit writes to: whether they can be written, and what they have left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpckit.base import account
from hpckit.base.findings import Finding
from hpckit.base.quantities import format_bytes, format_count
from hpckit.sites.probe.here import parallel_file_systems, shared_kind

_LEAST_BYTES: Final = 2**30
_LEAST_FILES: Final = 10_000
SCRATCH: Final = ("SCRATCH", "SCRATCHDIR", "WORK", "PROJECT")
"""Variables by which sites name large folders."""


def examine() -> Iterator[Finding]:
    """The temporary folder, the home folder, this one, and those that the site names."""
    kinds = parallel_file_systems(Path("/proc/mounts").read_text(errors="replace"))
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:
        says = "no temporary folder can be written"
        yield Finding("temporary folder", False, says, "set TMPDIR to a folder on a local disk that you may write")
    else:
        yield from _folder("temporary folder", temporary, kinds, needed=True)
        named = os.environ.get("TMPDIR")
        if named and temporary != Path(named):
            says = f"{named} cannot be written, so {temporary} is used"
            yield Finding("TMPDIR", False, says, "create it, or unset TMPDIR", needed=False)
    yield from _folder("this folder", Path.cwd(), kinds)
    yield from _folder("home folder", account.home(), kinds)
    for name in SCRATCH:
        if os.environ.get(name):
            yield from _folder(f"${name}", Path(os.environ[name]), kinds)


def _folder(what: str, folder: Path, kinds: dict[str, str], *, needed: bool = False) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
        space = os.statvfs(folder)
    except OSError as error:
        yield Finding(what, False, f"{folder}: {error.strerror}", "choose a folder that you may write", needed)
        return
    free, files = space.f_bavail * space.f_frsize, space.f_favail
    kind = shared_kind(folder, kinds)
    says = f"{folder}: {format_bytes(free)} free" + (f", {kind}" if kind else "")
    if free < _LEAST_BYTES:
        yield Finding(
            what, False, says, "delete what is not needed, or choose a folder on another file system", False
        )
    elif space.f_files and files < _LEAST_FILES:
        says = f"{folder}: room for {format_count(files, 'file')} only"
        yield Finding(what, False, says, "delete files, or choose a folder on another file system", needed=False)
    else:
        yield Finding(what, True, says, needed=needed)
