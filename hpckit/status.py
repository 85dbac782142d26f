"""How far a run is, from its plan and journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpckit.journal import Tally, tally
from hpckit.plan import STAGES, read_inputs
from hpckit.run import Run


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Units of a stage."""

    stage: str
    done: int
    failed: int
    waiting: int
    seconds: float
    """Core time spent on units that are done."""


@dataclass(frozen=True, slots=True)
class Status:
    """State of a run."""

    run_id: str
    campaign: str
    stages: tuple[StageStatus, ...]
    failures: Mapping[str, tuple[str, ...]]
    """Failed units by reason."""
    slivers: int
    """Zones smaller than a pixel, that hold no pixel centre."""


def read_status(run: Run) -> Status:
    """Read the state of a run.

    Raises
    ------
    PlanError
        If it has no plan yet.
    """
    units, stages, inputs = read_inputs(run.plan)
    known = tally(run.path, units, inputs)
    failures: dict[str, list[str]] = {}
    for place, reason in known.reasons.items():
        failures.setdefault(reason, []).append(units[place].as_py())
    return Status(
        run_id=run.run_id,
        campaign=run.campaign.name,
        stages=tuple(_stage(stage, stages, known) for stage in STAGES),
        failures={reason: tuple(sorted(ids)) for reason, ids in sorted(failures.items())},
        slivers=int(known.slivers),
    )


def _stage(stage: str, stages: Any, known: Tally) -> StageStatus:
    import pyarrow.compute as pc

    mine = pc.equal(stages, stage).to_numpy(zero_copy_only=False)
    done, failed = int((known.done & mine).sum()), int((known.failed & mine).sum())
    seconds = float(known.seconds[known.done & mine].sum())
    return StageStatus(stage, done, failed, int(mine.sum()) - done - failed, round(seconds, 1))
