"""Which hpckit goes into an image: its source tree, commit and date."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from hpckit.base import version


def tree() -> Path:
    """The folder above the package: the source tree, if hpckit runs from one."""
    return Path(version.__file__).parents[2]


def commit() -> str | None:
    """Commit of the source tree, `+` if it has changes; None without one."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    if head is None or changed is None:
        return None
    return head + ("+" if changed else "")


def epoch() -> int:
    """Seconds since 1970 that new files of an image bear: SOURCE_DATE_EPOCH, or those of the commit or release."""
    said = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--pretty=%ct")
    return int(said) if said and said.isdigit() else int(Path(version.__file__).stat().st_mtime)


def date() -> str:
    """The same as a date, as labels have it."""
    return f"{datetime.fromtimestamp(epoch(), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _git(*words: str) -> str | None:
    if not (tree() / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", tree(), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
