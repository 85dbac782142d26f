"""Follow a submission: what the scheduler says of its elements, asked for as seldom as possible.

One query covers all arrays, and on PBS a second one those that are held. Elements that are over are remembered in
the submission's folder and not asked for again; people who follow the same run share what was asked some seconds ago.

An element that the scheduler does not list is *unknown*, which is no end. It has ended if its output says so
(`traces.py`), or by this rule: the server that gave its id denies to have such a job, in all answers of a minute
and a half, and the element gives no sign of work (`attempts.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from hpckit.base.claims import holder
from hpckit.base.files import write_json
from hpckit.errors import EX_TEMPFAIL, HpckitError, SchedulerError, SchedulerUnavailableError
from hpckit.runs.run import LOCK
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Runner, Sighting, State
from hpckit.submissions.attempts import working
from hpckit.submissions.submission import Submission, Submitted
from hpckit.submissions.traces import last_line, last_word

_FRESH_S: Final = 5
_GROWTH: Final = 1.5
_REFRESH_S: Final = 10
_SILENT_S: Final = 90
"""Seconds without a trace after which a job that its server denies is over: files of nodes appear late over NFS."""
Place = tuple[str, int]
"""Stage and element."""


@dataclass(frozen=True, slots=True)
class ElementState:
    """What is known of an element from the scheduler."""

    stage: str
    element: int
    id: str
    """As the scheduler calls it."""
    sighting: Sighting
    since: float | None = None
    """Since when it is over, or denied, without a word how; seconds since 1970."""
    closed: bool = False
    """How it ended will not become known any more."""

    @property
    def state(self) -> State:
        """What became of it: one that gave units back in good order has not failed, whatever its exit code says."""
        gave_back = self.sighting.state is State.FAILED and self.sighting.exit_code == EX_TEMPFAIL
        return State.GAVE_BACK if gave_back else self.sighting.state

    @property
    def is_final(self) -> bool:
        """Whether nothing else will become known of it."""
        return self.sighting.state.is_over and (self.closed or self.sighting.state is not State.ENDED)


def look(
    submission: Submission, scheduler: Scheduler, runner: Runner, *, details: bool = False, fresh: bool = False
) -> list[ElementState]:
    """Ask for all elements of a submission.

    Parameters
    ----------
    details : bool
        Also ask what elements used; for a report.
    fresh : bool
        Ask also where somebody has just asked.

    Raises
    ------
    SchedulerUnavailableError
        If the scheduler does not answer.
    """
    return look_at_all([submission], scheduler, runner, details=details, fresh=fresh)[0]


def look_at_all(
    submissions: Sequence[Submission],
    scheduler: Scheduler,
    runner: Runner,
    *,
    details: bool = False,
    fresh: bool = False,
) -> list[list[ElementState]]:
    """Ask for all elements of several submissions of one site, by the same number of queries as for one.

    Parameters
    ----------
    details, fresh : bool
        As in `look`.

    Returns
    -------
    list of list of ElementState
        Of each submission.

    Raises
    ------
    SchedulerUnavailableError
        If the scheduler does not answer.
    """
    looks = [_Look(submission, memory := _remembered(submission), dict(memory.seen)) for submission in submissions]
    asking = [each for each in looks if details or fresh or each.memory.age_s >= _FRESH_S]
    open_jobs = {id(each): _open_jobs(each.submission, each.seen) for each in asking}
    ids = [item.id for jobs in open_jobs.values() for item in jobs]
    if ids:
        listed = _by_job(scheduler.read_query(runner(scheduler.query(ids))))
        for each in asking:
            jobs = open_jobs[id(each)]
            _merge(each.seen, jobs, _of_jobs(listed, jobs), scheduler)
        _explain_held([(each.seen, open_jobs[id(each)]) for each in asking], scheduler, runner)
    lacking = {
        id(each): [item for item in each.submission.submitted() if details or _lacks_an_end(item, each.seen)]
        for each in asking
    }
    _ask_history([(each.seen, lacking[id(each)]) for each in asking if lacking[id(each)]], scheduler, runner)
    for each in asking:
        _conclude(each, scheduler)
    return [list(each.seen.values()) for each in looks]


@dataclass(frozen=True, slots=True)
class _Look:
    """A submission that is looked at."""

    submission: Submission
    memory: _Memory
    seen: dict[Place, ElementState]


def _conclude(each: _Look, scheduler: Scheduler) -> None:
    """Find ends that the scheduler does not tell, and remember what was seen."""
    submission, seen = each.submission, each.seen
    _read_outputs(submission, scheduler, seen, each.memory.seen)
    _close(submission, seen, each.memory.seen)
    _remember(submission, seen)
    if seen and all(item.is_final for item in seen.values()) and submission.has("committed"):
        _mark_ended(submission)


def _by_job(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    found: dict[str, list[Sighting]] = {}
    for item in sightings:
        found.setdefault(item.job, []).append(item)
    return found


def _of_jobs(listed: Mapping[str, list[Sighting]], jobs: Iterable[Submitted]) -> list[Sighting]:
    return [item for job in jobs for item in listed.get(job.id, ())]


def watch(
    submission: Submission,
    scheduler: Scheduler,
    runner: Runner,
    unanswered: Callable[[SchedulerUnavailableError], None] = lambda error: None,
) -> Iterator[list[ElementState]]:
    """Look again and again, less and less often while nothing changes, until all elements are over.

    Ends also where the command that submitted is gone and has left nothing to follow; then it is not over.

    What was seen is also given between two queries, every some seconds: the journals go on meanwhile.

    Parameters
    ----------
    unanswered : callable
        Called with what a query failed with; it is asked again later.
    """
    interval, before = submission.site.poll.first_s, ""
    while True:
        try:
            seen = look(submission, scheduler, runner)
        except SchedulerUnavailableError as error:
            unanswered(error)
            seen = remembered(submission)
        yield seen
        if submission.is_over or was_cut(submission) or not (_is_submitting(submission) or submission.submitted()):
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


def was_cut(submission: Submission) -> bool:
    """Whether the command that submitted ended half-way: its jobs do nothing, and no job is added."""
    # Asked in this order: a command marks what it has submitted before it goes.
    return not (_is_submitting(submission) or submission.is_over or submission.has("committed"))


def was_left(submission: Submission) -> bool:
    """Whether the command that submitted is gone, and its jobs are held until another command settles it."""
    if submission.has("released"):
        return False
    return not (_is_submitting(submission) or submission.is_over or submission.has("released"))


def _is_submitting(submission: Submission) -> bool:
    """Whether a command works on the run, which may be the one that submits."""
    try:
        return holder(submission.run_dir / LOCK) is not None
    except HpckitError:
        return True  # unknown at the moment


def remembered(submission: Submission) -> list[ElementState]:
    """What was found the last time, without asking."""
    return list(_remembered(submission).seen.values())


def count(seen: Iterable[ElementState]) -> dict[str, dict[State, int]]:
    """Elements by stage and state."""
    counts: dict[str, dict[State, int]] = {}
    for item in seen:
        stage = counts.setdefault(item.stage, {})
        stage[item.state] = stage.get(item.state, 0) + 1
    return counts


@dataclass(frozen=True, slots=True)
class _Memory:
    seen: Mapping[Place, ElementState]
    age_s: float


def _remembered(submission: Submission) -> _Memory:
    path = submission.path / "seen.json"
    try:
        values = json.loads(path.read_text())
        seen = [_read_seen(item) for item in values["seen"]]
    except (OSError, ValueError, KeyError, TypeError):
        return _Memory({}, float("inf"))
    age_s = time.time() - values["time"]
    # Written by a machine whose clock is ahead: it may be of any age.
    return _Memory({(item.stage, item.element): item for item in seen}, age_s if age_s >= 0 else float("inf"))


def _remember(submission: Submission, seen: Mapping[Place, ElementState]) -> None:
    try:
        write_json(submission.path / "seen.json", {"time": time.time(), "seen": [asdict(s) for s in seen.values()]})
    except OSError:
        return  # somebody of the project who may read the run but not write it


def _mark_ended(submission: Submission) -> None:
    try:
        submission.mark("ended")
    except OSError:
        return


def _read_seen(values: dict[str, Any]) -> ElementState:
    sighting = {**values["sighting"], "state": State(values["sighting"]["state"])}
    return ElementState(**{**values, "sighting": Sighting(**sighting)})


def _open_jobs(submission: Submission, seen: Mapping[Place, ElementState]) -> list[Submitted]:
    """Jobs of which some element is not known to be over."""
    return [item for item in submission.submitted() if any(_not_final(seen, place) for place in _places(item))]


def _lacks_an_end(item: Submitted, seen: Mapping[Place, ElementState]) -> bool:
    """Whether an element is over or gone, and it is not known how."""
    states = [seen[place].sighting.state for place in _places(item) if place in seen]
    return any(state in (State.ENDED, State.UNKNOWN) for state in states)


def _not_final(seen: Mapping[Place, ElementState], place: Place) -> bool:
    return place not in seen or not seen[place].is_final


def _places(item: Submitted) -> list[Place]:
    if item.index is not None:
        return [(item.stage, item.first + item.index)]
    return [(item.stage, item.first + index) for index in range(item.count)]


def _merge(
    seen: dict[Place, ElementState], jobs: Sequence[Submitted], sightings: Sequence[Sighting], scheduler: Scheduler
) -> None:
    """Expand what was said to elements: those without a record of their own share that of the job."""
    own = {(item.job, item.index): item for item in sightings}
    for job in jobs:
        rest = own.get((job.id, None))
        for number, place in enumerate(_places(job)):
            mine = own.get((job.id, number))
            if not _not_final(seen, place) and not (mine is not None and mine.state.is_live):
                continue  # one that is put back into the queue lives once more
            sighting = mine or rest
            if sighting is None:
                sighting = Sighting(job.id, number, State.UNKNOWN, "", "the scheduler does not know it")
            if _is_silence(sighting) and place in seen and seen[place].sighting.state.is_over:
                continue  # it was seen to end before the scheduler forgot it
            _put(seen, place, job, number, sighting, scheduler)


_Jobs = tuple[dict[Place, ElementState], Sequence[Submitted]]
"""What is known of the elements of a submission, and some of its jobs."""


def _explain_held(asked: Sequence[_Jobs], scheduler: Scheduler, runner: Runner) -> None:
    """Ask why jobs are held where the listing does not say it: those that only wait for others are not held."""
    held = [
        (seen, [job for job in jobs if any(_is_unexplained(seen, place) for place in _places(job))])
        for seen, jobs in asked
    ]
    ids = [job.id for _, jobs in held for job in jobs]
    command = scheduler.ask_held(ids) if ids else None
    if command is None:
        return
    try:
        found = {item.job: item for item in scheduler.read_held(runner(command))}
    except SchedulerError:
        return  # asked again at the next look
    for seen, jobs in held:
        for job in jobs:
            for place in _places(job):
                if job.id in found and _is_unexplained(seen, place):
                    known, said = seen[place], found[job.id]
                    sighting = replace(known.sighting, state=said.state, reason=said.reason)
                    seen[place] = replace(known, sighting=sighting)


def _is_unexplained(seen: Mapping[Place, ElementState], place: Place) -> bool:
    return place in seen and seen[place].sighting.state is State.HELD and not seen[place].sighting.reason


def _ask_history(asked: Sequence[_Jobs], scheduler: Scheduler, runner: Runner) -> None:
    ids = [job.id for _, jobs in asked for job in jobs]
    command = scheduler.history(ids) if ids else None
    if command is None:
        return
    try:
        listed = _by_job(scheduler.read_history(runner(command)))
    except SchedulerError:
        return  # no accounting here: only the journals show how elements ended
    for seen, jobs in asked:
        _merge_history(seen, jobs, _of_jobs(listed, jobs), scheduler)


def _merge_history(
    seen: dict[Place, ElementState], jobs: Sequence[Submitted], sightings: Sequence[Sighting], scheduler: Scheduler
) -> None:
    own = {(item.job, item.index): item for item in sightings}
    for job in jobs:
        rest = own.get((job.id, None))
        for number, place in enumerate(_places(job)):
            sighting = own.get((job.id, number)) or (rest if rest is not None and rest.state.is_over else None)
            known = seen.get(place)
            # Accounting lags: it may still say running, or nothing, of what is over; and of what the queue has, it
            # may still have the end of an attempt before.
            if sighting is None or (known is not None and known.sighting.state.is_live):
                continue
            if known is None or sighting.state.is_over or not known.sighting.state.is_over:
                _put(seen, place, job, number, sighting, scheduler)


def _read_outputs(
    submission: Submission,
    scheduler: Scheduler,
    seen: dict[Place, ElementState],
    before: Mapping[Place, ElementState],
) -> None:
    """Look into the output of elements whose end is not clear: for those that failed only there it says why."""
    outputs = {
        place: submission.log(item, number)
        for item in submission.submitted()
        for number, place in enumerate(_places(item))
    }
    for place, item in seen.items():
        told = place in before and before[place].sighting.state is State.FAILED
        unclear = item.sighting.state is State.ENDED or _is_silence(item.sighting)
        if place in outputs and (unclear or (item.sighting.state is State.FAILED and not told)):
            seen[place] = _with_last_word(item, outputs[place], scheduler)


def _with_last_word(item: ElementState, output: Path, scheduler: Scheduler) -> ElementState:
    sighting = item.sighting
    if sighting.state is State.FAILED:
        sighting = replace(sighting, reason=last_line(output, scheduler) or sighting.reason)
        item = replace(item, sighting=sighting)
    word = last_word(output, scheduler)
    if word is None or (sighting.state is State.FAILED and word.state is State.SUCCEEDED):
        return item
    code = word.exit_code if sighting.exit_code is None else sighting.exit_code
    told = sighting.reason if sighting.state is State.FAILED else ""
    reason = (last_line(output, scheduler) or told) if word.state is State.FAILED else ""
    return replace(item, sighting=replace(sighting, state=word.state, exit_code=code, reason=reason))


def _close(submission: Submission, seen: dict[Place, ElementState], before: Mapping[Place, ElementState]) -> None:
    """Give up on elements of which nothing more will be heard."""
    now = time.time()
    silent = [place for place, item in seen.items() if not item.is_final and _may_be_over(item.sighting)]
    busy = {(sign.stage, sign.element) for sign in working(submission.path)} if silent else set()
    for place in silent:
        # Somebody's clock may be ahead of ours.
        since = min((before[place].since if place in before else None) or now, now)
        over = now - since >= _SILENT_S and place not in busy
        sighting = seen[place].sighting
        if over:
            reason = sighting.reason or "it left no last word"
            sighting = replace(sighting, state=State.ENDED, reason=reason)
        elif place in busy:
            sighting = replace(sighting, reason=f"{sighting.reason}, and it works")
        seen[place] = replace(seen[place], sighting=sighting, since=since, closed=over)


def _is_silence(sighting: Sighting) -> bool:
    """Whether the scheduler said nothing of it; an unknown word for a state is not nothing."""
    return sighting.state is State.UNKNOWN and not sighting.word


def _may_be_over(sighting: Sighting) -> bool:
    return sighting.state is State.ENDED or (_is_silence(sighting) and sighting.denied)


def _put(
    seen: dict[Place, ElementState],
    place: Place,
    job: Submitted,
    number: int,
    sighting: Sighting,
    scheduler: Scheduler,
) -> None:
    index = None if job.index is not None else number
    seen[place] = ElementState(*place, scheduler.element_id(job.id, index), replace(sighting, index=number))
