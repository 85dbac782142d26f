"""The gate between stages: reads the journals, and lets the elements of the next stage work or not.

Stages are chained by `afterany`, which says nothing about success: `afterok` on arrays is wrong on PBS and is
dropped by old Slurm. Units whose inputs failed refuse by themselves; the gate spares a cluster thousands of
elements that would all do so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import write_json
from hpckit.base.quantities import format_count
from hpckit.campaign.stages import FETCH
from hpckit.jobs.elements import read_units
from hpckit.runs.journal import tally
from hpckit.submissions.submission import Submission, load

LEAST_DONE: Final = 0.5
"""Share of the units before it that must be done for a gate to open."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate found."""

    open: bool
    done: int
    failed: int
    missing: int
    """Units without any outcome: their elements were killed, or never ran."""
    reason: str


def judge(run_dir: Path, number: int, before: str) -> Verdict:
    """Judge the stages of a submission before another one, and write the verdict beside it."""
    submission = load(run_dir / "submissions" / f"{number:04d}")
    units, inputs = _units(submission, before)
    known = tally(run_dir, units, inputs)
    verdict = _judge(len(units), int(known.done.sum()), int(known.failed.sum()))
    write_json(submission.path / f"gate-{before}.json", asdict(verdict))
    return verdict


def _units(submission: Submission, before: str) -> tuple[Any, Any]:
    """Ids and digests of the units of all stages before one; not of copies, without which servers are read."""
    stages = next((job.follows for job in submission.jobs if job.gates == before), ())
    return read_units(submission.elements, [stage for stage in stages if stage != FETCH])


def _judge(units: int, done: int, failed: int) -> Verdict:
    missing = units - done - failed
    says = f"{done} of {format_count(units, 'unit')} done, {failed} failed, {missing} without an outcome"
    if done >= LEAST_DONE * units:
        return Verdict(True, done, failed, missing, says)
    return Verdict(False, done, failed, missing, f"{says}; remove the cause, then run `hpckit retry`")
