"""One step of a job's life: started, watched, ended, submitted again, or explained.

Each step can be cut at any moment and done again. What was submitted is known from the run (`submissions`), whose own
rules let a submission be whole or do nothing; the state of the job is written after that, never before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from hpckit import api
from hpckit.base.console import Advance, Console
from hpckit.base.quantities import format_count
from hpckit.errors import HpckitError, RunError, is_temporary
from hpckit.jobs.jobarrays import Request
from hpckit.reduce.graphs.ondemand.lost import LOST, read_lost
from hpckit.runs.run import Run, find_run
from hpckit.runs.status import Status, read_status
from hpckit.serve.openeo import runas
from hpckit.serve.openeo.explaining import explain_failure, queue_reason, used
from hpckit.serve.openeo.jobfolder import JobFolder, State
from hpckit.serve.openeo.joblog import entries, note
from hpckit.serve.openeo.options import Options, read_stored
from hpckit.serve.openeo.resultfiles import index_results
from hpckit.sites.scheduler.model import State as Seen
from hpckit.sites.site import scheduler_of
from hpckit.submissions.attempts import working_in
from hpckit.submissions.follow import ElementState, look, look_at_all, remembered, was_left
from hpckit.submissions.idle import runner_of
from hpckit.submissions.submission import Submission, latest

Errand = Callable[[JobFolder], None]
_Submit = Callable[[JobFolder, Request, Console], Submission | None]
_ATTEMPTS: Final = 3
"""How often a follower may be killed while it submits one job, before the job is taken for the cause."""
_ENDING_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A job whose elements wait or run."""

    job: JobFolder
    state: State
    submission: Submission

    @property
    def run(self) -> Run:
        """Its run; read only when something has begun, since many jobs wait."""
        return find_run(self.submission.run_dir)


# -- what the owner wants -------------------------------------------------------------------------------------------
def is_wish_open(job: JobFolder) -> bool:
    """Whether the owner wants something that has not been done."""
    wanted, state = job.wanted(), job.state()
    if wanted is None:
        return False
    return state is None or state.number != wanted.number or (state.status == "queued" and not state.submission)


def fulfil(job: JobFolder) -> None:
    """Do what the owner wants."""
    wanted = job.wanted()
    if wanted is None:
        return
    if wanted.want == "run":
        _start(job, wanted.number)
        return
    known = job.state()
    _stop(job)
    if wanted.want == "delete":
        job.remove()
        return
    note(job.log, "info", "stopped by its owner; units that are done are kept")
    made = known or State(wanted.number, "canceled", 0.0)
    job.write_state(replace(made, number=wanted.number, status="canceled", said=""))


def _start(job: JobFolder, number: int) -> None:
    state, last = job.state(), _last(job)
    if state is None or state.number != number:
        before = 0 if last is None else last.number
        state = job.write_state(State(number, "queued", 0.0, before=before))
    if last is not None and _is_whole(last, state.before):
        _submitted(job, state, last)  # by a follower that was killed after that
        return
    if state.attempts >= _ATTEMPTS:
        _give_back(job, state.before)
        _fail(job, state, f"the server was interrupted {_ATTEMPTS} times while it submitted this job")
        return
    state = job.write_state(replace(state, attempts=state.attempts + 1))
    try:
        made = runas.submit(job, _request(job), LogConsole(job))
    except (HpckitError, OSError) as error:
        last = _last(job)
        if last is not None and _is_whole(last, state.before):
            _submitted(job, state, last)  # by a command that outlived its follower, or was let go just now
            return
        if is_temporary(error):
            _say_once(job, replace(state, attempts=state.attempts - 1), f"not submitted yet: {error}")
            raise
        _give_back(job, state.before)
        _fail(job, state, _told(error))
        return
    if made is None:
        note(job.log, "info", "all units were done before; only the results are listed again")
        _finish(job, state, find_run(job.campaign))
        return
    _submitted(job, state, made)


def _is_whole(submission: Submission, before: int) -> bool:
    """Whether it is one of this wish, and its jobs may start: if it is only committed, they are held."""
    return submission.number > before and submission.has("committed") and submission.has("released")


def _give_back(job: JobFolder, before: int) -> None:
    """Cancel what the scheduler may have of a submission that is given up."""
    last = _last(job)
    if last is not None and last.number > before and not last.is_over:
        with suppress(HpckitError, OSError):
            runas.cancel(job)


def _submitted(job: JobFolder, state: State, made: Submission) -> None:
    ids = ", ".join(item.id for item in made.submitted()[:8])
    units = format_count(sum(stage.units for stage in made.stages), "unit")
    elements = format_count(sum(stage.elements for stage in made.stages), "element")
    note(job.log, "info", f"submitted to {made.site.name}: {units} in {elements}, jobs {ids}")
    job.write_state(replace(state, submission=made.number, attempts=0))


def _stop(job: JobFolder) -> None:
    """Cancel what waits or runs, and wait until nothing works in the folder any more."""
    last = _last(job)
    if last is None:
        return
    runas.cancel(job)
    scheduler = scheduler_of(last.site)
    runner, end = runner_of(last.site, scheduler), time.monotonic() + _ENDING_S
    while time.monotonic() < end:
        with suppress(HpckitError):
            live = [item for item in look(last, scheduler, runner, fresh=True) if item.state.is_live]
            if not live and not working_in(last.run_dir):
                return
        time.sleep(1)


# -- while it waits and runs ----------------------------------------------------------------------------------------
def by_site(jobs: Sequence[JobFolder]) -> list[list[Watched]]:
    """Jobs that were submitted, in groups that one query of a scheduler covers."""
    groups: dict[str, list[Watched]] = {}
    for job in jobs:
        try:
            state, place = job.state(), job.run
            last = None if place is None else latest(place)
        except (HpckitError, OSError):
            continue  # not to be read at the moment, or being removed
        if state is not None and last is not None:
            groups.setdefault(last.site.scheduler, []).append(Watched(job, state, last))
    return list(groups.values())


def observe(group: Sequence[Watched]) -> Iterator[tuple[JobFolder, bool]]:
    """Ask the scheduler for all jobs of a group, and write down what changed.

    Yields
    ------
    job : JobFolder
        That changed.
    is_over : bool
        Whether all its elements have ended, or none can start since the command that submitted them was killed.
    """
    scheduler = scheduler_of(group[0].submission.site)
    runner = runner_of(group[0].submission.site, scheduler)
    cut = {each.job.id for each in group if was_left(each.submission)}
    live = [each for each in group if each.job.id not in cut and not each.submission.is_over]
    try:
        found = look_at_all([each.submission for each in live], scheduler, runner) if live else []
    except HpckitError as error:  # whatever the scheduler says: jobs of other sites are followed all the same
        for each in group:
            _say_once(each.job, each.state, f"{error}; what was known of the job may have changed")
        return
    seen = {each.job.id: elements for each, elements in zip(live, found, strict=True)}
    for each in group:
        if each.job.id in cut or each.submission.is_over:
            yield each.job, True
        elif _write_seen(each, seen[each.job.id]):
            yield each.job, False


def _progress_of(each: Watched) -> float | None:
    """Share of units that are done, percent; None if it cannot be read at the moment."""
    try:
        return round(_progress(read_status(each.run, each.submission.created)), 1)
    except (HpckitError, OSError):
        return None


def _write_seen(each: Watched, seen: Sequence[ElementState]) -> bool:
    """Write what elements do; whether anything changed."""
    has_begun = any(item.state in (Seen.RUNNING, Seen.SUSPENDED) or item.state.is_over for item in seen)
    state = each.state
    if not has_begun and state.status == "queued":
        return _say_once(each.job, state, queue_reason(seen))
    progress = _progress_of(each)
    if progress is None or (state.status == "running" and progress == state.progress):
        return False
    if state.status == "queued":
        nodes = sorted({item.sighting.nodes for item in seen if item.sighting.nodes})
        note(each.job.log, "info", "the first elements have begun" + (f" on {', '.join(nodes[:4])}" if nodes else ""))
    each.job.write_state(replace(state, status="running", progress=max(progress, state.progress), said=""))
    return True


def _progress(status: Status) -> float:
    done = sum(stage.done for stage in status.stages)
    every = sum(stage.done + stage.failed + stage.waiting for stage in status.stages)
    return 100.0 * done / every if every else 0.0


# -- when it is over ------------------------------------------------------------------------------------------------
def conclude(job: JobFolder) -> None:
    """Decide what follows once all elements of the last submission have ended, or none of them can start."""
    wanted, state, run = job.wanted(), job.state(), find_run(job.campaign)
    last = latest(run.path)
    if wanted is None or state is None or last is None or state.number != wanted.number:
        return  # the owner wants something else meanwhile
    is_new = last.number > state.submission
    if is_new and last.has("released"):  # submitted again before a kill
        _submitted(job, replace(state, retried=state.retried + 1), last)
    elif (is_new or was_left(last)) and _submit_again(job, state):  # a kill, or the scheduler, cut it short
        return
    elif _is_done(run):
        _finish(job, state, run)
    else:
        _go_on_or_fail(job, state, run, last)


def _is_done(run: Run) -> bool:
    return not any(stage.failed or stage.waiting for stage in read_status(run).stages)


def _go_on_or_fail(job: JobFolder, state: State, run: Run, last: Submission) -> None:
    explain_failure(job.log, run, last)
    states = {item.state for item in remembered(last)}
    if Seen.CANCELLED in states:
        note(job.log, "warning", "jobs were cancelled on the cluster, not by the owner of this job")
        job.write_state(replace(state, status="canceled", usage=used(run)))
        return
    # Dates that cannot be decoded are no dates of the collection from now on: the job is planned without them.
    if _say_lost(job, run) and _submit_again(job, state, runas.submit):
        return
    if state.retried < job.job().retries and _submit_again(job, state):
        return
    if _is_done(run):  # what nodes wrote last was seen late
        _finish(job, state, run)
        return
    _fail(job, state, "units failed; the entries before say why", usage=used(run))


def _say_lost(job: JobFolder, run: Run) -> bool:
    """Note dates that could not be decoded; whether there are some that were not noted before."""
    noted = {entry["message"] for entry in entries(job.log, "warning")}
    found = [
        f"collection {item.collection}: {item.acquisition} of tile {item.tile} cannot be decoded, and is left out "
        f"from now on: {item.reason}"
        for item in read_lost(run.path / LOST)
    ]
    fresh = [message for message in found if message not in noted]
    for message in fresh:
        note(job.log, "warning", message)
    return bool(fresh)


def _submit_again(job: JobFolder, state: State, again: _Submit = runas.retry) -> bool:
    try:
        made = again(job, _request(job), LogConsole(job))
    except (HpckitError, OSError) as error:
        if is_temporary(error):
            raise
        note(job.log, "error", _told(error))
        return False
    if made is None:
        return False
    _submitted(job, replace(state, retried=state.retried + 1), made)
    return True


def _finish(job: JobFolder, state: State, run: Run) -> None:
    """Check results and list them; only then is a job finished."""
    _say_lost(job, run)
    faults = api.verify(job.campaign)
    if faults:
        note(job.log, "warning", f"not all files are what was written ({len(faults)}): {faults[0]}")
        if state.retried < job.job().retries and _submit_again(job, state):
            return
        _fail(job, state, "results are damaged", usage=used(run))
        return
    try:
        count = index_results(job)
    except (HpckitError, OSError) as error:
        if is_temporary(error):
            raise
        _fail(job, state, _told(error), usage=used(run))
        return
    note(job.log, "info", f"finished: {count} file{'s'[: count != 1]}")
    job.write_state(replace(state, status="finished", progress=100.0, said="", usage=used(run)))


def _fail(job: JobFolder, state: State, why: str, usage: dict[str, Any] | None = None) -> None:
    note(job.log, "error", why)
    job.write_state(replace(state, status="error", said="", usage=usage or state.usage))


def give_up(job: JobFolder, error: Exception) -> None:
    """End a job of which a step failed by an error in hpckit itself; what runs of it is stopped."""
    wanted, state = job.wanted(), job.state()
    if wanted is not None and wanted.want == "run":
        with suppress(HpckitError, OSError):
            _stop(job)
        made = state or State(wanted.number, "queued", 0.0)
        _fail(job, replace(made, number=wanted.number), f"an error in hpckit itself: {type(error).__name__}: {error}")


# -- pieces ---------------------------------------------------------------------------------------------------------
class LogConsole(Console):
    """What commands would print, in the log of a job."""

    def __init__(self, job: JobFolder) -> None:
        super().__init__(quiet=True)
        self._log = job.log

    def say(self, text: str) -> None:
        """Note a message."""
        note(self._log, "info", text)

    def warn(self, text: str) -> None:
        """Note a warning."""
        note(self._log, "warning", text)

    @contextmanager
    def progress(self, what: str, *, total: float | None = None, unit: str = "") -> Iterator[Advance]:
        """Show nothing."""
        yield lambda done, total: None


def _say_once(job: JobFolder, state: State, text: str) -> bool:
    """Note what holds a job up, if that is not what was noted last; whether it was."""
    if text == state.said:
        return False
    if text:
        note(job.log, "info", text)
    job.write_state(replace(state, said=text))
    return True


def _request(job: JobFolder) -> Request:
    asked = job.job()
    options: Options = read_stored(asked.options)
    return Request(account=asked.account, partition=options.partition, qos=options.qos)


def _last(job: JobFolder) -> Submission | None:
    try:
        return latest(find_run(job.campaign).path)
    except (RunError, FileNotFoundError):
        return None
    except HpckitError:
        if job.campaign.exists():
            raise
        return None


def _told(error: BaseException) -> str:
    hint = getattr(error, "hint", None)
    return f"{error}; {hint}" if hint else str(error)
