"""Quotas of the folders that hpckit writes to; commands that ask for them may hang with their file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpckit.base import account
from hpckit.base.findings import Finding
from hpckit.jobs.doctor.space import SCRATCH
from hpckit.sites.probe.quotas import findings_of


def examine() -> Iterator[Finding]:
    """What quotas leave, once for each file system."""
    folders = [("this folder", Path.cwd()), ("home folder", account.home())]
    folders += [(f"${name}", Path(os.environ[name])) for name in SCRATCH if os.environ.get(name)]
    seen: set[int] = set()
    for what, folder in folders:
        if not folder.is_dir() or (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        yield from findings_of(f"quota of {what}", folder)
