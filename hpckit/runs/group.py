"""Runs that several people continue: what hpckit writes for them is open to the group of the folder.

With `group: true` in the campaign, or in the site file for what is submitted there, the group can change new files
and folders. The umask of the process does this, since libraries (HDF5, GDAL, pyarrow), workers and steps write files
too. The group must be that of the folder, which the kernel ensures where the folder is setgid; elsewhere the files
would be open to whatever group a person happens to have, so there the umask stays as it is.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hpckit.base.account import group_name
from hpckit.base.disks import existing
from hpckit.campaign.campaign import Campaign

_GROUP_BITS: Final = stat.S_IRWXG
_changing: Final = threading.Lock()
_state = {"users": 0, "before": 0}
"""How many blocks need the umask of the group, and that of before: a process has one umask for all its threads."""


@contextmanager
def group_files(
    campaign: Campaign, tell: Callable[[str], None] = lambda text: None, *, site_wants: bool = False
) -> Iterator[None]:
    """While the block lasts, what this process and its children write is open to the group, where that is wanted.

    Parameters
    ----------
    tell : callable
        Called with what keeps a folder from being shared.
    site_wants : bool
        Whether the site file says so.
    """
    if not (campaign.group or site_wants):
        yield
        return
    faults = group_faults(campaign)
    for fault in faults:
        tell(fault)
    if faults:
        yield
        return
    _open()
    try:
        yield
    finally:
        _close()


def group_faults(campaign: Campaign) -> list[str]:
    """What keeps the folders that a campaign writes to from being shared, one sentence for each."""
    folders = [campaign.run_dir, campaign.cube_path if campaign.cube.keep else None]
    folders.append(campaign.store_path if campaign.store.is_file else None)
    nearest = dict.fromkeys(_folder(path) for path in folders if path is not None)
    return [text for text in map(_fault, nearest) if text is not None]


def _folder(path: Path) -> Path:
    found = existing(path)
    return found if found.is_dir() else found.parent


def _fault(folder: Path) -> str | None:
    facts = folder.stat()
    remedy = f"let its owner run `chgrp GROUP {folder} && chmod g+rwxs {folder}`"
    if not facts.st_mode & stat.S_ISGID:
        return f"{folder} is not setgid, so its files are not opened to the group (`group: true`); {remedy}"
    if facts.st_mode & _GROUP_BITS != _GROUP_BITS:
        group = group_name(facts.st_gid)
        return f"{folder}: group {group} may not write in it, although the campaign is a group's; {remedy}"
    return None


def _open() -> None:
    with _changing:
        if not _state["users"]:
            _state["before"] = os.umask(0o077)
            os.umask(_state["before"] & ~_GROUP_BITS)
        _state["users"] += 1


def _close() -> None:
    with _changing:
        _state["users"] -= 1
        if not _state["users"]:
            os.umask(_state["before"])
