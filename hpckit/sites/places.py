"""Where site files lie, and which of several files of one name is used.

The nearest one: that of the campaign's folder, of the user (`~/.config/hpckit/sites/`), of the operator (the folders
of `HPCKIT_SITES` in their order, then `/etc/hpckit/sites/`), and last the one of hpckit (`site-configs/`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base import account
from hpckit.base.yamltext import MOST_BYTES, YamlTextError, read_yaml
from hpckit.errors import SiteError

SYSTEM: Final = Path("/etc/hpckit/sites")
"""Site files of the machine's operator."""
VARIABLE: Final = "HPCKIT_SITES"
"""Names more folders of the operator, with colons between them: a module file sets it."""
CAMPAIGN, USER, OPERATOR, SHIPPED = "campaign", "user", "operator", "hpckit"


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A site file, and whose it is."""

    path: Path
    whose: str
    """`campaign`, `user`, `operator` or `hpckit`."""


def site_files(folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Site files by name, those that are used.

    Parameters
    ----------
    folders : sequence of Path
        Searched before the usual ones; the campaign's folder.

    Raises
    ------
    SiteError
        If `HPCKIT_SITES` names a folder by a relative path.
    """
    return {name: files[0].path for name, files in all_site_files(folders).items()}


def all_site_files(folders: Sequence[Path] = ()) -> dict[str, list[SiteFile]]:
    """All site files by name; the first of each name is used, and hides the others."""
    found: dict[str, list[SiteFile]] = {}
    for folder, whose in _places(folders):
        for path in sorted(folder.glob("*.yaml")) if os.access(folder, os.R_OK | os.X_OK) else ():
            # A campaign's folder holds other YAML files too: those that say which scheduler, or extend one, count.
            if whose != CAMPAIGN or _says_scheduler(path):
                found.setdefault(path.stem, []).append(SiteFile(path, whose))
    return found


def operator_file(name: str) -> Path | None:
    """The operator's file of a site, whatever hides it."""
    files = all_site_files().get(name, [])
    return next((file.path for file in files if file.whose == OPERATOR), None)


def require_kept(path: Path) -> None:
    """Refuse a file of the operator that anybody may change: its lines run in everybody's jobs.

    Raises
    ------
    SiteError
        If others than owner and group may write it, or put another one in its place.
    """
    if path.parent not in operator_folders():
        return
    for place in (path, path.parent):
        mode = place.stat().st_mode
        if mode & stat.S_IWOTH and not (place.is_dir() and mode & stat.S_ISVTX):
            raise SiteError(
                f"{place}: anybody may change it, and jobs of all users would run what it says",
                hint=f"let its owner run `chmod o-w {place}`",
            )


def operator_folders() -> list[Path]:
    """Folders of the machine's operator, nearest first.

    Raises
    ------
    SiteError
        If one is a relative path, which would be another folder in each working directory.
    """
    named = [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in named:
        if not folder.is_absolute():
            raise SiteError(f"{VARIABLE}: {folder} is a relative path", hint="write the whole path")
    return [*named, SYSTEM]


def user_folder() -> Path:
    """The user's own site files."""
    return account.folder("XDG_CONFIG_HOME", ".config") / "hpckit" / "sites"


def shipped_folder() -> Path:
    """The site files that come with hpckit, in the source tree or in the installed package."""
    return _shipped("site-configs")


def templates_folder() -> Path:
    """The job script templates that come with hpckit."""
    return _shipped("jobscripts")


def containers_folder() -> Path:
    """The templates and lock files of images that come with hpckit."""
    return _shipped("containers")


def _shipped(name: str) -> Path:
    package = Path(__file__).parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def _places(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Folders and whose they are, nearest first; each folder once."""
    operators = dict.fromkeys(operator_folders(), OPERATOR)
    usual = {user_folder(): USER} | operators | {shipped_folder(): SHIPPED}
    return list(({folder: CAMPAIGN for folder in folders if folder not in usual} | usual).items())


def _says_scheduler(path: Path) -> bool:
    """Whether a YAML file, in whatever style, has that field or `extends`; if it is no YAML, whether it looks so."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    try:
        told = read_yaml(text)[0]
    except YamlTextError:
        return re.search(r"""^[{\s]*["']?(scheduler|extends)["']?\s*:""", text, re.MULTILINE) is not None
    return isinstance(told, dict) and not {"scheduler", "extends"}.isdisjoint(told)
