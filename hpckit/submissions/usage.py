"""What a submission's elements used of what they were given: core-hours, memory, and what was wasted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpckit.runs.journal import Entry
from hpckit.sites.scheduler.model import State
from hpckit.submissions.attempts import writer_name
from hpckit.submissions.follow import ElementState, remembered
from hpckit.submissions.submission import StageLayout, Submission


@dataclass(frozen=True, slots=True)
class StageUsage:
    """Use of resources by the elements of a stage that have ended."""

    submission: int
    stage: str
    elements: int
    succeeded: int
    core_hours: float
    """Allocated: time of the elements, times their cores."""
    node_hours: float
    useful_core_hours: float
    """Spent on units that are done."""
    cpu: float | None
    """Part of the allocated time in which the cores were busy; None where the scheduler does not report it."""
    memory: float | None
    """Largest memory of an element's task over what a node was asked for."""

    @property
    def wasted_core_hours(self) -> float:
        """Allocated and not spent on units that are done: start, waiting for the last rank, failures."""
        return max(0.0, self.core_hours - self.useful_core_hours)


def usage(submission: Submission, entries: Iterable[Entry]) -> list[StageUsage]:
    """Use of resources by stage, as far as it was asked for (`follow.look` with details).

    Parameters
    ----------
    entries : iterable of Entry
        Journal of the run.
    """
    by_stage: dict[str, list[ElementState]] = {}
    for item in remembered(submission):
        by_stage.setdefault(item.stage, []).append(item)
    journal = list(entries)
    return [
        _usage(submission, stage, by_stage[stage.stage], journal)
        for stage in submission.stages
        if any(item.sighting.elapsed_s is not None for item in by_stage.get(stage.stage, ()))
    ]


def _usage(
    submission: Submission, stage: StageLayout, seen: Sequence[ElementState], entries: Sequence[Entry]
) -> StageUsage:
    told = [item.sighting for item in seen if item.sighting.elapsed_s is not None]
    cores = stage.resources.cores_in_all
    allocated = sum((s.elapsed_s or 0.0) * (s.cores or cores) for s in told)
    cpu_s = [s.cpu_s for s in told if s.cpu_s is not None]
    rss = [s.max_rss for s in told if s.max_rss is not None]
    first = writer_name(submission.number, stage.stage, 0).partition("-")[0]
    mine = (e for e in entries if e.stage == stage.stage and e.state == "done" and e.writer.startswith(f"{first}-"))
    return StageUsage(
        submission=submission.number,
        stage=stage.stage,
        elements=len(told),
        succeeded=sum(s.state is State.SUCCEEDED for s in told),
        core_hours=allocated / 3600,
        node_hours=sum(s.elapsed_s or 0.0 for s in told) * stage.resources.nodes / 3600,
        useful_core_hours=sum(entry.seconds for entry in mine) * stage.resources.cores / 3600,
        cpu=sum(cpu_s) / allocated if cpu_s and allocated else None,
        memory=max(rss) / (stage.resources.memory_mib * 2**20) if rss else None,
    )
