"""A campaign as jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.provenance import energy_of
from hpckit.api.sharing import visit
from hpckit.api.shown import QUIET, shown
from hpckit.api.sites import find_site, open_submission, refresh
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import HpckitError
from hpckit.runs.group import group_files

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.campaign.campaign import Campaign
    from hpckit.errors import SchedulerUnavailableError
    from hpckit.jobs.federation.follow import GrantState
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.update import Update
    from hpckit.runs.status import Status
    from hpckit.sites.site import Site
    from hpckit.submissions.energy import EnergyUse
    from hpckit.submissions.follow import ElementState
    from hpckit.submissions.submission import Submission


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a run."""

    status: Status
    submission: Submission | None = None
    """The last submission, for a run on a cluster."""
    seen: Sequence[ElementState] = ()
    """The state of its elements in the scheduler."""
    energy: EnergyUse | None = None
    """What it consumed so far; None while it is followed."""
    grants: Sequence[GrantState] = ()
    """Where several sites share the campaign: who has which tiles, and how far each site is."""

    def _repr_html_(self) -> str:
        if self.submission is None:
            return self.status._repr_html_()
        from hpckit.look.card import submission_card

        return self.status._repr_html_() + submission_card(self.submission, self.seen)


def submit(
    campaign: str | Path,
    site: str | None = None,
    *,
    request: Request | None = None,
    console: Console = QUIET,
) -> Submission | None:
    """Submit unfinished units to a cluster, as a chain of job arrays that is accepted completely or not at all.

    If all units are done and the store lacks results, only the sync is submitted.

    Parameters
    ----------
    site : str, optional
        Name or file of a site; that which this machine belongs to if not given.

    Returns
    -------
    Submission or None
        None if nothing is left to do; the console says so.
    """
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.submit import submit_campaign

    console, loaded = shown(console), load_campaign(Path(campaign))
    target = find_site(site, loaded.folder, console)
    with group_files(loaded, console.warn, site_wants=target.group):
        return submit_campaign(loaded, target, console, request=request or Request())


def update(
    campaign: str | Path,
    *,
    site: str | None = None,
    here: bool = False,
    workers: int | None = None,
    request: Request | None = None,
    notify: Sequence[str] = (),
    console: Console = QUIET,
) -> Update:
    """Search for new products, and bring cube, results and store up to date; do nothing if nothing is new.

    Parameters
    ----------
    site : str, optional
        Name or file of a site to submit to; that of the last submission, or those that share the campaign, if not
        given.
    here : bool
        Run on this machine, also if the campaign was submitted before.
    workers : int, optional
        Processes on this machine; its cores if not given.
    request : Request, optional
        Resources of jobs.
    notify : sequence of str
        Who gets a message if something changed or failed; see `hpckit.jobs.notify.notify`.
    """
    from dataclasses import asdict

    from hpckit.jobs import update as updating
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.notify import notify as send
    from hpckit.runs.part import is_home
    from hpckit.submissions.submission import latest

    loaded = load_campaign(Path(campaign))
    shared = site is None and not here and is_home(loaded.run_dir)
    last = None if here or shared or site is not None else latest(loaded.run_dir)
    target = find_site(site, loaded.folder, console) if site is not None else last.site if last is not None else None
    with group_files(loaded, console.warn, site_wants=target is not None and target.group):
        if shared:
            made = updating.update_shared(loaded, console, request or Request())
        elif target is None:
            made = updating.update_here(loaded, console, workers)
        else:
            made = updating.update_on_site(loaded, target, console, request or Request())
    if updating.is_news(made, loaded.run_dir):
        facts = {"campaign": loaded.name, "path": str(loaded.path), **asdict(made)}
        subject = f"hpckit: campaign {loaded.name}: {made.state}"
        for failure in filter(None, (send(one, subject, made.describe(), facts) for one in notify)):
            console.warn(failure)
    return made


def write_jobs(
    campaign: str | Path,
    site: str | None = None,
    *,
    request: Request | None = None,
    folder: Path | None = None,
    console: Console = QUIET,
) -> Submission | None:
    """Write elements and job scripts, to read or to submit by hand; None if nothing is left to do.

    Parameters
    ----------
    folder : Path, optional
        Where to write the scripts, beside the run directory.
    """
    from hpckit.jobs.jobarrays import Request

    loaded = load_campaign(Path(campaign))
    target = find_site(site, loaded.folder, console)
    with group_files(loaded, console.warn, site_wants=target.group):
        return _write_jobs(loaded, target, request or Request(), folder, console)


def status(run: str | Path, *, console: Console = QUIET) -> Progress:
    """State of a run, on this machine or on a cluster.

    Raises
    ------
    RunError, PlanError
        If the campaign was never run or planned.
    """
    from hpckit.runs.run import find_run
    from hpckit.runs.status import read_status
    from hpckit.submissions.submission import latest

    found = find_run(Path(run))
    last = latest(found.path)
    with group_files(found.campaign, site_wants=last is not None and last.site.group):
        grants = visit(found, console)
        seen = refresh(found, last, console) if last is not None and not grants else []
    since = last.created if last is not None and not last.is_over else None
    return Progress(read_status(found, since), last, seen, energy_of(found), grants)


def follow(
    run: str | Path, *, unanswered: Callable[[SchedulerUnavailableError], None] = lambda error: None
) -> Iterator[Progress]:
    """Follow the last submission of a run until all its jobs are over.

    Parameters
    ----------
    unanswered : callable
        Called with what a query of the scheduler failed with; it is asked again later.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.runs.status import read_status
    from hpckit.submissions.follow import watch

    found, last, scheduler, runner = open_submission(run)
    for seen in watch(last, scheduler, runner, unanswered):
        yield Progress(read_status(found, None if last.is_over else last.created), last, seen)


def follow_shared(run: str | Path, *, console: Console = QUIET) -> Iterator[Progress]:
    """Visit the sites that share a campaign, again and again, until all that answer are done.

    The pauses are those of the sites' files (`poll`), and grow while nothing changes. A site that does not answer is
    asked again with the others.
    """
    from hpckit.jobs.federation.follow import is_over, pauses
    from hpckit.runs.run import find_run

    pause = pauses(find_run(Path(run)))
    before = None
    while True:
        seen = status(run, console=console)
        yield seen
        if is_over(seen.grants):
            return
        now = [(stage.stage, stage.done, stage.failed) for stage in seen.status.stages]
        pause.wait(changed=now != before)
        before = now


def watch(run: str | Path, *, console: Console = QUIET) -> Progress:
    """Follow the last submission of a run, and show how far it is, until all its jobs are over.

    In a notebook, the state of stages and jobs is updated in place. Interrupt the kernel to stop: jobs go on.

    Returns
    -------
    Progress
        At the end.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    output, found = shown(console), None
    with output.progress("units") as advance:
        for found in follow(run, unanswered=lambda error: output.warn(f"{error}; it is asked again")):
            stages = found.status.stages
            done = sum(stage.done for stage in stages)
            advance(done, done + sum(stage.failed + stage.waiting for stage in stages))
            output.state(found)
    return found if found is not None else status(run, console=console)


def retry(
    run: str | Path,
    site: str | None = None,
    *,
    request: Request | None = None,
    only_failed: bool = False,
    console: Console = QUIET,
) -> Submission | None:
    """Resubmit unfinished units, with more memory or time where they ran out; None if nothing is left."""
    from hpckit.jobs.jobarrays import Request
    from hpckit.jobs.resubmit import resubmit
    from hpckit.runs.run import find_run
    from hpckit.submissions.submission import latest

    found = find_run(Path(run))
    chosen = find_site(site, found.campaign.folder, console) if site is not None else None
    used = chosen or getattr(latest(found.path), "site", None)
    with group_files(found.campaign, console.warn, site_wants=used is not None and used.group):
        return resubmit(found, console, request=request or Request(), site=chosen, only_failed=only_failed)


def cancel(run: str | Path) -> tuple[Submission, int | None]:
    """Cancel all jobs of a run; finished work is kept.

    Returns
    -------
    submission : Submission
        The last one.
    jobs : int or None
        Jobs that waited or ran; None if it was over before.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.submissions import idle

    found, last, scheduler, runner = open_submission(run)
    with group_files(found.campaign, site_wants=last.site.group):
        return last, None if last.is_over else idle.cancel(last, scheduler, runner)


def metrics(
    runs: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    ask_scheduler: bool = True,
    console: Console = QUIET,
) -> str:
    """State of runs in Prometheus' text format, for the textfile collector of node_exporter.

    Parameters
    ----------
    runs : sequence of str or Path
        Campaign files or run directories. One that cannot be read is told and becomes a metric, not an error.
    output : str or Path, optional
        File `*.prom`, written by a rename.
    ask_scheduler : bool
        Whether to ask for the state of elements.

    Raises
    ------
    HpckitError
        If the file cannot be written.
    """
    from hpckit.runs.run import find_run
    from hpckit.runs.status import read_status
    from hpckit.submissions.metrics import RunState, as_text, write
    from hpckit.submissions.submission import latest

    states = []
    for one in map(Path, runs):
        try:
            found = find_run(one)
            last = latest(found.path)
            seen = refresh(found, last, console) if last is not None and ask_scheduler else []
            states.append(RunState(found.path.absolute(), read_status(found), last, seen))
        except (HpckitError, OSError) as error:
            console.warn(f"{one}: {error}")
            states.append(RunState(one.absolute()))
    text = as_text(states)
    if output is not None:
        write(Path(output), text)
    return text


def _write_jobs(
    campaign: Campaign, site: Site, request: Request, folder: Path | None, console: Console
) -> Submission | None:
    from hpckit.jobs.submit import draft, say_nothing_left, write_dry
    from hpckit.runs.run import claim, open_run

    opened = open_run(campaign)
    with claim(opened):
        drafted = draft(opened, site, request, console)
        if drafted.is_empty:
            say_nothing_left(drafted, console)
            return None
        return write_dry(drafted, folder)
