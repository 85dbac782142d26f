"""How far a run is, from its plan and journal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.base import claims
from hpckit.base.arrow import numbers_of, text
from hpckit.base.card import card
from hpckit.base.quantities import format_count
from hpckit.errors import FileUnavailableError
from hpckit.runs.journal import Tally, tally
from hpckit.runs.plan import read_inputs
from hpckit.runs.run import LOCK, Run


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Units of a stage."""

    stage: str
    done: int
    failed: int
    waiting: int
    seconds: float
    """Core time spent on units that are done."""
    left_s: float | None = None
    """Seconds until the stage is done, at the pace since the present work began; None where there is none."""

    @property
    def text(self) -> str:
        """How far it is, in words."""
        total = format_count(self.done + self.failed + self.waiting, "unit")
        others = [(self.failed, "failed"), (self.waiting, "waiting")]
        return ", ".join(
            [f"{self.done:,} of {total} done", *(f"{count:,} {name}" for count, name in others if count)]
        )


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

    def _repr_html_(self) -> str:
        rows = [(stage.stage, stage.text) for stage in self.stages]
        rows += [(f"{len(units):,} failed", reason) for reason, units in self.failures.items()]
        return card(f"{self.campaign}, run {self.run_id}", rows)


def read_status(run: Run, since: float | None = None) -> Status:
    """Read the state of a run.

    Parameters
    ----------
    since : float, optional
        When the present work began, seconds since 1970; that of the run's lock if not given.

    Raises
    ------
    PlanError
        If it has no plan yet.
    """
    units, stages, inputs = read_inputs(run.plan)
    planned = stages.unique().to_pylist()
    known = tally(run.path, units, inputs)
    failures: dict[str, list[str]] = {}
    for place, reason in known.reasons.items():
        failures.setdefault(reason, []).append(units[place].as_py())
    return Status(
        run_id=run.run_id,
        campaign=run.campaign.name,
        stages=tuple(_stage(stage, stages, known, since or _working_since(run)) for stage in planned),
        failures={reason: tuple(sorted(ids)) for reason, ids in sorted(failures.items())},
        slivers=int(known.slivers),
    )


def _stage(stage: str, stages: Any, known: Tally, since: float | None) -> StageStatus:
    import pyarrow.compute as pc

    mine = numbers_of(pc.equal(stages, text(stage)))
    done, failed = int((known.done & mine).sum()), int((known.failed & mine).sum())
    seconds = float(known.seconds[known.done & mine].sum())
    waiting = int(mine.sum()) - done - failed
    left_s = _left(known.start[known.done & mine], waiting, since) if since is not None else None
    return StageStatus(stage, done, failed, waiting, round(seconds, 1), left_s)


def _left(starts: npt.NDArray[np.float64], waiting: int, since: float) -> float | None:
    """Seconds for what waits, at the pace of what was begun since."""
    recent = starts[starts >= since]
    if not waiting or not len(recent):
        return None
    return float(waiting * max(0.0, time.time() - recent.min()) / len(recent))


def _working_since(run: Run) -> float | None:
    """When the process began that works on the run here, if one does."""
    try:
        who = claims.holder(run.path / LOCK)
        return None if who is None else datetime.fromisoformat(who["since"]).timestamp()
    except (FileUnavailableError, ValueError, KeyError, TypeError):
        return None
