"""The person's account: home folder and login name, also where containers and batch systems give neither."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
from pathlib import Path
from typing import Final

from hpckit.errors import HpckitError

_NO_HOME: Final = Path("/nonexistent")


def home() -> Path:
    """Home folder; one that does not exist where none is known: settings are looked for there, and not found."""
    named = Path(os.environ.get("HOME", ""))
    if named.is_absolute():
        return named
    return listed_home() or _NO_HOME


def listed_home() -> Path | None:
    """Home folder by the list of users, which is where ssh looks, whatever HOME is."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def folder(variable: str, usual: str) -> Path:
    """Folder that a variable of the XDG names, or the usual one in the home folder."""
    named = Path(os.environ.get(variable, ""))
    # A relative path is to be ignored, the standard says.
    return named if named.is_absolute() else home() / usual


def expand(path: str | Path) -> Path:
    """Put the home folder in the place of `~`, as shells do.

    Raises
    ------
    HpckitError
        If that home folder is not known.
    """
    first, *rest = Path(path).parts or (".",)
    try:
        if first != "~":
            return Path(path).expanduser()
        if home() != _NO_HOME:
            return home().joinpath(*rest)
    except RuntimeError:
        pass
    raise HpckitError(f"{path}: the home folder is not known here", hint="set HOME, or write the whole path")


def login_name() -> str:
    """Login name; the user's number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())


def user_name(number: int) -> str:
    """Login name of a user; the number where it has none here."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Name of a group; the number where it has none here."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
