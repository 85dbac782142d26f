"""How far a run is, from its plan, manifest and journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpckit.cube.manifest import Manifest
from hpckit.journal import Entry, outcomes, read_journal
from hpckit.plan import STAGES, Unit, read_plan
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
    shards: int
    slivers: int
    """Zones smaller than a pixel, that hold no pixel centre."""


def read_status(run: Run) -> Status:
    """Read the state of a run.

    Raises
    ------
    PlanError
        If it has no plan yet.
    """
    units = read_plan(run.plan)
    known = outcomes(read_journal(run.path), {unit.id: unit.inputs for unit in units})
    failures: dict[str, list[str]] = {}
    for unit in units:
        entry = known.get(unit.id)
        if entry is not None and entry.state == "failed":
            failures.setdefault(entry.reason or "unknown", []).append(unit.id)
    return Status(
        run_id=run.run_id,
        campaign=run.campaign.name,
        stages=tuple(_stage(stage, units, known) for stage in STAGES),
        failures={reason: tuple(sorted(ids)) for reason, ids in sorted(failures.items())},
        shards=len(Manifest.load(run.campaign.cube_path).records()),
        slivers=int(sum(entry.metrics.get("slivers", 0) for entry in known.values() if entry.stage == "index")),
    )


def _stage(stage: str, units: Sequence[Unit], known: Mapping[str, Entry]) -> StageStatus:
    mine = [known.get(unit.id) for unit in units if unit.stage == stage]
    done = [entry for entry in mine if entry is not None and entry.state == "done"]
    failed = [entry for entry in mine if entry is not None and entry.state == "failed"]
    waiting = len(mine) - len(done) - len(failed)
    return StageStatus(stage, len(done), len(failed), waiting, round(sum(entry.seconds for entry in done), 1))
