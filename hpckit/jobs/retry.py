"""What to do next about elements that did not get through: the same again, or with more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hpckit.base.quantities import format_bytes, format_duration
from hpckit.jobs.jobarrays import Request
from hpckit.runs.journal import Entry, outcomes, read_journal
from hpckit.runs.plan import read_plan
from hpckit.runs.run import Run
from hpckit.sites.scheduler.model import State
from hpckit.sites.site import Site
from hpckit.submissions.follow import ElementState
from hpckit.submissions.submission import StageLayout, Submission

_MORE_MEMORY: Final = 1.6
_MORE_TIME: Final = 1.6


@dataclass(frozen=True, slots=True)
class Advice:
    """What a retry asks for, and why."""

    request: Request
    reasons: tuple[str, ...]


def advise(
    submission: Submission, seen: Iterable[ElementState], failures: Iterable[Entry], request: Request
) -> Advice:
    """Raise memory after elements that ran out of it, and walltime after those that ran out of time.

    Within what the partitions of the site have; where memory per rank cannot grow, elements get fewer ranks.

    Parameters
    ----------
    failures : iterable of Entry
        Failed units: a worker process that the kernel killed is reported there, not by the scheduler.
    """
    states: dict[str, set[State]] = {}
    for item in seen:
        states.setdefault(item.stage, set()).add(item.sighting.state)
    for entry in failures:
        if "out of memory" in (entry.reason or ""):
            states.setdefault(entry.stage, set()).add(State.OUT_OF_MEMORY)
    memory, time, reasons = dict(request.memory_mib or {}), dict(request.walltime_s or {}), list[str]()
    for stage in submission.stages:
        ended = states.get(stage.stage, set())
        if State.OUT_OF_MEMORY in ended:
            memory[stage.stage] = _more_memory(stage, submission.site, reasons)
        if State.TIMEOUT in ended:
            time[stage.stage] = _more_time(stage, submission.site, reasons)
    return Advice(replace(request, memory_mib=memory, walltime_s=time), tuple(reasons))


def _more_memory(stage: StageLayout, site: Site, reasons: list[str]) -> int:
    partition = site.partition(stage.resources.partition or None)
    before = stage.resources.memory_mib // stage.resources.ranks
    wanted = int(before * _MORE_MEMORY)
    granted = min(wanted, partition.memory_mib or wanted)
    limit = "" if granted == wanted else f", all that a node of {partition.name} has"
    reasons.append(
        f"{stage.stage}: {format_bytes(granted * 2**20)} per rank instead of {format_bytes(before * 2**20)}, "
        f"since elements ran out of memory{limit}"
    )
    return granted


def _more_time(stage: StageLayout, site: Site, reasons: list[str]) -> int:
    partition = site.partition(stage.resources.partition or None)
    before = stage.resources.walltime_s
    wanted = int(before * _MORE_TIME)
    granted = min(wanted, partition.walltime or wanted)
    limit = "" if granted == wanted else f", the longest that {partition.name} allows"
    reasons.append(
        f"{stage.stage}: walltime {format_duration(granted)} instead of {format_duration(before)}, "
        f"since elements ran out of time{limit}"
    )
    return granted


def planned_outcomes(run: Run) -> list[Entry]:
    """What became of the units of a run's plan that were tried with their present inputs."""
    return list(outcomes(read_journal(run.path), {unit.id: unit.inputs for unit in read_plan(run.plan)}).values())


def failed_units(entries: Sequence[Entry]) -> frozenset[str]:
    """Ids of units whose last outcome is a failure."""
    return frozenset(entry.unit for entry in entries if entry.state == "failed")
