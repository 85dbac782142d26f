"""Take jobs back: those that are certainly ours, and no others.

A number is not enough to know a job by: it belongs to one cluster, is given again one day, and another job may
have it by then. So the scheduler is asked first which jobs of this user bear our names, and only what it shows
is cancelled. A job that it does not show, or a scheduler that does not answer, is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import FoundJob, Job, Runner
from hpckit.submissions.submission import Submission, Submitted


def withdraw(submission: Submission, scheduler: Scheduler, runner: Runner) -> int:
    """Cancel the jobs of a submission that wait or run; return how many there were.

    Raises
    ------
    SchedulerError
        If the scheduler refused or does not answer; what it has not cancelled goes on.
    """
    return cancel_ours(submission.jobs, submission.submitted(), scheduler, runner)


def cancel_ours(jobs: Sequence[Job], recorded: Sequence[Submitted], scheduler: Scheduler, runner: Runner) -> int:
    """Cancel what of some jobs waits or runs, also what the scheduler accepted and nobody wrote down."""
    if not jobs:
        return 0
    beside = recorded[0].id if recorded else None
    found = scheduler.read_find(runner(scheduler.find(jobs, beside)), jobs)
    ours = sorted({item.id for item in found if _is_recorded(item, recorded) or _is_of(item, jobs)})
    if ours:
        scheduler.check_done(runner(scheduler.cancel(ours)))
    return len(ours)


def _is_recorded(found: FoundJob, recorded: Sequence[Submitted]) -> bool:
    return any((found.id, found.name) == (item.id, item.name) for item in recorded)


def _is_of(found: FoundJob, jobs: Sequence[Job]) -> bool:
    """Whether a job runs our script: a copy of the run directory has the same names, and scripts of its own."""
    return any(found.name == job.name and found.script == str(job.script) for job in jobs)
