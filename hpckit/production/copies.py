"""Copies that were fetched, by hpckit or a data mover: compare them, and remove those that are not needed any more.

Neither needs a network: what is wanted is what was planned last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hpckit.base.console import Console
from hpckit.base.files import make_folder, write_bytes
from hpckit.base.reading import may_pass
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.tiles import Tiles, read_tiles
from hpckit.errors import EX_FAILED, EX_TEMPFAIL, RunError, SceneError
from hpckit.inputs.download import require_digest
from hpckit.inputs.fetched import ABSENT
from hpckit.production.answers import QUESTION, Answers, read_answers
from hpckit.production.fetchable import (
    Fetchable,
    Note,
    add_note,
    checked,
    describe,
    discard,
    fetchable,
    read_notes,
    write_notes,
)
from hpckit.production.stages import stages_of
from hpckit.production.transfer import Failed, alone
from hpckit.runs.run import RUN_JSON, claim, open_frozen, read_run_json
from hpckit.submissions.idle import require_no_jobs

_THREADS: Final = 4


@dataclass(slots=True)
class Verified:
    """What a comparison found."""

    folder: Path
    right: int = 0
    failed: list[Failed] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: all are there and right, 1: some are not, 75: some cannot be read at the moment."""
        if any(not item.temporary for item in self.failed):
            return EX_FAILED
        return EX_TEMPFAIL if self.failed else 0


@dataclass(frozen=True, slots=True)
class Removed:
    """Copies that were removed, or would be."""

    folder: Path
    files: int
    nbytes: int


def verify(campaign: Campaign, folder: Path, console: Console, answers: Path | None = None) -> Verified:
    """Compare what lies in a folder with sizes and digests; what is right and was not noted yet is noted.

    Compared are the files that the ingest of the last plan has still to open, and all that were noted before.

    Parameters
    ----------
    answers : Path, optional
        What servers answered to a data mover (`read_answers`).

    Raises
    ------
    RunError
        If nothing was planned yet, or the file of answers cannot be read.
    BusyError
        If another process works in the folder.
    """
    tiles = last_planned(campaign)
    told = Answers() if answers is None else read_answers(answers)
    run, files, result = tiles.run.run_id, fetchable(tiles, stages_of(tiles.campaign)), Verified(folder)
    if not files and not folder.is_dir():
        return result
    with alone(folder), console.progress("verify") as progress:
        notes = read_notes(folder)
        checks = _checks(folder, run, files, notes, told)
        with ThreadPoolExecutor(_THREADS) as pool:
            for done, found in enumerate(pool.map(lambda check: check(), checks), 1):
                progress(done, len(checks))
                if isinstance(found, Failed):
                    result.failed.append(found)
                    continue
                result.right += 1
                if found.name not in notes:
                    add_note(folder, found)
        for asked in folder.glob(f"*/*{QUESTION}"):
            asked.unlink(missing_ok=True)
        _forget(folder, notes, {failed.name for failed in result.failed if not failed.temporary})
    return result


def remove(campaign: Campaign, folder: Path, *, dry_run: bool = False) -> Removed:
    """Remove copies that came for this campaign and that ingest does not need any more.

    Raises
    ------
    RunError
        If nothing was planned yet.
    BusyError
        If somebody works on the run, or in the folder.
    """
    tiles = last_planned(campaign)
    if not folder.is_dir():
        return Removed(folder, 0, 0)
    with claim(tiles.run), alone(folder):
        require_no_jobs(tiles.run)
        needed, notes = {file.name for file in fetchable(tiles, stages_of(tiles.campaign))}, read_notes(folder)
        spent = [note for note in notes.values() if note.run == tiles.run.run_id and note.name not in needed]
        there = [note for note in spent if (folder / note.name).is_file()]
        if not dry_run:
            discard(folder, notes, {note.name for note in spent})
    return Removed(folder, len(there), sum(note.nbytes for note in there))


def last_planned(campaign: Campaign) -> Tiles:
    """Tiles of a campaign as they were planned last; nothing is read but the run directory.

    Raises
    ------
    RunError
        If there are none.
    """
    planned = read_run_json(campaign.run_dir).get("planned") if (campaign.run_dir / RUN_JSON).exists() else None
    if not planned:
        raise RunError(f"{campaign.path}: nothing was planned yet", hint="`hpckit plan CAMPAIGN` does that")
    run = open_frozen(campaign.run_dir, planned)
    if not run.tiles.exists():
        raise RunError(
            f"{campaign.path}: only the steps that make products were planned", hint="`hpckit run` makes them"
        )
    return read_tiles(run)


def _checks(
    folder: Path, run: str, files: Iterable[Fetchable], notes: dict[str, Note], told: Answers
) -> list[Callable[[], Note | Failed]]:
    wanted = {file.name: file for file in files}
    beside = [note for name, note in sorted(notes.items()) if name not in wanted]
    return [
        *(lambda file=file: _compare(folder, file, run, notes.get(file.name), told) for file in wanted.values()),
        *(lambda note=note: _compare(folder, _as_file(note), note.run, note, told) for note in beside),
    ]


def _as_file(note: Note) -> Fetchable:
    return Fetchable(note.name, note.nbytes, note.digest, note.name)


def _compare(folder: Path, file: Fetchable, run: str, note: Note | None, told: Answers) -> Note | Failed:
    path = folder / file.name
    try:
        if file.stored is not None and note is None:
            return _compare_object(folder, file, run, told)
        size, expected = path.stat().st_size, file.nbytes if note is None else note.nbytes
        if size != expected:
            return Failed(file.name, f"{path} has {size} bytes instead of {expected}")
        if note is None:
            return replace(checked(path, file, run), moved=True)
        require_digest(path, file.name, note.digest)
    except FileNotFoundError:
        return Failed(file.name, f"{path} is missing")
    except OSError as error:
        return Failed(file.name, f"{path} cannot be read: {error.strerror}", may_pass(error))
    except SceneError:
        return Failed(file.name, f"{path} has another digest than it should")
    return note


def _compare_object(folder: Path, file: Fetchable, run: str, told: Answers) -> Note | Failed:
    """Look at an object of a Zarr hierarchy that nobody noted: whether it is whole, or its server does not have it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    path = folder / file.name
    if not path.is_file() and str(path) in told.gone:
        fault = told.may_be_absent(folder, file)
        if fault:
            return Failed(file.name, f"{describe(file)} {fault}")
        make_folder(path.parent)
        write_bytes(path, ABSENT)
    elif file.stored is not None and not file.stored.form and str(path) not in told.whole:
        path.stat()
        return Failed(file.name, f"{path}: nothing tells whether it is whole; give what curl wrote with `--answers`")
    try:
        return replace(checked(path, file, run), moved=True)
    except SceneError as error:
        path.stat()
        return Failed(file.name, f"{path}: {error.message}")


def _forget(folder: Path, notes: dict[str, Note], wrong: set[str]) -> None:
    """Take back notes of copies that are not right any more: the next fetch brings them again."""
    if wrong & notes.keys():
        kept = read_notes(folder).values()
        write_notes(folder, (note for note in kept if note.name not in wrong))
