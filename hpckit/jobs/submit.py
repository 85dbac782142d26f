"""Submit a campaign to a site's scheduler: a chain of jobs that runs whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpckit.base.account import expand
from hpckit.base.apptainer import APPTAINER
from hpckit.base.console import Console
from hpckit.base.files import write_text
from hpckit.base.lustre import stripe
from hpckit.base.quantities import format_count
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.paths import folders_of
from hpckit.campaign.stages import STAGES
from hpckit.cubes.manifest import Manifest
from hpckit.errors import BusyError, FederationError, FileUnavailableError, SubmissionError
from hpckit.jobs.elements import write_elements
from hpckit.jobs.jobarrays import Layout, Request, jobs, lay_out, require_known, require_mail
from hpckit.jobs.usercode import computes_user_code, with_user_code
from hpckit.jobs.warm import warm_site
from hpckit.production.driver import tidy
from hpckit.production.estimate import stage_memory
from hpckit.production.kernels import of_campaign
from hpckit.production.planning import Planned, lay_stores_out, plan_all, plan_products, working
from hpckit.production.portion import Portion, portion
from hpckit.production.stages import stages_of
from hpckit.production.sync import is_synced, layer_digests
from hpckit.runs.frozen import adopt, prune
from hpckit.runs.journal import compact
from hpckit.runs.part import Part, read_part, require_no_ledger, require_unfenced, units_digest
from hpckit.runs.run import Run, claim, open_run
from hpckit.sites.command import hpckit_command
from hpckit.sites.image.sif import read_header
from hpckit.sites.installed import require_mpi4py
from hpckit.sites.jobscript.script import render
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Job, Runner, State
from hpckit.sites.site import Site, scheduler_of, site_here
from hpckit.submissions.attempts import describe, working_in
from hpckit.submissions.follow import remembered
from hpckit.submissions.idle import release, require_idle, runner_of, submitted, take_back
from hpckit.submissions.submission import Submission, Submitted, create, latest, save


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission before anything is written."""

    planned: Planned
    site: Site
    request: Request
    layout: Layout
    synced: str | None
    """How it is known that the store, collections and mosaics hold what was computed; None if they may lack some."""
    why_left: str = ""
    """Why units that are not done are not submitted."""
    portion: Portion | None = None
    """What of it fits into the quota of copies, and which copies make room."""

    @property
    def loads(self) -> bool:
        """Whether a job of its own loads the results into the store."""
        by_job = self.run.campaign.store.is_file or self.site.sync == "job"
        return by_job and _is_loaded(self.run.campaign) and self.synced is None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to submit."""
        return not self.layout.stages and not self.loads

    @property
    def run(self) -> Run:
        """The run, with the inputs frozen for this submission."""
        return self.planned.run


def draft(
    run: Run,
    site: Site,
    request: Request,
    console: Console,
    chosen: frozenset[str] | None = None,
    skipped: Callable[[Run], Collection[tuple[str, str]]] | None = None,
) -> Draft:
    """Plan a campaign and lay its pending units out for a site.

    Parameters
    ----------
    chosen : frozenset of str, optional
        Ids of units: only those of them that are pending are submitted.
    skipped : callable, optional
        Called when the plan is made; gives ids and inputs of units that are not submitted.

    Raises
    ------
    PlanError, SiteError
        If the site cannot run it.
    """
    site = site_here(site)
    require_mail(site, request.mail)
    require_known(site, [*STAGES, *(stage.name for stage in stages_of(run.campaign))])
    planned = _plan(run, console)
    plan, part = planned.plan, read_part(run.path)
    wanted = plan.pending if chosen is None else plan.pending & chosen
    if part is not None:
        wanted &= _of_part(planned, part, site)
    if skipped is not None:
        left_out = skipped(run)
        wanted -= {unit.id for unit in plan.units if (unit.id, unit.inputs) in left_out}
    now = portion(planned)
    wanted &= now.planned.plan.pending
    todo = [(stage, [unit for unit in plan.of(stage.name) if unit.id in wanted]) for stage in planned.with_units]
    work = [(stage, units, stage_memory(stage, planned.tiles)) for stage, units in todo if units]
    campaign = run.campaign
    devices = [*(item.device for item in campaign.signatures), *(item.device for item in campaign.composites)]
    layout = lay_out(work, site, request, cuda="cuda" in devices)
    why_left = "they failed lately" if chosen is None else "no unit has failed"
    if now.later:
        why_left = f"{now.says()}, or failed"
    if part is not None:
        why_left = "the home of the federation has their results, or other sites have their tiles"
        return Draft(planned, site, request, layout, "the home of the federation loads the results", why_left, now)
    if chosen is not None and not work and plan.pending:
        return Draft(planned, site, request, layout, "only failed units were asked for", why_left, now)
    return Draft(planned, site, request, layout, _synced(planned, layout), why_left, now)


def _of_part(planned: Planned, part: Part, site: Site) -> frozenset[str]:
    """Ids of the units that are to be done here, of a plan that several sites share.

    Raises
    ------
    FederationError
        If this site plans other units than the home of the federation: their results would be of something else.
    """
    units = planned.plan.units
    if units_digest(units, part.tiles, layer_digests(planned.run)) != part.units:
        raise FederationError(
            f"site {site.name} plans other units than the home of the federation",
            hint="files that the campaign names outside of its folder (zones, elevations) must be equal at all sites",
        )
    return frozenset(unit.id for unit in units if part.wants(unit))


def _is_loaded(campaign: Campaign) -> bool:
    """Whether a campaign has something that the sync loads or publishes; result files of graphs are no such thing."""
    return bool(campaign.signatures or campaign.composites)


def _synced(planned: Planned, layout: Layout) -> str | None:
    """Why the last job has nothing to load; None if it has, since elements reduce, or may have."""
    if any(not stage.alone for stage in layout.stages):
        return None
    if planned.tiles is None:
        return "there are no results before products are made"
    equal = is_synced(planned.run.campaign, planned.run)
    if equal:
        return "the store holds their results"
    return "the last sync loaded their results" if equal is None and _was_synced(planned.run) else None


def _was_synced(run: Run) -> bool:
    """Whether the last submission worked from the same inputs, and its sync succeeded."""
    last = latest(run.path)
    return (
        last is not None
        and last.frozen == run.frozen
        and any(item.stage == "sync" and item.state is State.SUCCEEDED for item in remembered(last))
    )


def _plan(run: Run, console: Console) -> Planned:
    """Plan what can be submitted now: while products are to be made that nobody tried yet, only those."""
    products = plan_products(run, console)
    if products is None or not products.plan.pending - products.failed:
        return plan_all(run, console, products)
    console.say(
        f"steps first make {format_count(len(products.plan.pending), 'product')}; what is made from products is "
        "submitted by the same command when they are there"
    )
    return products


def submit_campaign(
    campaign: Campaign,
    site: Site,
    console: Console,
    *,
    request: Request = Request(),  # noqa: B008
    chosen: frozenset[str] | None = None,
    skipped: Callable[[Run], Collection[tuple[str, str]]] | None = None,
    options: Mapping[str, Any] | None = None,
    runner: Runner | None = None,
) -> Submission | None:
    """Submit what a campaign has left to do: the units that are not done, and the sync if the store lacks results.

    Returns
    -------
    Submission or None
        None if there is nothing to submit; the console says why. `sync` goes by the campaign as it is now, also then.

    Raises
    ------
    FileUnavailableError
        If there is nothing to submit, but products cannot be read at the moment.
    BusyError
        If another process works on the run, or jobs of an earlier submission may still run.
    SchedulerError
        If the scheduler refused; nothing runs then.
    """
    scheduler = scheduler_of(site)
    runner = runner or runner_of(site, scheduler)
    run = open_run(campaign)
    _look_at_image(site, console)
    require_no_ledger(run.path, campaign.path)
    with claim(run):
        require_unfenced(run.path)
        require_idle(run, scheduler, runner)
        tidy_up(run, console)
        drafted = draft(run, site, request, console, chosen, skipped)
        if campaign.cube.keep:
            stripe(campaign.cube_path)
        lay_stores_out(drafted.planned)
        if drafted.is_empty:
            if not drafted.planned.plan.pending:  # an edit left nothing to compute, and `sync` goes by it
                working(drafted.run)
            say_nothing_left(drafted, console)
            return None
        _look_at_mpi(drafted, console)
        cold = warm_site(site, of_campaign(drafted.run.campaign), console)
        if cold is not None:
            console.warn(f"{cold}; jobs will do it when they start")
        if drafted.portion is not None:
            drafted.portion.make_room()
            if drafted.portion.later:
                console.say(f"{drafted.portion.says()}: call this command again, or `hpckit update` from cron")
        adopt(drafted.run, works=True)
        submission = write_submission(drafted, options)
        prune(drafted.run, submitted(run))
        submit(submission, scheduler, runner, console)
    return submission


def say_nothing_left(drafted: Draft, console: Console) -> None:
    """Say why there is nothing to submit.

    Raises
    ------
    FileUnavailableError
        If products cannot be read at the moment: something may be left.
    """
    planned, campaign = drafted.planned, drafted.run.campaign
    units, left = len(planned.plan.units), len(planned.plan.pending)
    done = f"{'the' if units == 1 else 'all'} {format_count(units, 'unit')} {'is' if units == 1 else 'are'} done"
    if planned.unread:
        raise FileUnavailableError(
            f"{campaign.path}: {format_count(planned.unread, 'product or folder', 'products or folders')} cannot be "
            "read at the moment; of what can be read, nothing is left to submit",
            hint="run the command again when the file system answers",
        )
    if left:
        console.say(
            f"nothing is submitted: {left} of {format_count(units, 'unit')} {'is' if left == 1 else 'are'} not done, "
            f"but {drafted.why_left}; `hpckit retry {campaign.path}` submits unfinished units"
        )
    elif drafted.synced or not _is_loaded(campaign):
        stored = f", and {drafted.synced}" if campaign.signatures else ""
        console.say(f"nothing is left to do: {done}{stored}")
    else:
        console.say(
            f"nothing is left to do on the nodes: {done}; run `hpckit sync {campaign.path}` here, since the "
            "store lacks results, or does not say what it holds"
        )


def _look_at_mpi(drafted: Draft, console: Console) -> None:
    """Refuse ranks where the hpckit of the nodes has no mpi4py."""
    stages = [stage.resources for stage in drafted.layout.stages if not stage.alone]
    require_mpi4py(drafted.site, stages, hpckit_command(drafted.site), console)


def _look_at_image(site: Site, console: Console) -> None:
    """Refuse a damaged image; warn of one that is not here, since nodes may see what this machine does not.

    Raises
    ------
    ImageError
        If it is no whole image.
    """
    if site.runtime != "apptainer" or site.container.image is None:
        return
    path = expand(os.path.expandvars(site.container.image))
    if path.exists():
        read_header(path)
    else:
        console.warn(f"{path}: no such image here; jobs fail where nodes do not see it either")


def write_submission(drafted: Draft, options: Mapping[str, Any] | None = None) -> Submission:
    """Write elements and scripts to the run directory."""
    path = create(drafted.run.path)
    made = _jobs(drafted, path)
    scheduler_of(drafted.site).require_one_place(made)
    submission = Submission(path, drafted.site, drafted.layout.stages, tuple(made), drafted.planned.unread)
    write_elements(submission.elements, drafted.layout.elements)
    write_scripts(submission, drafted.run)
    save(submission, frozen=drafted.run.frozen, options=dict(options or {}))
    return submission


def write_scripts(submission: Submission, run: Run) -> None:
    """Write the job scripts of a submission."""
    folders, binds = [run.campaign.folder / "jobscripts"], folders_of(run.campaign, run.path)
    for job in submission.jobs:
        step = run.campaign.step(job.stage)
        brings_image = (step is not None and step.image is not None) or computes_user_code(run.campaign, job.stage)
        site = with_user_code(outside(submission.site) if brings_image else submission.site)
        text = render(
            job,
            site,
            run=run.path,
            submission=submission.number,
            command=hpckit_command(site),
            folders=folders,
            binds=binds,
            frozen=run.frozen,
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
        if submission.is_over:  # this process stood still for longer than a claim lasts
            raise BusyError(
                f"another hpckit took submission {submission.number} back while it was made",
                hint="`hpckit status CAMPAIGN` shows what runs",
            )
    except BaseException as error:
        take_back(submission, scheduler, runner, error)
        raise
    submission.mark("committed", jobs=len(accepted))
    release(submission, scheduler, runner)


def tidy_up(run: Run, console: Console) -> None:
    """Join journals and manifests, and remove leftovers; not under elements that still end, or that a node lost."""
    signs = working_in(run.path)
    if signs:
        console.warn(f"{describe(signs)}: files of this run are tidied up another time")
        return
    tidy(run)
    compact(run.path)
    if run.campaign.cube.keep:
        Manifest.load(run.campaign.cube_path).compact()


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
    lay_stores_out(drafted.planned)
    adopt(drafted.run, works=True)
    submission = write_submission(drafted, {"by hand": True})
    submission.mark("committed", by_hand=True)
    submission.mark("released", by_hand=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for job in submission.jobs:
            shutil.copy2(job.script, folder / job.script.name)
    return submission


def _jobs(drafted: Draft, path: Path) -> list[Job]:
    return jobs(
        drafted.layout,
        drafted.site,
        drafted.request,
        path,
        drafted.run.run_id,
        int(path.name),
        sync=drafted.loads,
    )


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
                beside = accepted[0].id if accepted else None
                command = scheduler.submit(
                    job, after, hold=job.is_root, mirrored=mirrored, index=index, beside=beside
                )
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
