"""Why a job waits or failed, for its log: elements and units, nodes, memory and time asked and used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hpckit.base.quantities import format_bytes, format_count, format_duration
from hpckit.errors import HpckitError
from hpckit.runs.journal import read_journal
from hpckit.runs.run import Run
from hpckit.runs.status import read_status
from hpckit.serve.openeo.joblog import note
from hpckit.sites.scheduler.model import State
from hpckit.sites.site import scheduler_of
from hpckit.submissions.follow import ElementState, look, remembered
from hpckit.submissions.idle import runner_of
from hpckit.submissions.submission import StageLayout, Submission, submissions
from hpckit.submissions.usage import usage

_SHOWN: Final = 10
_FAILED: Final = (State.FAILED, State.TIMEOUT, State.OUT_OF_MEMORY, State.NODE_FAILED, State.CANCELLED, State.ENDED)


def queue_reason(seen: Sequence[ElementState]) -> str:
    """Why elements wait, in one sentence; empty if nothing is known."""
    held = Counter(item.sighting.reason for item in seen if item.state is State.HELD and item.sighting.reason)
    if held:
        return f"held by the scheduler: {held.most_common(1)[0][0]}"
    waiting = Counter(item.sighting.reason for item in seen if item.state is State.PENDING and item.sighting.reason)
    # Those that wait for others are not what holds the job up.
    reasons = [reason for reason, _ in waiting.most_common() if reason != "Dependency"]
    return f"waiting: {reasons[0]}" if reasons else ""


def explain_failure(log: Path, run: Run, submission: Submission) -> None:
    """Write an entry for each reason why elements or units of a submission failed."""
    for item in _ended(submission):
        stage = submission.stage(item.stage)
        if item.state in _FAILED:
            note(log, "error", _of_element(item, stage), code=_code(item.state), data=_figures(item, stage))
    journal = {entry.unit: entry for entry in read_journal(run.path) if entry.state == "failed"}
    status = read_status(run)
    for reason, units in list(status.failures.items())[:_SHOWN]:
        last = journal.get(units[0])
        spent = f", after {format_duration(last.seconds)} in {last.writer}" if last is not None else ""
        more = f" and {format_count(len(units) - 1, 'other unit')}" if len(units) > 1 else ""
        note(log, "error", f"unit {units[0]}{more}: {reason}{spent}", code="UnitFailed", data={"units": units[:50]})
    waiting = sum(stage.waiting for stage in status.stages)
    if waiting:
        note(log, "warning", f"{format_count(waiting, 'unit')} not tried, or lost with their element")


def _ended(submission: Submission) -> list[ElementState]:
    """Elements with what they used, as far as the scheduler tells."""
    scheduler, before = scheduler_of(submission.site), remembered(submission)
    try:
        seen = look(submission, scheduler, runner_of(submission.site, scheduler), details=True)
    except HpckitError:
        seen = before
    # What outputs said is not in what the accounting says.
    reasons = {(item.stage, item.element): item.sighting.reason for item in before}
    return [_with_reason(item, reasons) for item in seen if item.state in _FAILED][:_SHOWN]


def _with_reason(item: ElementState, reasons: Mapping[tuple[str, int], str]) -> ElementState:
    reason = item.sighting.reason or reasons.get((item.stage, item.element), "")
    return replace(item, sighting=replace(item.sighting, reason=reason))


def _of_element(item: ElementState, stage: StageLayout | None) -> str:
    sighting = item.sighting
    place = f" on {sighting.nodes}" if sighting.nodes else ""
    reason = f" ({sighting.reason})" if sighting.reason else ""
    code = f", exit code {sighting.exit_code}" if sighting.exit_code else ""
    text = f"element {item.stage}:{item.element} (job {item.id}){place}: {item.state}{reason}{code}"
    if stage is None:
        return text
    memory = f"memory asked {format_bytes(stage.resources.memory_mib * 2**20)}"
    memory += f", used {format_bytes(sighting.max_rss)}" if sighting.max_rss is not None else ""
    walltime = f"time asked {format_duration(stage.resources.walltime_s)}"
    walltime += f", used {format_duration(sighting.elapsed_s)}" if sighting.elapsed_s is not None else ""
    return f"{text}; {memory}; {walltime}"


def _figures(item: ElementState, stage: StageLayout | None) -> dict[str, Any]:
    asked = None if stage is None else stage.resources
    return {
        "job": item.id,
        "node": item.sighting.nodes or None,
        "memory_asked_mib": None if asked is None else asked.memory_mib,
        "memory_used_bytes": item.sighting.max_rss,
        "time_asked_s": None if asked is None else asked.walltime_s,
        "time_used_s": item.sighting.elapsed_s,
    }


def _code(state: State) -> str:
    return "".join(word.capitalize() for word in str(state).split())


def used(run: Run) -> dict[str, Any]:
    """What all submissions of a run used, as `usage` of a job; empty if the scheduler does not tell."""
    journal = read_journal(run.path)
    stages = [stage for item in submissions(run.path) for stage in usage(item, journal)]
    if not stages:
        return {}
    found: dict[str, Any] = {"cpu": {"value": round(3600 * sum(s.core_hours for s in stages)), "unit": "cpu-seconds"}}
    found["duration"] = {"value": round(sum(entry.seconds for entry in journal)), "unit": "seconds"}
    return found
