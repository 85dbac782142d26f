"""Submit again what is not done, with more of what was short."""

from __future__ import annotations

from hpckit.arrays import Request
from hpckit.campaign import load_campaign
from hpckit.console import Console
from hpckit.errors import HpckitError
from hpckit.follow import Seen, look
from hpckit.journal import outcomes, read_journal
from hpckit.plan import read_plan
from hpckit.retry import advise, failed_units
from hpckit.run import Run
from hpckit.scheduler import scheduler_of
from hpckit.scheduler.model import Scheduler
from hpckit.scheduler.runner import Runner
from hpckit.site import Site
from hpckit.submission import Submission, latest
from hpckit.submit import runner_of, submit_campaign


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

    The campaign file counts as it is now, so that what was wrong in it can be mended; the site is that of the
    last submission, unless another is given.

    Returns
    -------
    Submission or None
        None if nothing is left to do.
    """
    last = latest(run.path)
    inputs = {unit.id: unit.inputs for unit in read_plan(run.plan)}
    known = list(outcomes(read_journal(run.path), inputs).values())
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


def _look(last: Submission, scheduler: Scheduler, runner: Runner, console: Console) -> list[Seen]:
    """What the scheduler says of the last submission; nothing, if it says nothing."""
    if not last.submitted():
        return []
    try:
        return look(last, scheduler, runner)
    except HpckitError as error:
        console.warn(f"{error}; what the journals tell decides")
        return []
