"""Paths and addresses as crates have them: without home folders, signatures and passwords."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpckit.base.account import expand, home
from hpckit.inputs.uri import is_remote, public


def portable(place: str, folder: Path) -> str:
    """A place relative to a folder, if it lies in it, else to the home folder, else as it is.

    Parameters
    ----------
    place : str
        Absolute path, or address: these lose what follows `?` and what stands before `@`.
    folder : Path
        Of the campaign file.
    """
    if is_remote(place):
        return public(place)
    path = Path(place)
    for top, prefix in ((folder, Path()), (home(), Path("~"))):
        if path.is_relative_to(top):
            return str(prefix / path.relative_to(top))
    return place


def placed(place: str, folder: Path) -> str:
    """Where a portable place is on this machine."""
    return place if is_remote(place) else str((folder / expand(place)).absolute())


def without_home(value: Any) -> Any:
    """JSON with `~` in the place of the home folder in all texts that begin with it."""
    top = str(home())

    def shortened(text: str) -> str:
        return f"~{text[len(top) :]}" if text == top or text.startswith(f"{top}/") else text

    return _of_texts(value, shortened)


def _of_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _of_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
