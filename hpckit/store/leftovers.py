"""What a sync that was killed leaves beside its GeoPackage: found by name, removed where nobody can use it any more.

SQLite removes its own journal when the file is opened. These are left:

- `<store>.tmp_rtree_<layer>.db`, in which GDAL builds the spatial index of a large layer while it writes it; of the
  layers that hpckit makes;
- what probes whether the file system has locks, and asks it for its time;
- stores that versions before 0.1 were about to make.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from hpckit.base.files import PARTIAL, server_time

_UNUSED_AFTER_S: Final = 3600
"""Probes live for a moment; one that was not touched for so long belongs to nobody."""


def remove_leftovers(path: Path, reductions: Iterable[str]) -> list[Path]:
    """Remove what killed syncs left beside a GeoPackage. Only under its write lock: nobody else writes a layer then.

    Parameters
    ----------
    reductions : iterable of str
        Names of the reductions in the store.

    Returns
    -------
    list of Path
        What was removed.
    """
    indexes = {f"{path.name}.tmp_rtree_zones_{name}.db" for name in reductions}
    indexes |= {f"{name}-journal" for name in indexes}
    try:
        beside = list(path.parent.iterdir())
    except OSError:
        return []
    old = [other for other in beside if _is_probe(other.name, path)]
    now = server_time(path.parent) if old else time.time()
    found = [other for other in beside if other.name in indexes]
    found += [other for other in old if _is_old(other, now)]
    for other in found:
        with suppress(OSError):
            other.unlink()
    return found


def _is_probe(name: str, path: Path) -> bool:
    """Whether a name is one that hpckit gives what it makes for a moment beside this store."""
    partial, store = re.escape(PARTIAL), re.escape(path.name)
    patterns = (
        rf"\.{re.escape(path.stem[:120])}\.[0-9a-f]{{12}}{partial}{re.escape(path.suffix)}(?:-journal)?",
        rf"\.locks\.[0-9a-f]{{32}}{partial}",
        rf"\.{{1,2}}{store}(?:\.lock)?\.[0-9a-f]{{32}}{partial}",
    )
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _is_old(path: Path, now: float) -> bool:
    try:
        return now - path.lstat().st_mtime > _UNUSED_AFTER_S
    except OSError:
        return False
