"""The gate between stages: reads the journals, and tells the elements of the next stage whether to work.

Stages are chained by `afterany`, which says nothing about success: `afterok` on arrays is wrong on PBS and is
dropped by old Slurm. Units whose inputs failed refuse by themselves; the gate spares a cluster thousands of
elements that would all do so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hpckit.files import write_json
from hpckit.journal import tally
from hpckit.plan import STAGES
from hpckit.submission import Submission, load

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
    """Ids and digests of the units of all stages before one."""
    import pyarrow.parquet as pq

    earlier = list(STAGES[: STAGES.index(before)])
    table = pq.read_table(submission.elements, columns=["unit", "inputs"], filters=[("stage", "in", earlier)])
    return table.column("unit").combine_chunks(), table.column("inputs").combine_chunks()


def _judge(units: int, done: int, failed: int) -> Verdict:
    missing = units - done - failed
    says = f"{done} of {units} units are done, {failed} failed, {missing} have no outcome"
    if done >= LEAST_DONE * units:
        return Verdict(True, done, failed, missing, says)
    return Verdict(False, done, failed, missing, f"{says}; mend the cause, then `hpckit retry`")
