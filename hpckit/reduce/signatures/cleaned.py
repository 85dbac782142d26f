"""Results whose spool file `hpckit clean` removed, since the store holds them: they count as done without it.

Each clean writes a file of notes before it removes anything, so a clean that is killed leaves results that have both.
Before sync removes results from a store it takes their notes back; so it does if a store lacks a noted result after
all (a new store, an old backup), and the next run computes the result again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import make_folder, write_json
from hpckit.base.reading import files_below, read_json
from hpckit.errors import DamagedFileError
from hpckit.runs.run import Run

_FOLDER: Final = "cleaned"


def note_cleaned(run: Run, held: Mapping[str, str]) -> None:
    """Note results, by unit the digest of their inputs, before their spool files are removed."""
    if held:
        make_folder(run.path / _FOLDER)
        write_json(run.path / _FOLDER / f"{uuid.uuid4().hex}.json", dict(sorted(held.items())))


def cleaned(run: Run) -> set[tuple[str, str]]:
    """Units with the digests of the inputs that their results in the store were made from.

    Notes that are damaged count for nothing: their results are computed again.

    Raises
    ------
    FileUnavailableError
        If notes cannot be read at the moment.
    """
    return {pair for known in _notes(run).values() for pair in known.items()}


def keep_cleaned(run: Run, present: Mapping[str, str]) -> None:
    """Take back the notes of all results but these, before the store drops what is planned no longer."""
    _rewrite(run, lambda unit, inputs: present.get(unit) == inputs)


def forget_cleaned(run: Run, lacking: Mapping[str, str]) -> None:
    """Take back the notes of results that the store lacks."""
    _rewrite(run, lambda unit, inputs: lacking.get(unit) != inputs)


def _rewrite(run: Run, stays: Callable[[str, str], bool]) -> None:
    for path, known in _notes(run).items():
        kept = {unit: inputs for unit, inputs in known.items() if stays(unit, inputs)}
        if kept and kept != known:
            write_json(path, kept)
        elif not kept:
            path.unlink(missing_ok=True)


def _notes(run: Run) -> dict[Path, dict[str, str]]:
    found = {}
    for path in files_below(run.path / _FOLDER, ".json"):
        try:
            value: Any = read_json(path)
        except (DamagedFileError, FileNotFoundError):
            continue
        if isinstance(value, dict):
            found[path] = {str(unit): str(inputs) for unit, inputs in value.items()}
    return found
