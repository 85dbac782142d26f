"""Names of result files, and which files of a folder are ours to replace."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from hpckit.base.files import append_line, make_folder
from hpckit.errors import GraphError
from hpckit.processgraph.cube import Label
from hpckit.reduce.graphs.formats.arrange import moment, text

NOTE: Final = ".hpckit-results"
"""File with a line for each name that results were written to."""


def claim(folder: Path, names: Sequence[str]) -> list[Path]:
    """Paths of results in a folder, noted as ours before they are written.

    Raises
    ------
    GraphError
        If a file is there that is not from an earlier result.
    """
    make_folder(folder)
    note = folder / NOTE
    known = set(map(_name_of, note.read_text().splitlines())) if note.exists() else set()
    for name in names:
        if name in known:
            continue
        if (folder / name).exists():
            raise GraphError(
                f"{folder / name} is there already, and no result of a graph",
                hint="choose another filename_prefix, or move the file",
                fault="ProcessParameterInvalid",
            )
        append_line(note, json.dumps(name))
    return [folder / name for name in names]


def _name_of(line: str) -> str | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None  # the last line, cut by a kill
    return found if isinstance(found, str) else None


def dated(labels: Sequence[Label | None]) -> list[str]:
    """Parts of file names for labels of time: `_2022-06-01Z`, with the time of day where days are not unique."""
    if list(labels) == [None]:
        return [""]
    moments = [moment(label) for label in labels]
    days = Counter(found.date() for found in moments if found)
    names = []
    for label, found in zip(labels, moments, strict=True):
        if found is None:
            names.append(f"_{safe(text(label or ''))}")
        elif days[found.date()] == 1:
            names.append(f"_{found:%Y-%m-%d}Z")
        else:
            names.append(f"_{found:%Y%m%dT%H%M%S}Z")
    return unique(names)


def safe(word: str) -> str:
    """A word without what file names should not have."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", word)[:100] or "_"


def unique(names: Iterable[str]) -> list[str]:
    """Names with a number added to those that were there before."""
    taken: set[str] = set()
    found = []
    for name in names:
        choice, number = name, 1
        while choice in taken:
            number += 1
            choice = f"{name}-{number}"
        taken.add(choice)
        found.append(choice)
    return found
