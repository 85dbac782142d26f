"""Whether what a plan writes fits into the quotas of its file systems."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpckit.base.disks import Disk, disks, existing
from hpckit.base.quantities import format_bytes, format_count
from hpckit.base.quotas import Headroom, headroom
from hpckit.errors import PlanError

_HINT = "delete what is not needed, ask for a larger quota, or choose a folder of another project"


def by_quota(written: Iterable[tuple[Path, int, int]]) -> tuple[tuple[Disk, Headroom], ...]:
    """Add up what is to be written, by quotas: folders of one file system may belong to several projects.

    Parameters
    ----------
    written : iterable of (Path, int, int)
        Folders, bytes and files.
    """
    groups: dict[object, list[tuple[Path, int, int]]] = {}
    rooms: dict[object, Headroom] = {}
    for path, nbytes, files in written:
        room = headroom(path)
        limits = [(quota.what, quota.limit_bytes, quota.limit_files) for quota in room.quotas]
        key = (existing(path).stat().st_dev, tuple(limits), room.unknown)
        rooms.setdefault(key, room)
        groups.setdefault(key, []).append((path, nbytes, files))
    return tuple((disk, rooms[key]) for key, group in groups.items() for disk in disks(group))


def require_quota(disk: Disk, room: Headroom) -> None:
    """Refuse to write more than a quota leaves; what is unknown refuses nothing, and the plan shows it.

    Raises
    ------
    PlanError
        With the quota and the numbers.
    """
    tight = room.tightest_bytes()
    if tight is not None and disk.wanted_bytes > (tight.free_bytes or 0):
        raise PlanError(
            f"{disk.path}: {format_bytes(disk.wanted_bytes)} are to be written, the {tight.what} leaves"
            f" {format_bytes(tight.free_bytes or 0)}",
            hint=_HINT,
        )
    tight = room.tightest_files()
    if tight is not None and disk.wanted_files > (tight.free_files or 0):
        raise PlanError(
            f"{disk.path}: {format_count(disk.wanted_files, 'file')} are to be written, the {tight.what} leaves"
            f" {format_count(tight.free_files or 0, 'file')}",
            hint=f"{_HINT}; `cube.sharding: true` and more `dates_per_block` make fewer files",
        )


def describe_quotas(disk: Disk, room: Headroom) -> list[str]:
    """Lines about the quotas of a file system: what they leave, what lies beyond a soft limit, what is unknown."""
    lines = []
    for quota in room.quotas:
        left = [
            *([] if quota.free_bytes is None else [format_bytes(quota.free_bytes)]),
            *([] if quota.free_files is None else [format_count(quota.free_files, "file")]),
        ]
        soft = quota.is_over_soft(disk.wanted_bytes, disk.wanted_files)
        more = "; this is beyond its soft limit, which holds for some days only" if soft else ""
        if left:
            lines.append(f"{quota.what} of {room.folder}: {' and '.join(left)} left{more}")
    return [*lines, *(f"quota of {room.folder}: unknown, since {reason}" for reason in room.unknown)]
