"""What an element of a job array does: find its units, share them among ranks or processes, and say how it went.

The exit code tells the scheduler whether the element got through its units, not whether they went well: 0 if
all of them have an outcome, 75 if some were given back (asked to end, or no time left), 1 if it could not
work at all. What became of the units stands in the journal.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hpckit.composites.units import store_path
from hpckit.cube.manifest import manifest_folder
from hpckit.elements import read_element
from hpckit.errors import EX_TEMPFAIL
from hpckit.estimate import unit_memory_mib
from hpckit.files import write_text
from hpckit.journal import Entry, flat, read_attempts
from hpckit.local import run_units
from hpckit.mpi import Ranks, join
from hpckit.plan import Unit, tiles_of
from hpckit.run import find_run
from hpckit.steps.command import MEMORY_MIB
from hpckit.steps.settings import is_step
from hpckit.stop import Stop
from hpckit.submission import Submission, load

_FAREWELL_S: Final = 60
"""Seconds to wait for ranks that still seal their results, on top of some times the longest unit."""
_FAREWELL_UNITS: Final = 5


def run_element(run_dir: Path, number: int, stage: str, element: int, *, processes: int, threads: int) -> int:
    """Work through an element.

    Parameters
    ----------
    number : int
        Submission.
    processes : int
        Worker processes, where there is no MPI.
    threads : int
        Of each rank or process.

    Returns
    -------
    int
        Exit code.
    """
    stop = Stop.from_environment()
    stop.listen()
    submission = load(run_dir / "submissions" / f"{number:04d}")
    refusal = _refusal(submission, stage)
    if refusal is not None:
        print(f"hpckit: {refusal}; nothing is done here", file=sys.stderr)
        return EX_TEMPFAIL
    layout = submission.stage(stage)
    if layout is not None and is_step(stage):
        os.environ[MEMORY_MIB] = str(unit_memory_mib(layout.resources.memory_mib // layout.resources.ranks))
    name = writer_name(number, stage, element)
    units = _undone(run_dir, name, read_element(submission.elements, stage, element))
    name += _attempt()
    ranks = join()
    if ranks.size == 1 and processes > 1:
        return _as_processes(run_dir, units, name, processes, threads, stop)
    return _as_rank(run_dir, units, name, ranks, threads, stop)


def writer_name(number: int, stage: str, element: int) -> str:
    """First part of the names of an element's journals."""
    # A folder for each thousand: an attempt looks for earlier ones in its folder only.
    return f"s{number:04d}-{stage}-{element // 1000:03d}/{element:06d}"


def _refusal(submission: Submission, stage: str) -> str | None:
    """Why an element must not work."""
    if submission.has("cancelled") or submission.has("abandoned"):
        return f"submission {submission.number} was cancelled"
    if not submission.has("committed"):
        return f"submission {submission.number} was not accepted as a whole"
    gate = submission.gate(stage)
    if gate is not None and not gate.get("open", False):
        return f"the gate before {stage} is closed: {gate.get('reason', 'it could not tell why')}"
    return None


def _undone(run_dir: Path, name: str, units: Sequence[Unit]) -> list[Unit]:
    """Units that an earlier attempt at this element (requeued, preempted) has not finished."""
    done = {(e.unit, e.inputs) for e in read_attempts(run_dir, name) if e.state == "done"}
    return [unit for unit in units if (unit.id, unit.inputs) not in done]


def _attempt() -> str:
    """Tells attempts apart: a lost node may still be writing when the element is started anew."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return f"-t{count}" if count.isdigit() and count != "0" else ""


def _as_processes(run_dir: Path, units: Sequence[Unit], name: str, processes: int, threads: int, stop: Stop) -> int:
    left = run_units(
        run_dir,
        units,
        workers=processes,
        threads=threads,
        report=lambda entry: None,
        name=name,
        stop=stop,
        tiles=_tiles(units),
    )
    _join_files(run_dir, name, units)
    return _farewell(len(left))


def _as_rank(run_dir: Path, units: Sequence[Unit], name: str, ranks: Ranks, threads: int, stop: Stop) -> int:
    from hpckit.worker import Worker

    mine = name if ranks.size == 1 else f"{name}-r{ranks.rank:04d}"
    settled: set[str] = set()
    longest = max((unit.cost for unit in units), default=0.0)

    def report(entry: Entry) -> None:
        nonlocal longest
        settled.add(entry.unit)
        longest = max(longest, entry.seconds)

    def draw() -> Iterator[Unit]:
        for position in ranks.draw(len(units)):
            unit = units[position]
            if not stop.leaves_time_for(unit.cost):
                if stop.asked:
                    return
                continue
            yield unit

    Worker(run_dir, mine, threads, stop, _tiles(units)).work(draw(), report)
    if not ranks.everyone(_FAREWELL_S + _FAREWELL_UNITS * longest):
        # A rank is gone: no collective operation, and no orderly end of MPI, is possible any more.
        print(f"hpckit: rank {ranks.rank}: another rank is gone; what it had in work is not done", file=sys.stderr)
        _leave_at_once(EX_TEMPFAIL)
    counts = ranks.gather(len(settled))
    ranks.leave()
    if counts is None:
        return 0
    if ranks.size > 1:
        _join_files(run_dir, name, units)
    return _farewell(len(units) - sum(counts))


def _tiles(units: Sequence[Unit]) -> list[str]:
    return sorted({tile for unit in units for tile in tiles_of(unit)})


def _leave_at_once(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _farewell(left: int) -> int:
    if left:
        print(f"hpckit: {left} units were given back; `hpckit retry` submits them again", file=sys.stderr)
    return EX_TEMPFAIL if left else 0


def _join_files(run_dir: Path, name: str, units: Sequence[Unit]) -> None:
    """Make one journal, and one manifest, of those of all ranks of an element, which have ended: inodes are dear."""
    _join(run_dir / "journal" / f"{name}.jsonl")
    campaign = find_run(run_dir).campaign
    stores = [campaign.cube_path, *(store_path(campaign, composite) for composite in campaign.composites)]
    for folder in sorted({manifest_folder(store) / tile for store in stores for tile in _tiles(units)}):
        _join(folder / f"{flat(name)}.jsonl")


def _join(whole: Path) -> None:
    # Not `<name>-t1…`: another attempt at the element may be writing those.
    patterns = (f"{whole.stem}-r[0-9]*.jsonl", f"{whole.stem}-[0-9]*.jsonl", f"{whole.stem}-driver.jsonl")
    parts = sorted(path for pattern in patterns for path in whole.parent.glob(pattern))
    if not parts:
        return
    texts = [path.read_text() for path in ([whole] if whole.exists() else []) + parts]
    write_text(whole, "".join(text if text.endswith("\n") or not text else text + "\n" for text in texts))
    for path in parts:
        path.unlink()
