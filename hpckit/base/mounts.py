"""Mounts: on which file system a folder lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    source: str
    """Device, or server and path."""
    folder: str
    kind: str
    """`lustre`, `gpfs`, `nfs4`, `xfs`, …"""
    options: tuple[str, ...]


def mount_of(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> Mount | None:
    """The mount that a folder lies on, by the longest path; None where the kernel does not say.

    Parameters
    ----------
    mounts : Path
        The kernel's list (proc(5)): source, folder, kind and options, with spaces written as `\\040`.
    """
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    known = {}
    for line in lines:
        words = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), word) for word in line.split(" ")]
        if len(words) > 3:
            known[words[1]] = Mount(words[0], words[1], words[2], tuple(words[3].split(",")))
    real = folder.resolve()
    return next((known[str(path)] for path in (real, *real.parents) if str(path) in known), None)
