"""Whether jobs of a run may still work, and what to do with submissions that were cut short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpckit.base.quantities import format_count
from hpckit.errors import BusyError, HpckitError, SchedulerUnavailableError
from hpckit.runs.run import Run
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Runner, State
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.site import Site, scheduler_of
from hpckit.submissions.attempts import describe, working_in
from hpckit.submissions.follow import ElementState, look
from hpckit.submissions.submission import Submission, latest, submissions
from hpckit.submissions.withdraw import withdraw


def require_no_jobs(run: Run) -> None:
    """Refuse to touch a run while jobs of a cluster may work on it.

    Raises
    ------
    BusyError
        If they do.
    """
    last = latest(run.path)
    if last is not None and not last.is_over:
        scheduler = scheduler_of(last.site)
        require_idle(run, scheduler, runner_of(last.site, scheduler))
    signs = working_in(run.path)
    if signs:
        raise BusyError(
            f"{describe(signs)}",
            hint=f"after `hpckit cancel` it ends within moments; if it is surely gone, delete {signs[0].path}",
        )


def submitted(run: Run) -> set[str]:
    """Digests of the frozen inputs of submissions: of the last one, and of all that may not have ended."""
    known = submissions(run.path)
    return {item.frozen for item in known if not item.is_over or item is known[-1]}


def require_idle(run: Run, scheduler: Scheduler, runner: Runner) -> None:
    """Refuse to submit while jobs of the last submission may run.

    Raises
    ------
    BusyError
        If they do, or if this is unknown.
    """
    last = latest(run.path)
    if last is None or last.is_over:
        return
    if last.site.scheduler != scheduler.name:
        raise BusyError(
            f"submission {last.number} of this run, on site {last.site.name}, has not ended",
            hint=f"`hpckit status {run.campaign.path}` there, or `hpckit cancel`",
        )
    settle(last, scheduler, runner)
    if last.is_over:
        return
    _require_over(last, look(last, scheduler, runner, fresh=True), run.campaign.path)
    last.mark("ended")


def _require_over(last: Submission, seen: Sequence[ElementState], campaign: Path) -> None:
    """Refuse while an element is not known to be over; that the scheduler says nothing of one is no end."""
    open_states = [item.sighting.state for item in seen if not item.sighting.state.is_over]
    unknown = open_states.count(State.UNKNOWN)
    if len(open_states) > unknown:
        raise BusyError(
            f"jobs of submission {last.number} still run or wait on {last.site.name}",
            hint=f"follow them with `hpckit watch {campaign}`, or stop them with `hpckit cancel`",
        )
    if unknown:
        raise BusyError(
            f"{format_count(unknown, 'element')} of submission {last.number} may still run: the scheduler "
            f"of {last.site.name} does not know them (any more), and their outputs have no last line",
            hint=f"try again in two minutes; if they are surely over, `hpckit cancel {campaign}` closes it",
        )


def release(submission: Submission, scheduler: Scheduler, runner: Runner) -> None:
    """Let the root jobs of a committed submission start."""
    roots = {job.name for job in submission.jobs if job.is_root}
    held = [item.id for item in submission.submitted() if item.name in roots]
    scheduler.check_done(runner(scheduler.release(held)))
    submission.mark("released")


def settle(submission: Submission, scheduler: Scheduler, runner: Runner) -> None:
    """Finish what a command that was killed left half done: take jobs back, or let them start."""
    if submission.is_over:
        return
    if submission.has("cancelling"):
        cancel(submission, scheduler, runner)
    elif not submission.has("committed"):
        take_back(submission, scheduler, runner, None)
    elif not submission.has("released"):
        release(submission, scheduler, runner)


def cancel(submission: Submission, scheduler: Scheduler, runner: Runner) -> int:
    """Cancel all jobs of a submission; return how many waited or ran. What is done is kept.

    Raises
    ------
    SchedulerError
        If the scheduler refused or does not answer. Elements that have not started do nothing from now on, and
        the next command cancels the rest.
    """
    submission.mark("cancelling")
    count = withdraw(submission, scheduler, runner)
    submission.mark("cancelled", jobs=count)
    return count


def runner_of(site: Site, scheduler: Scheduler) -> LocalRunner:
    """Runner of a site's commands on this machine."""
    return LocalRunner(scheduler, site.poll.timeout_s)


def take_back(submission: Submission, scheduler: Scheduler, runner: Runner, error: BaseException | None) -> None:
    """Cancel the jobs of a submission that is not whole. If that fails too, the next command tries again.

    It also does where the scheduler did not answer: a job that it accepts later is held, and does not show yet.
    """
    try:
        count = withdraw(submission, scheduler, runner)
    except HpckitError as second:
        if error is None:
            raise
        error.add_note(
            f"{format_count(len(submission.submitted()), 'job')} accepted before could not be cancelled ({second}); "
            "they do nothing when they start, and the next hpckit command cancels them"
        )
        return
    if isinstance(error, SchedulerUnavailableError):
        return
    submission.mark("abandoned", jobs=count, why=str(error or "the command that submitted was interrupted"))
