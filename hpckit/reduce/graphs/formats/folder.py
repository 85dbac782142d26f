"""A folder for result files, and which files in it are ours to replace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base.files import append_line, make_folder
from hpckit.errors import GraphError

NOTE: Final = ".hpckit-results"
"""File with a line for each name that results were written to, and which result it is of."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder for files of one result."""

    path: Path
    owner: str = ""
    """Result that its files are noted for: another result of the same graph never replaces them."""

    def claim(self, names: Sequence[str]) -> list[Path]:
        """Paths of files, noted as this result's before they are written.

        Raises
        ------
        GraphError
            If a file is there that is not from an earlier run of this result.
        """
        make_folder(self.path)
        note = self.path / NOTE
        known = dict(map(_read, note.read_text().splitlines())) if note.exists() else {}
        for name in names:
            if known.get(name, self.owner) != self.owner:
                raise _taken(
                    f"{name} is a file of another result, {known[name]}, in the same folder",
                    "give each save_result a filename_prefix of its own",
                )
            if name in known:
                continue
            if (self.path / name).exists():
                raise _taken(
                    f"{self.path / name} is there already, and is no result of a graph",
                    "choose another filename_prefix, or move the file",
                )
            append_line(note, json.dumps([name, self.owner]))
        return [self.path / name for name in names]


def _taken(message: str, hint: str) -> GraphError:
    return GraphError(message, hint=hint, fault="ProcessParameterInvalid")


def _read(line: str) -> tuple[str, str]:
    """Name and owner in a line of the note."""
    try:
        name, owner = json.loads(line)
    except (ValueError, TypeError):
        return "", ""  # the last line, cut by a kill
    return str(name), str(owner)
