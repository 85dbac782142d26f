"""Follow a submission: what the scheduler says of its elements, asked for as seldom as possible.

One query covers all arrays. Elements that are over are remembered in the submission's folder and not asked
for again; people who follow the same run share what was asked some seconds ago.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from hpckit.errors import SchedulerError
from hpckit.files import write_json
from hpckit.scheduler.model import Scheduler, Sighting, State
from hpckit.scheduler.runner import Runner
from hpckit.submission import Submission, Submitted

_FRESH_S: Final = 5
_GROWTH: Final = 1.5
_REFRESH_S: Final = 10
_TAIL: Final = 4096
_SAID_IN_OUTPUT: Final = {
    State.OUT_OF_MEMORY: re.compile(r"[Ee]xceeded (?:job|step) memory limit|oom.kill|PBS: job killed: mem"),
    State.TIMEOUT: re.compile(r"DUE TO TIME LIMIT|PBS: job killed: walltime"),
}
Place = tuple[str, int]
"""Stage and element."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an element from the scheduler."""

    stage: str
    element: int
    id: str
    """As the scheduler calls it."""
    sighting: Sighting

    @property
    def is_final(self) -> bool:
        """Whether the scheduler will not say anything else of it."""
        return self.sighting.state.is_over and self.sighting.state is not State.ENDED


def look(submission: Submission, scheduler: Scheduler, runner: Runner, *, details: bool = False) -> list[Seen]:
    """Ask for all elements of a submission.

    Parameters
    ----------
    details : bool
        Also ask what elements used; for a report.

    Raises
    ------
    SchedulerUnavailableError
        If the scheduler does not answer.
    """
    memory = _remembered(submission)
    if not details and memory.age_s < _FRESH_S:
        return list(memory.seen.values())
    seen = dict(memory.seen)
    open_jobs = _open_jobs(submission, seen)
    if open_jobs:
        ids = [item.id for item in open_jobs]
        _merge(seen, open_jobs, scheduler.read_query(runner(scheduler.query(ids))), scheduler)
    lacking = [item for item in submission.submitted() if details or _lacks_an_end(item, seen)]
    if lacking:
        _ask_history(seen, lacking, scheduler, runner)
    _read_outputs(submission, seen, memory.seen)
    _remember(submission, seen)
    if seen and all(item.is_final for item in seen.values()) and submission.has("committed"):
        _mark_ended(submission)
    return list(seen.values())


def watch(submission: Submission, scheduler: Scheduler, runner: Runner) -> Iterator[list[Seen]]:
    """Look again and again, less and less often while nothing changes, until all elements are over.

    What was seen is also given between two queries, every some seconds: the journals go on meanwhile.
    """
    interval, before = submission.site.poll.first_s, ""
    while True:
        seen = look(submission, scheduler, runner)
        yield seen
        if submission.is_over:
            return
        now = json.dumps(sorted((item.stage, item.element, item.sighting.state) for item in seen))
        interval = submission.site.poll.first_s if now != before else interval * _GROWTH
        before = now
        left = min(interval, submission.site.poll.longest_s)
        while left > _REFRESH_S:
            time.sleep(_REFRESH_S)
            left -= _REFRESH_S
            yield seen
        time.sleep(left)


def remembered(submission: Submission) -> list[Seen]:
    """What was found the last time, without asking."""
    return list(_remembered(submission).seen.values())


def count(seen: Iterable[Seen]) -> dict[str, dict[State, int]]:
    """Elements by stage and state."""
    counts: dict[str, dict[State, int]] = {}
    for item in seen:
        stage = counts.setdefault(item.stage, {})
        stage[item.sighting.state] = stage.get(item.sighting.state, 0) + 1
    return counts


@dataclass(frozen=True, slots=True)
class _Memory:
    seen: Mapping[Place, Seen]
    age_s: float


def _remembered(submission: Submission) -> _Memory:
    path = submission.path / "seen.json"
    try:
        values = json.loads(path.read_text())
        seen = [_read_seen(item) for item in values["seen"]]
    except (OSError, ValueError, KeyError, TypeError):
        return _Memory({}, float("inf"))
    return _Memory({(item.stage, item.element): item for item in seen}, time.time() - values["time"])


def _remember(submission: Submission, seen: Mapping[Place, Seen]) -> None:
    try:
        write_json(submission.path / "seen.json", {"time": time.time(), "seen": [asdict(s) for s in seen.values()]})
    except OSError:
        return  # somebody of the project who may read the run but not write it


def _mark_ended(submission: Submission) -> None:
    try:
        submission.mark("ended")
    except OSError:
        return


def _read_seen(values: dict[str, Any]) -> Seen:
    sighting = {**values["sighting"], "state": State(values["sighting"]["state"])}
    return Seen(values["stage"], values["element"], values["id"], Sighting(**sighting))


def _open_jobs(submission: Submission, seen: Mapping[Place, Seen]) -> list[Submitted]:
    """Jobs of which some element is not known to be over."""
    return [item for item in submission.submitted() if any(_not_final(seen, place) for place in _places(item))]


def _lacks_an_end(item: Submitted, seen: Mapping[Place, Seen]) -> bool:
    """Whether an element is over or gone, and it is not known how."""
    states = [seen[place].sighting.state for place in _places(item) if place in seen]
    return any(state in (State.ENDED, State.UNKNOWN) for state in states)


def _not_final(seen: Mapping[Place, Seen], place: Place) -> bool:
    return place not in seen or not seen[place].is_final


def _places(item: Submitted) -> list[Place]:
    if item.index is not None:
        return [(item.stage, item.first + item.index)]
    return [(item.stage, item.first + index) for index in range(item.count)]


def _merge(
    seen: dict[Place, Seen], jobs: Sequence[Submitted], sightings: Sequence[Sighting], scheduler: Scheduler
) -> None:
    """Expand what was said to elements: those without a record of their own share that of the job."""
    own = {(item.job, item.index): item for item in sightings}
    for job in jobs:
        rest = own.get((job.id, None))
        for number, place in enumerate(_places(job)):
            if not _not_final(seen, place):
                continue
            sighting = own.get((job.id, number)) or rest
            if sighting is None:
                sighting = Sighting(job.id, number, State.UNKNOWN, "", "the scheduler does not know it")
            _put(seen, place, job, number, sighting, scheduler)


def _ask_history(seen: dict[Place, Seen], jobs: Sequence[Submitted], scheduler: Scheduler, runner: Runner) -> None:
    command = scheduler.history([job.id for job in jobs])
    if command is None:
        return
    try:
        sightings = scheduler.read_history(runner(command))
    except SchedulerError:
        return  # no accounting here: how elements ended is told by the journals alone
    own = {(item.job, item.index): item for item in sightings}
    for job in jobs:
        rest = own.get((job.id, None))
        for number, place in enumerate(_places(job)):
            sighting = own.get((job.id, number)) or (rest if rest is not None and rest.state.is_over else None)
            known = seen.get(place)
            # Accounting lags: it may still say running, or nothing, of what is over.
            if sighting is not None and (known is None or sighting.state.is_over or not known.sighting.state.is_over):
                _put(seen, place, job, number, sighting, scheduler)


def _read_outputs(submission: Submission, seen: dict[Place, Seen], before: Mapping[Place, Seen]) -> None:
    """Look into the output of elements that have failed since: without control groups, only there it says why."""
    outputs = {
        place: submission.log(item, number)
        for item in submission.submitted()
        for number, place in enumerate(_places(item))
    }
    for place, item in seen.items():
        told = place in before and before[place].sighting.state is State.FAILED
        if item.sighting.state is State.FAILED and not told and place in outputs:
            state = _state_in(outputs[place])
            if state is not None:
                seen[place] = replace(item, sighting=replace(item.sighting, state=state))


def _state_in(output: Path) -> State | None:
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    return next((state for state, words in _SAID_IN_OUTPUT.items() if words.search(text)), None)


def _put(
    seen: dict[Place, Seen], place: Place, job: Submitted, number: int, sighting: Sighting, scheduler: Scheduler
) -> None:
    index = None if job.index is not None else number
    seen[place] = Seen(*place, scheduler.element_id(job.id, index), replace(sighting, index=number))
