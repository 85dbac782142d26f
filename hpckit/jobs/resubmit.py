"""Submit again what is not done, with more of what was short."""

from __future__ import annotations

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import HpckitError
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.retry import advise, failed_units, planned_outcomes
from hpckit.jobs.submit import submit_campaign
from hpckit.runs.run import Run
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Runner
from hpckit.sites.site import Site, scheduler_of
from hpckit.submissions.follow import ElementState, look
from hpckit.submissions.idle import runner_of
from hpckit.submissions.submission import Submission, submissions


def resubmit(
    run: Run,
    console: Console,
    *,
    request: Request,
    site: Site | None = None,
    only_failed: bool = False,
    runner: Runner | None = None,
) -> Submission | None:
    """Submit what is not done of a run.

    The current campaign file is used, so that you can correct errors in it; the site is that of the
    last submission, unless another is given.

    Returns
    -------
    Submission or None
        None if nothing is left to do.
    """
    last = _last(run)
    known = planned_outcomes(run)
    if last is not None:
        scheduler = scheduler_of(last.site)
        asked = runner or runner_of(last.site, scheduler)
        seen = _look(last, scheduler, asked, console)
        advice = advise(last, seen, [entry for entry in known if entry.state == "failed"], request)
        request = advice.request
        for reason in advice.reasons:
            console.say(reason)
    campaign = load_campaign(run.campaign.path) if run.campaign.path.exists() else run.campaign
    target = site or (last.site if last is not None else None)
    if target is None:
        from hpckit.errors import SubmissionError

        raise SubmissionError(f"{run.path}: nothing was submitted yet", hint="`hpckit submit CAMPAIGN --site SITE`")
    chosen = failed_units(known) if only_failed else None
    return submit_campaign(campaign, target, console, request=request, chosen=chosen, runner=runner)


def _last(run: Run) -> Submission | None:
    """The submission whose elements show what was short: not one that was cut before they could start."""
    known = submissions(run.path)
    worked = [item for item in known if item.has("released")] or known
    return worked[-1] if worked else None


def _look(last: Submission, scheduler: Scheduler, runner: Runner, console: Console) -> list[ElementState]:
    """What the scheduler says of the last submission; nothing, if it says nothing."""
    if not last.submitted():
        return []
    try:
        return look(last, scheduler, runner)
    except HpckitError as error:
        console.warn(f"{error}; the journals decide what is done")
        return []
