"""Quotas of the folders that a site file names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpckit.base.account import expand
from hpckit.base.findings import Finding
from hpckit.base.quantities import format_bytes, format_count
from hpckit.base.quotaformats import Quota
from hpckit.base.quotas import headroom
from hpckit.sites.site import Site

_LEAST_FREE: Final = 0.05
"""Share of a quota that should be free."""
_REMEDY: Final = "delete what is not needed, or ask for a larger quota"


def quota_findings(site: Site) -> Iterator[Finding]:
    """What quotas leave in the scratch and project folders; unknown where their commands do not answer."""
    for name in ("scratch", "project"):
        text = getattr(site.storage, name)
        if text is None or "<" in text:
            continue
        path = expand(os.path.expandvars(text))
        if not path.is_dir():
            continue
        yield from findings_of(f"storage.{name}: quota", path)


def findings_of(what: str, folder: Path) -> Iterator[Finding]:
    """What quotas leave in a folder."""
    room = headroom(folder)
    for quota in room.quotas:
        says = describe(quota)
        if says:
            yield Finding(what, _is_roomy(quota), says, _REMEDY, needed=False)
    for reason in room.unknown:
        yield Finding(what, None, f"unknown, since {reason}", "ask the site's own quota command", needed=False)


def describe(quota: Quota) -> str:
    """What a quota leaves of what; empty where it limits nothing."""
    parts = []
    if quota.free_bytes is not None and quota.limit_bytes is not None:
        parts.append(f"{format_bytes(quota.free_bytes)} of {format_bytes(quota.limit_bytes)}")
    if quota.free_files is not None and quota.limit_files is not None:
        parts.append(f"{quota.free_files:,} of {format_count(quota.limit_files, 'file')}")
    over = ", beyond the soft limit" if quota.is_over_soft() else ""
    return f"{quota.what}: {' and '.join(parts)} left{over}" if parts else ""


def _is_roomy(quota: Quota) -> bool:
    pairs = ((quota.free_bytes, quota.limit_bytes), (quota.free_files, quota.limit_files))
    return not quota.is_over_soft() and all((free or 0) >= _LEAST_FREE * (limit or 0) for free, limit in pairs)
