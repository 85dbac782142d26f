"""Processes that users define (`/process_graphs`): a file for each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import make_folder, write_json
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.users import User

_NAME: Final = re.compile(r"\w[\w-]{0,127}")
_LISTED: Final = ("id", "summary", "description", "parameters", "returns", "categories", "deprecated", "experimental")
_KNOWN: Final = (*_LISTED, "process_graph", "exceptions", "examples", "links")
_MOST: Final = 1_000


class UserProcesses:
    """The processes of all users.

    Parameters
    ----------
    folder : Path
        In which each user has a folder.
    predefined : frozenset of str
        Names that are taken.
    """

    def __init__(self, folder: Path, predefined: frozenset[str]) -> None:
        self.folder = folder
        self.predefined = predefined

    def listed(self, user: User) -> list[dict[str, Any]]:
        """All processes of a user, without their graphs."""
        return [
            {name: value for name, value in found.items() if name in _LISTED} for found in self.all(user).values()
        ]

    def all(self, user: User) -> dict[str, dict[str, Any]]:
        """All processes of a user, by name."""
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(self._of(user).glob("*.json"))}

    def get(self, user: User, name: str) -> dict[str, Any]:
        """A process.

        Raises
        ------
        OpenEoError
            If the user has none of that name.
        """
        try:
            found: dict[str, Any] = json.loads(self._place(user, name).read_bytes())
        except FileNotFoundError:
            raise OpenEoError("ProcessGraphNotFound", f"you have no process {name!r}") from None
        return found

    def put(self, user: User, name: str, process: dict[str, Any]) -> None:
        """Store a process; one of the same name is replaced.

        Raises
        ------
        OpenEoError
            If it is none.
        """
        path = self._place(user, name)
        if name in self.predefined:
            raise OpenEoError("PredefinedProcessExists", f"{name!r} is a process of openEO", hint="take another name")
        if not isinstance(process.get("process_graph"), dict) or not process["process_graph"]:
            raise OpenEoError("ProcessGraphMissing", "the process has no process_graph")
        for kept, kind in (("parameters", list), ("returns", dict), ("summary", str), ("description", str)):
            if process.get(kept) is not None and not isinstance(process[kept], kind):
                raise OpenEoError("ProcessInvalid", f"{kept} is no {'text' if kind is str else kind.__name__}")
        make_folder(path.parent)
        if not path.exists() and len(list(path.parent.iterdir())) >= _MOST:
            raise OpenEoError("StorageQuotaExceeded", f"you have {_MOST} processes, and may not have more")
        kept_fields = {key: value for key, value in process.items() if key in _KNOWN and value is not None}
        write_json(path, kept_fields | {"id": name})

    def delete(self, user: User, name: str) -> None:
        """Delete a process.

        Raises
        ------
        OpenEoError
            If the user has none of that name.
        """
        self.get(user, name)
        self._place(user, name).unlink(missing_ok=True)

    def _of(self, user: User) -> Path:
        return self.folder / user.id

    def _place(self, user: User, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise OpenEoError("ProcessInvalid", f"{name!r} is no name of a process", hint="letters, digits, '_', '-'")
        return self._of(user) / f"{name}.json"
