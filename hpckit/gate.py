"""The gate between stages: reads the journals, and tells the elements of the next stage whether to work.

Stages are chained by `afterany`, which says nothing about success: `afterok` on arrays is wrong on PBS and is
dropped by old Slurm. Units whose inputs failed refuse by themselves; the gate spares a cluster thousands of
elements that would all do so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hpckit.elements import read_units
from hpckit.files import write_json
from hpckit.journal import Entry, outcomes, read_journal
from hpckit.submission import load

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
    inputs = {unit: digest for stage, unit, digest in read_units(submission.elements) if stage != before}
    verdict = _judge(inputs, outcomes(read_journal(run_dir), inputs))
    write_json(submission.path / f"gate-{before}.json", asdict(verdict))
    return verdict


def _judge(inputs: Mapping[str, str], known: Mapping[str, Entry]) -> Verdict:
    done = sum(entry.state == "done" for entry in known.values())
    failed, missing = len(known) - done, len(inputs) - len(known)
    share = done / len(inputs) if inputs else 1.0
    says = f"{done} of {len(inputs)} units are done, {failed} failed, {missing} have no outcome"
    if share >= LEAST_DONE:
        return Verdict(True, done, failed, missing, says)
    return Verdict(False, done, failed, missing, f"{says}; mend the cause, then `hpckit retry`")
