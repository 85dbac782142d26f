"""File systems: what is to be written to each, and what it has left."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system that a plan writes to."""

    path: Path
    """A folder on it, the first one that is written to."""
    wanted_bytes: int
    free_bytes: int


def disks(wanted: Iterable[tuple[Path, int]]) -> tuple[Disk, ...]:
    """Add up what is to be written, by file system.

    Parameters
    ----------
    wanted : iterable of (Path, int)
        Folders, which need not be there yet, and bytes.
    """
    first: dict[int, Path] = {}
    total: dict[int, int] = {}
    for path, nbytes in wanted:
        device = existing(path).stat().st_dev
        first.setdefault(device, path)
        total[device] = total.get(device, 0) + nbytes
    found = []
    for device, path in first.items():
        space = os.statvfs(existing(path))
        found.append(Disk(path, total[device], space.f_bavail * space.f_frsize))
    return tuple(found)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return path if path.exists() else existing(path.parent)
