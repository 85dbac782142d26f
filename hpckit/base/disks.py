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
    wanted_files: int = 0


def disks(wanted: Iterable[tuple[Path, int, int]]) -> tuple[Disk, ...]:
    """Add up what is to be written, by file system.

    Parameters
    ----------
    wanted : iterable of (Path, int, int)
        Folders, which need not be there yet, bytes and files.
    """
    first: dict[int, Path] = {}
    total: dict[int, int] = {}
    files: dict[int, int] = {}
    for path, nbytes, count in wanted:
        device = existing(path).stat().st_dev
        first.setdefault(device, path)
        total[device] = total.get(device, 0) + nbytes
        files[device] = files.get(device, 0) + count
    found = []
    for device, path in first.items():
        space = os.statvfs(existing(path))
        found.append(Disk(path, total[device], space.f_bavail * space.f_frsize, files[device]))
    return tuple(found)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return path if path.exists() else existing(path.parent)
