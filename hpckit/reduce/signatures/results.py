"""Results of reduce units: where the journal says that they are, and whether they are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base.quantities import reading_threads
from hpckit.base.seen import Seen, note
from hpckit.cubes.verify import Fault, Kind
from hpckit.errors import FileUnavailableError, SpoolError, SpoolFormatError
from hpckit.reduce.signatures.cleaned import cleaned
from hpckit.reduce.signatures.spool import DAMAGED, read_segment
from hpckit.runs.journal import Entry, read_journal
from hpckit.runs.plan import read_inputs
from hpckit.runs.run import Run

STAGE: Final = "signatures"
"""Stage whose units have results in segments."""
SEEN: Final = "segments"
"""Notes of the segments that were read and found right."""
_MARK: Final = "digests"


@dataclass(frozen=True, slots=True)
class UnitResult:
    """A unit that is done with its present inputs."""

    inputs: str
    segments: tuple[str, ...] = ()
    """Names of spool files that hold it, last one first; none if it has no records."""


def results(entries: Iterable[Entry], inputs: Mapping[str, str]) -> dict[str, UnitResult]:
    """Results of the units that the journal says are done, by unit.

    Parameters
    ----------
    inputs : mapping of str to str
        Present inputs digest by unit id; what was made from others does not count.
    """
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry.state == "done" and inputs.get(entry.unit) == entry.inputs:
            mine = found.setdefault(entry.unit, {})
            if entry.segment is not None:
                mine[entry.segment] = None
    return {unit: UnitResult(inputs[unit], tuple(reversed(names))) for unit, names in found.items()}


def results_of(run: Run) -> dict[str, UnitResult]:
    """Results of all reduce units of a run's plan."""
    return results(read_journal(run.path), planned_inputs(run))


def planned_inputs(run: Run) -> dict[str, str]:
    """Digest of the inputs of each reduce unit of a run's plan."""
    units, stages, inputs = (column.to_pylist() for column in read_inputs(run.plan))
    return {unit: made for unit, stage, made in zip(units, stages, inputs, strict=True) if stage == STAGE}


def lost(run: Run, known: Mapping[str, UnitResult]) -> set[str]:
    """Units whose result is in none of its segments any more, nor was cleaned away since the store holds it.

    Segments that were not looked at since they were written are read; a damaged one is set aside.
    """
    stored = cleaned(run)
    known = {unit: result for unit, result in known.items() if (unit, result.inputs) not in stored}
    names = {name for result in known.values() for name in result.segments}
    damaged = {name for name, (kind, _) in damage(run, sorted(names)).items() if kind != "unread"}
    sound = names - damaged
    return {unit for unit, result in known.items() if result.segments and not sound.intersection(result.segments)}


def damage(
    run: Run,
    names: Sequence[str],
    *,
    again: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, tuple[Kind, str]]:
    """What is wrong with segments, by their name; damaged ones are set aside.

    Parameters
    ----------
    again : bool
        Read also those that were found right before and have not changed since.
    progress : callable
        Called with the number of segments looked at and of all.

    Returns
    -------
    dict
        *missing*, *corrupt*, or *unread*: it cannot be read at the moment, or was written by another version; it may
        be right.
    """
    seen, faults, right = (
        run.seen(SEEN, "plan"),
        dict[str, tuple[Kind, str]](),
        list[tuple[str, os.stat_result, str]](),
    )

    def look(name: str) -> tuple[Kind, str] | os.stat_result | None:
        return _look(run.spool / name, seen, again=again)

    with ThreadPoolExecutor(reading_threads()) as pool:
        for done, (name, found) in enumerate(zip(names, pool.map(look, names), strict=True), 1):
            progress(done, len(names))
            if isinstance(found, os.stat_result):
                right.append((str(run.spool / name), found, _MARK))
            elif found is not None:
                faults[name] = found
    seen.add(right)
    return faults


def _look(path: Path, seen: Seen, *, again: bool) -> tuple[Kind, str] | os.stat_result | None:
    """What is wrong with a segment, or its state where it was read and found right; None if that was known before."""
    try:
        status = path.stat()
        if not again and seen.has(str(path), status, _MARK):
            return None
        read_segment(path)
    except FileNotFoundError:
        return "missing", "the file is gone"
    except OSError as error:
        return "unread", error.strerror or str(error)
    except (FileUnavailableError, SpoolFormatError) as error:
        return "unread", str(error)
    except SpoolError as error:
        set_aside(path)
        return "corrupt", str(error)
    return status


def note_segment(run: Run, name: str, writer: str) -> None:
    """Note a segment that was just written."""
    note(run.seen_folder(SEEN), writer, run.spool / name, _MARK)


def set_aside(path: Path) -> None:
    """Give a damaged segment another name; its units count as not done."""
    with suppress(OSError):
        path.rename(path.with_name(path.name + DAMAGED))


def verify_segments(run: Run, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Fault]:
    """Read all segments of a run's present results.

    Parameters
    ----------
    progress : callable
        Called with the number of segments read and of all.

    Returns
    -------
    list of Fault
        *missing*: the file is gone. *corrupt*: other bytes than were written; it is set aside. *unread*: it cannot be
        read at the moment.
    """
    stored = cleaned(run)
    known = {unit: result for unit, result in results_of(run).items() if (unit, result.inputs) not in stored}
    of_segment: dict[str, str] = {}
    for unit, result in known.items():
        for name in result.segments:
            of_segment.setdefault(name, unit)
    faults = damage(run, sorted(of_segment), again=True, progress=progress)
    sound = set(of_segment) - set(faults)
    needed = {
        name
        for result in known.values()
        if result.segments and not sound.intersection(result.segments)
        for name in result.segments
    }
    return [
        Fault(f"spool/{name}", kind, text, of_segment[name])
        for name, (kind, text) in faults.items()
        if name in needed
    ]
