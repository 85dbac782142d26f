"""Submit a campaign to a site's scheduler: a chain of jobs that runs whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpckit.arrays import Layout, Request, jobs, lay_out
from hpckit.campaign import Campaign
from hpckit.console import Console
from hpckit.cube.manifest import Manifest
from hpckit.driver import plan_all, plan_first, tidy
from hpckit.elements import write_elements
from hpckit.errors import BusyError, HpckitError, SubmissionError
from hpckit.estimate import stage_memory
from hpckit.files import write_text
from hpckit.image.sif import read_header
from hpckit.journal import compact
from hpckit.lustre import stripe
from hpckit.plan import Plan, Stage, Unit
from hpckit.production import Prepared, nothing_yet
from hpckit.run import Run, claim, open_run
from hpckit.scheduler import scheduler_of
from hpckit.scheduler.container import folders_of
from hpckit.scheduler.model import Job, Scheduler
from hpckit.scheduler.runner import LocalRunner, Runner
from hpckit.scheduler.script import render
from hpckit.site import Site
from hpckit.steps.command import APPTAINER
from hpckit.steps.settings import is_step
from hpckit.submission import Submission, Submitted, create, latest, save


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission before anything is written."""

    run: Run
    site: Site
    request: Request
    plan: Plan
    layout: Layout


def draft(
    run: Run, site: Site, request: Request, console: Console, chosen: frozenset[str] | None = None
) -> tuple[Prepared, Draft]:
    """Plan a campaign and lay its pending units out for a site.

    Parameters
    ----------
    chosen : frozenset of str, optional
        Ids of units: only those of them that are pending are submitted.

    Raises
    ------
    PlanError, SiteError
        If the site cannot run it.
    """
    prepared, plan = _plan(run, console)
    wanted = plan.pending if chosen is None else plan.pending & chosen
    todo: dict[Stage, list[Unit]] = {stage: [u for u in plan.of(stage) if u.id in wanted] for stage in plan.stages}
    memory = {stage: stage_memory(prepared, stage) for stage, units in todo.items() if units}
    cuda = any(reduction.device == "cuda" for reduction in run.campaign.reductions)
    layout = lay_out(todo, memory, site, request, cuda=cuda, steps=run.campaign.steps)
    return prepared, Draft(run, site, request, plan, layout)


def _plan(run: Run, console: Console) -> tuple[Prepared, Plan]:
    """Plan what can be submitted now: while products are to be made that nobody tried yet, only those."""
    first = plan_first(run, console)
    if first is not None and first[0].pending - first[1]:
        console.say(
            f"{len(first[0].pending)} products are to be made by steps first; what is made from them is submitted by "
            "the same command when they are there"
        )
        return nothing_yet(run), first[0]
    return plan_all(run, console)


def submit_campaign(
    campaign: Campaign,
    site: Site,
    console: Console,
    *,
    request: Request = Request(),  # noqa: B008
    chosen: frozenset[str] | None = None,
    options: Mapping[str, Any] | None = None,
    runner: Runner | None = None,
) -> Submission | None:
    """Submit what a campaign has left to do.

    Returns
    -------
    Submission or None
        None if nothing is left to do.

    Raises
    ------
    BusyError
        If another process works on the run, or jobs of an earlier submission may still run.
    SchedulerError
        If the scheduler refused; nothing runs then.
    """
    scheduler = scheduler_of(site)
    runner = runner or runner_of(site, scheduler)
    run = open_run(campaign)
    _look_at_image(site, console)
    with claim(run):
        require_idle(run, scheduler, runner)
        tidy(run)
        compact(run.path)
        Manifest.load(campaign.cube_path).compact()
        stripe(campaign.cube_path)
        _, drafted = draft(run, site, request, console, chosen)
        if not drafted.layout.stages:
            return None
        submission = write_submission(drafted, options)
        submit(submission, scheduler, runner, console)
    return submission


def _look_at_image(site: Site, console: Console) -> None:
    """Refuse a damaged image; warn of one that is not here, since nodes may see what this machine does not.

    Raises
    ------
    ImageError
        If it is no whole image.
    """
    if site.runtime != "apptainer" or site.container.image is None:
        return
    path = Path(os.path.expandvars(site.container.image)).expanduser()
    if path.exists():
        read_header(path)
    else:
        console.warn(f"{path}: no such image here; jobs fail where nodes do not see it either")


def write_submission(drafted: Draft, options: Mapping[str, Any] | None = None) -> Submission:
    """Write elements and scripts to the run directory."""
    path = create(drafted.run.path)
    made = _jobs(drafted, path)
    submission = Submission(path, drafted.site, drafted.layout.stages, tuple(made))
    write_elements(submission.elements, drafted.layout.elements)
    write_scripts(submission, drafted.run)
    save(submission, options=dict(options or {}))
    return submission


def write_scripts(submission: Submission, run: Run) -> None:
    """Write the job scripts of a submission."""
    folders, binds = [run.campaign.folder / "jobscripts"], folders_of(run.campaign, run.path)
    for job in submission.jobs:
        step = run.campaign.step(job.stage)
        site = submission.site if step is None or step.image is None else outside(submission.site)
        text = render(
            job,
            site,
            run=run.path,
            submission=submission.number,
            command=hpckit_command(site),
            folders=folders,
            binds=binds,
        )
        write_text(job.script, text)
        job.script.chmod(0o755)


def submit(submission: Submission, scheduler: Scheduler, runner: Runner, console: Console) -> None:
    """Hand all jobs to the scheduler; if one is refused, those before it are taken back.

    Jobs that follow none are held until all are accepted, and elements do not work before the submission is
    marked as committed: whatever happens in between, nothing runs that is not wholly submitted.
    """
    try:
        accepted = _submit_all(submission, scheduler, runner, console)
    except BaseException as error:
        _take_back(submission, scheduler, runner, error)
        raise
    submission.mark("committed", jobs=len(accepted))
    release(submission, scheduler, runner)


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
    if not submission.has("committed"):
        _take_back(submission, scheduler, runner, None)
    elif not submission.has("released"):
        release(submission, scheduler, runner)


def cancel(submission: Submission, scheduler: Scheduler, runner: Runner) -> int:
    """Cancel all jobs of a submission; return how many there were. What is done is kept."""
    submission.mark("cancelled")
    return _cancel_jobs(submission, scheduler, runner)


def require_idle(run: Run, scheduler: Scheduler, runner: Runner) -> None:
    """Refuse to submit while jobs of the last submission may run.

    Raises
    ------
    BusyError
        If they do, or if it cannot be told.
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
    ids = [item.id for item in last.submitted()]
    sightings = scheduler.read_query(runner(scheduler.query(ids))) if ids else []
    if any(not sighting.state.is_over for sighting in sightings):
        raise BusyError(
            f"jobs of submission {last.number} still run or wait on {last.site.name}",
            hint=f"follow them with `hpckit watch {run.campaign.path}`, or stop them with `hpckit cancel`",
        )
    last.mark("ended")


def runner_of(site: Site, scheduler: Scheduler) -> LocalRunner:
    """Runner of a site's commands on this machine."""
    return LocalRunner(scheduler.unset, site.poll.timeout_s)


def hpckit_command(site: Site) -> list[str]:
    """How hpckit is started on the nodes: as the site file says, or as here."""
    if site.command is not None:
        return [site.command]
    if site.runtime == "apptainer":
        return ["hpckit"]
    beside = Path(sys.executable).with_name("hpckit")
    found = str(beside) if beside.exists() else shutil.which("hpckit")
    return [found] if found else [sys.executable, "-m", "hpckit"]


def outside(site: Site) -> Site:
    """The site for steps that bring an image: hpckit enters it, and cannot from inside the image of the site.

    Raises
    ------
    SubmissionError
        If this hpckit itself runs inside an image, so that there is none for the nodes.
    """
    if site.runtime != "apptainer":
        return site
    if os.environ.get("APPTAINER_NAME") or os.environ.get("SINGULARITY_NAME"):
        raise SubmissionError(
            "a step with its own image is started from outside of the site's image; this hpckit runs inside one",
            hint="submit with an hpckit that is installed on the cluster's file system",
        )
    environment = {**site.environment, APPTAINER: site.container.command}
    return site.model_copy(update={"runtime": "venv", "command": None, "environment": environment})


def write_dry(drafted: Draft, folder: Path | None) -> Submission:
    """Write elements and scripts, to look at or to submit by hand; with a folder, the scripts also there.

    Elements are found in the run directory by number, so this is a submission like others.
    """
    submission = write_submission(drafted, {"by hand": True})
    submission.mark("committed", by_hand=True)
    submission.mark("released", by_hand=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for job in submission.jobs:
            shutil.copy2(job.script, folder / job.script.name)
    return submission


def _jobs(drafted: Draft, path: Path) -> list[Job]:
    number, campaign = int(path.name), drafted.run.campaign
    into_file = campaign.store.dsn is None
    reduces = bool(campaign.reductions) and not all(is_step(stage.stage) for stage in drafted.layout.stages)
    sync = reduces and (into_file or drafted.site.sync == "job")
    return jobs(drafted.layout, drafted.site, drafted.request, path, drafted.run.run_id, number, sync=sync)


def _submit_all(
    submission: Submission, scheduler: Scheduler, runner: Runner, console: Console
) -> Sequence[Submitted]:
    ids: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    accepted: list[Submitted] = []
    with console.progress("submit") as progress:
        for number, job in enumerate(submission.jobs):
            after = [identifier for stage in job.follows for identifier in ids[stage]]
            for index in _indexes(job, submission.site):
                if accepted:
                    time.sleep(submission.site.poll.submit_pause_s)
                mirrored = None if job.mirrors is None else named[job.mirrors]
                command = scheduler.submit(job, after, hold=job.is_root, mirrored=mirrored, index=index)
                identifier = scheduler.read_submit(runner(command))
                item = Submitted(identifier, job.name, job.stage, job.script.name, job.first, job.count, index)
                submission.record(item)
                accepted.append(item)
                ids.setdefault(job.stage, []).append(identifier)
                named[job.name] = identifier
            progress(number + 1, len(submission.jobs))
    return accepted


def _indexes(job: Job, site: Site) -> Sequence[int | None]:
    """One submission for an array; one for each element where a site has no arrays."""
    if site.arrays.supported or job.stage in ("gate", "sync"):
        return (None,)
    return range(job.count)


def _take_back(submission: Submission, scheduler: Scheduler, runner: Runner, error: BaseException | None) -> None:
    """Cancel the jobs of a submission that is not whole. If that fails too, the next command tries again."""
    try:
        count = _cancel_jobs(submission, scheduler, runner)
    except HpckitError as second:
        if error is None:
            raise
        error.add_note(
            f"{len(submission.submitted())} jobs that were accepted before could not be cancelled ({second}); "
            "they do nothing when they start, and the next hpckit command cancels them"
        )
        return
    submission.mark("abandoned", jobs=count, why=str(error or "the command that submitted was interrupted"))


def _cancel_jobs(submission: Submission, scheduler: Scheduler, runner: Runner) -> int:
    """Cancel by id, and by name those whose id was never written down."""
    known = {item.id for item in submission.submitted()}
    recorded = {item.name for item in submission.submitted()}
    whole = submission.has("committed")
    for job in submission.jobs:
        if not whole or job.name not in recorded:
            known |= set(scheduler.read_find(runner(scheduler.find(job.name)), job.name))
    if known:
        scheduler.check_done(runner(scheduler.cancel(sorted(known))))
    return len(known)
