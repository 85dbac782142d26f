"""Striping of a cube on Lustre, where the cube lies on one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from hpckit.base.mounts import mount_of

_STRIPE: Final = ("-c", "1", "-S", "4M")
"""One target per file: shards are some MiB each, and there are many, so files spread over the targets."""


def stripe(folder: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Set the striping of a folder before the first file is written; whether that was done.

    Nothing is done where `lfs` is missing, the folder is not on Lustre, or it holds something already.
    """
    if shutil.which("lfs") is None or not _is_lustre(folder, mounts) or (folder.is_dir() and any(folder.iterdir())):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["lfs", "setstripe", *_STRIPE, folder], capture_output=True, check=False)
    return done.returncode == 0


def _is_lustre(folder: Path, mounts: Path) -> bool:
    """Whether the nearest mount point above a folder is of that kind."""
    mount = mount_of(folder, mounts)
    return mount is not None and mount.kind == "lustre"
