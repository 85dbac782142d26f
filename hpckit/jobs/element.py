"""What an element of a job array does: find its units, share them among ranks or processes, and say how it went.

The exit code reports to the scheduler whether the element finished its units, not whether they succeeded: 0 if
all of them have an outcome, 75 if some were given back (asked to end, or no time left), 1 if it could not
work at all. What became of the units stands in the journal.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from hpckit.base.collector import without_collector
from hpckit.base.files import write_text
from hpckit.base.quantities import format_count
from hpckit.campaign.owner import manifest_folder, stores
from hpckit.errors import EX_TEMPFAIL
from hpckit.jobs.elements import read_element
from hpckit.jobs.mpi import Ranks, join
from hpckit.production.compiling import compile_kernels
from hpckit.production.kernels import of_campaign
from hpckit.production.local import run_units
from hpckit.production.memory import unit_memory_mib
from hpckit.production.stop import Stop
from hpckit.runs.group import group_files
from hpckit.runs.journal import Entry, flat, read_attempts
from hpckit.runs.part import is_fenced
from hpckit.runs.plan import Bundle, Unit, bundles, cost_of, tiles_of_all
from hpckit.runs.run import open_frozen
from hpckit.steps.command import MEMORY_MIB
from hpckit.submissions.attempts import announced, next_number, suffix, writer_name
from hpckit.submissions.submission import Submission, load

_FAREWELL_S: Final = 60
"""Seconds to wait for ranks that still seal their results, on top of some times the longest unit."""
_FAREWELL_UNITS: Final = 5


def run_element(
    run_dir: Path,
    number: int,
    stage: str,
    element: int,
    *,
    processes: int,
    threads: int,
    frozen: str | None = None,
) -> int:
    """Work through an element.

    Parameters
    ----------
    number : int
        Submission.
    processes : int
        Worker processes, where there is no MPI.
    threads : int
        Of each rank or process.
    frozen : str, optional
        Digest of the frozen inputs, as the job script has it.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    RunError
        If the frozen inputs of the submission are not there.
    """
    stop = Stop.from_environment()
    stop.listen()
    submission = load(run_dir / "submissions" / f"{number:04d}")
    refusal = _refusal(submission, stage, frozen)
    if refusal is not None:
        print(f"hpckit: {refusal}; nothing is done here", file=sys.stderr)
        return EX_TEMPFAIL
    campaign = open_frozen(run_dir, submission.frozen).campaign
    layout = submission.stage(stage)
    if layout is not None and layout.alone:
        os.environ[MEMORY_MIB] = str(unit_memory_mib(layout.resources.memory_mib // layout.resources.ranks))
    ranks = join()
    if layout is None or not layout.alone:  # `submit` did it; where nodes do not see that, one rank does for all
        ranks.share(partial(compile_kernels, of_campaign(campaign)))
    with ExitStack() as stack:
        stack.enter_context(group_files(campaign, site_wants=submission.site.group))
        # One rank decides: while an earlier attempt still writes, each would see other units to do.
        name, units = ranks.share(lambda: _begin(stack, submission, stage, element))
        if ranks.size == 1 and processes > 1:
            return _as_processes(submission, units, name, processes, threads, stop)
        return _as_rank(submission, units, name, ranks, threads, stop)


def _refusal(submission: Submission, stage: str, frozen: str | None) -> str | None:
    """Why an element must not work."""
    if frozen and frozen != submission.frozen:
        return f"this job belongs to another submission {submission.number}, of a run directory that is gone"
    if any(submission.has(mark) for mark in ("cancelling", "cancelled", "abandoned")):
        return f"submission {submission.number} was cancelled"
    if not submission.has("committed"):
        return f"submission {submission.number} was not accepted as a whole"
    if submission.has("ended"):
        return f"submission {submission.number} is over; `hpckit retry` submits what it left"
    if is_fenced(submission.run_dir):
        return "other sites of the federation have its tiles"
    gate = submission.gate(stage)
    if gate is not None and not gate.get("open", False):
        return f"the gate before {stage} is closed: {gate.get('reason', 'no reason was given')}"
    return None


def _begin(stack: ExitStack, submission: Submission, stage: str, element: int) -> tuple[str, list[Unit]]:
    """Announce this attempt at the element: the name of what it writes, and its units."""
    run_dir, name = submission.run_dir, writer_name(submission.number, stage, element)
    first = next_number(run_dir, name)
    number = stack.enter_context(announced(submission.path, stage, element, first))
    return name + suffix(number), _undone(run_dir, name, read_element(submission.elements, stage, element))


def _undone(run_dir: Path, name: str, units: Sequence[Unit]) -> list[Unit]:
    """Units that an earlier attempt at this element (requeued, preempted) has not finished."""
    done = {(e.unit, e.inputs) for e in read_attempts(run_dir, name) if e.state == "done"}
    return [unit for unit in units if (unit.id, unit.inputs) not in done]


def _as_processes(
    submission: Submission, units: Sequence[Unit], name: str, processes: int, threads: int, stop: Stop
) -> int:
    left = run_units(
        submission.run_dir,
        units,
        workers=processes,
        threads=threads,
        report=lambda entry: None,
        name=name,
        stop=stop,
        tiles=tiles_of_all(units),
        frozen=submission.frozen,
    )
    _join_files(submission, name, units)
    return _farewell(len(left))


def _as_rank(submission: Submission, units: Sequence[Unit], name: str, ranks: Ranks, threads: int, stop: Stop) -> int:
    with without_collector():
        from hpckit.production.worker import Worker

    mine = name if ranks.size == 1 else f"{name}-r{ranks.rank:04d}"
    made = bundles(units)
    bundle_of = {unit.id: number for number, bundle in enumerate(made) for unit in bundle}
    settled: set[str] = set()
    spent = [0.0] * len(made)

    def report(entry: Entry) -> None:
        settled.add(entry.unit)
        spent[bundle_of[entry.unit]] += entry.seconds

    def draw() -> Iterator[Bundle]:
        for position in ranks.draw(len(made)):
            if not stop.leaves_time_for(cost_of(made[position])):
                if stop.asked:
                    return
                continue
            yield made[position]

    Worker(submission.run_dir, mine, threads, stop, tiles_of_all(units), submission.frozen).work(draw(), report)
    longest = max([*map(cost_of, made), *spent], default=0.0)
    if not ranks.everyone(_FAREWELL_S + _FAREWELL_UNITS * longest):
        # A rank is gone: no collective operation, and no orderly end of MPI, is possible any more.
        print(f"hpckit: rank {ranks.rank}: another rank is gone; what it had in work is not done", file=sys.stderr)
        _leave_at_once(EX_TEMPFAIL)
    counts = ranks.gather(len(settled))
    ranks.leave()
    if counts is None:
        return 0
    if ranks.size > 1:
        _join_files(submission, name, units)
    return _farewell(len(units) - sum(counts))


def _leave_at_once(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _farewell(left: int) -> int:
    if left:
        print(f"hpckit: {format_count(left, 'unit')} given back; `hpckit retry` submits them again", file=sys.stderr)
    return EX_TEMPFAIL if left else 0


def _join_files(submission: Submission, name: str, units: Sequence[Unit]) -> None:
    """Make one journal, and one manifest, of those of all ranks of an element, which have ended: inodes are dear."""
    _join(submission.run_dir / "journal" / f"{name}.jsonl")
    campaign = open_frozen(submission.run_dir, submission.frozen).campaign
    folders = [manifest_folder(store) for _, store in stores(campaign)]
    for folder in sorted({folder / tile for folder in folders for tile in tiles_of_all(units)}):
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
