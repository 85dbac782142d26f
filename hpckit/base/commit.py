"""Which commit of its source hpckit is."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

from hpckit.base.distribution import DISTRIBUTION


def commit() -> str:
    """Commit of the source that this package is, as git calls it; empty where the installation does not tell.

    It is that of a checkout in which the package lies, or the one that pip installed from (PEP 610). Changes that
    are not committed are not seen.
    """
    git = Path(__file__).parents[2] / ".git"
    try:
        return _head(_git_folder(git)) if git.exists() else _installed_from()
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _git_folder(git: Path) -> Path:
    """Folder of a checkout; in worktrees `.git` is a file that names it."""
    return git if git.is_dir() else (git.parent / git.read_text().partition("gitdir:")[2].strip())


def _head(git: Path) -> str:
    head = (git / "HEAD").read_text().strip()
    name = head.removeprefix("ref: ")
    if name == head:
        return _hash(head)
    common = git / "commondir"
    places = [git, git / common.read_text().strip()] if common.exists() else [git]
    for place in places:
        if (place / name).exists():
            return _hash((place / name).read_text())
        packed = place / "packed-refs"
        for line in packed.read_text().splitlines() if packed.exists() else []:
            if line.endswith(f" {name}"):
                return _hash(line.partition(" ")[0])
    return ""


def _installed_from() -> str:
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ""
    return _hash(json.loads(text or "{}").get("vcs_info", {}).get("commit_id", ""))


def _hash(text: str) -> str:
    found = re.fullmatch(r"[0-9a-f]{40,64}", text.strip())
    return found[0] if found else ""
