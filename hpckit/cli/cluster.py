"""`hpckit submit`, `watch`, `logs`, `retry`, `cancel`: a campaign as job arrays of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hpckit.arrays import Chain, Request
    from hpckit.console import Console
    from hpckit.run import Run
    from hpckit.scheduler.model import Scheduler
    from hpckit.scheduler.runner import Runner
    from hpckit.submission import Submission

RUN = click.argument("run", type=click.Path(path_type=Path, exists=True))
SITE = click.option("--site", metavar="SITE", help="Name or file of the site. Default: the one that this machine is.")


def resources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what jobs ask for, over the site file."""
    for option in (
        click.option("--max-elements", type=click.IntRange(1), help="Elements of a stage, at most."),
        click.option("--qos", help="Quality of service."),
        click.option("--partition", help="Partition or queue of all stages."),
        click.option("--account", help="Account or project that pays."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, dir_okay=False))
@SITE
@resources
@click.option(
    "--chain",
    type=click.Choice(["stages", "elements"]),
    default="stages",
    show_default=True,
    help="Reduce waits for all of ingest, or (Slurm) each of its elements for the same tiles only.",
)
@click.option("--dry-run", is_flag=True, help="Write elements and scripts only; submit nothing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the scripts of a dry run.")
def submit(
    campaign: Path,
    site: str | None,
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
    chain: Chain,
    dry_run: bool,
    output: Path | None,
) -> None:
    """Submit a campaign to Slurm or PBS: ingest and index, then reduce, then sync, as chained job arrays.

    Returns at once. Only what is not done yet is submitted. Either all jobs are accepted or none runs.

    \b
    Example:
      hpckit submit campaign.yaml --site snellius --account myproject
      hpckit submit campaign.yaml --site pbs-generic --dry-run -o scripts/
    """
    from hpckit.campaign import load_campaign
    from hpckit.cli.follow import show_submission
    from hpckit.console import Console
    from hpckit.submit import submit_campaign

    console, loaded = Console(), load_campaign(campaign)
    chosen = choose_site(site, loaded.folder)
    request = replace(make_request(account, partition, qos, max_elements), chain=chain)
    if dry_run:
        _dry_run(loaded, chosen, request, output, console)
        return
    submission = submit_campaign(loaded, chosen, console, request=request)
    show_submission(submission, campaign)


@click.command()
@RUN
@SITE
@resources
@click.option("--failed", "which", flag_value="failed", help="Only units that failed.")
@click.option("--all", "which", flag_value="all", default=True, help="All units that are not done (default).")
def retry(
    run: Path,
    site: str | None,
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
    which: str,
) -> None:
    """Submit again what is not done: units that failed, were given back, or died with their element.

    After OUT_OF_MEMORY elements get more memory, after TIMEOUT more walltime, within the limits of the site;
    what is raised is said. RUN is a campaign file or a run directory.

    \b
    Example:
      hpckit retry campaign.yaml
      hpckit retry campaign.yaml --failed --partition himem
    """
    from hpckit.cli.follow import show_submission
    from hpckit.console import Console
    from hpckit.resubmit import resubmit
    from hpckit.run import find_run

    console, found = Console(), find_run(run)
    request = make_request(account, partition, qos, max_elements)
    chosen = choose_site(site, found.campaign.folder) if site else None
    submission = resubmit(found, console, request=request, site=chosen, only_failed=which == "failed")
    show_submission(submission, run)


@click.command()
@RUN
def cancel(run: Path) -> None:
    """Cancel all jobs of a run. What is done is kept; `hpckit retry` goes on.

    \b
    Example:
      hpckit cancel campaign.yaml
    """
    from hpckit.console import Console
    from hpckit.submit import cancel as cancel_submission

    _, submission, scheduler, runner = open_submission(run)
    if submission.is_over:
        Console().say(f"submission {submission.number} is over already")
        return
    count = cancel_submission(submission, scheduler, runner)
    Console().say(f"{count} jobs of submission {submission.number} cancelled; what is done is kept")


@click.command()
@RUN
@click.option("--once", is_flag=True, help="Show once and end, as `hpckit status` does.")
def watch(run: Path, once: bool) -> None:
    """Follow a run until all its jobs are over: live on a terminal, a line per change in a log.

    The scheduler is asked with one query for all arrays, every 30 seconds at first and ever more seldom while
    nothing changes. Exit code 1 if units failed or are missing at the end.

    \b
    Example:
      hpckit watch campaign.yaml
    """
    from hpckit.cli.follow import show_watch

    found, submission, scheduler, runner = open_submission(run)
    raise SystemExit(show_watch(found, submission, scheduler, runner, once=once))


@click.command()
@RUN
@click.argument("what")
@click.option(
    "--lines", type=click.IntRange(1), default=40, show_default=True, help="Last lines of the job's output."
)
def logs(run: Path, what: str, lines: int) -> None:
    """Show the log of a unit, of an element (STAGE:NUMBER), or of a job id.

    \b
    Example:
      hpckit logs campaign.yaml ingest:17
      hpckit logs campaign.yaml ingest/31UFU/r10m/B04/b0000/w03
      hpckit logs campaign.yaml 1234_17
    """
    from hpckit.cli.follow import show_logs

    found, submission, scheduler, _ = open_submission(run)
    show_logs(found, submission, scheduler, what, lines)


@click.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--submission", type=int, required=True)
@click.option("--stage", required=True)
@click.option("--element", type=int, required=True)
@click.option("--processes", type=click.IntRange(1), default=1)
@click.option("--threads", type=click.IntRange(1), default=1)
def worker(run: Path, submission: int, stage: str, element: int, processes: int, threads: int) -> None:
    """Work through one element of a submission; job scripts call this.

    \b
    Example:
      hpckit worker campaign.run --submission 1 --stage ingest --element 0
    """
    from hpckit.element import run_element

    raise SystemExit(run_element(run.absolute(), submission, stage, element, processes=processes, threads=threads))


@click.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--submission", type=int, required=True)
@click.option("--before", required=True)
def gate(run: Path, submission: int, before: str) -> None:
    """Judge the stages before another one; job scripts call this.

    \b
    Example:
      hpckit gate campaign.run --submission 1 --before reduce
    """
    from hpckit.gate import judge

    verdict = judge(run.absolute(), submission, before)
    click.echo(f"gate before {before} {'open' if verdict.open else 'closed'}: {verdict.reason}", err=True)
    raise SystemExit(0 if verdict.open else 1)


def choose_site(name: str | None, folder: Path) -> Any:
    """Site by name, or the one that this machine belongs to.

    Raises
    ------
    SiteError
        If there is none.
    """
    from hpckit.errors import SiteError
    from hpckit.site import find_site, identify_site

    folders = [folder, folder / "site-configs"]
    chosen = name or identify_site(folders)
    if chosen is None:
        raise SiteError(
            "this machine belongs to no site that is known",
            hint="give --site NAME (`hpckit site list`), or write a file for this cluster: `hpckit site probe`",
        )
    return find_site(chosen, folders)


def make_request(account: str | None, partition: str | None, qos: str | None, max_elements: int | None) -> Request:
    """Request from the options of the command line.

    Raises
    ------
    click.UsageError
        If a value has line breaks.
    """
    from hpckit.arrays import Request

    for name, value in (("--account", account), ("--partition", partition), ("--qos", qos)):
        if value is not None and any(sign in value for sign in "\n\r\0"):
            raise click.UsageError(f"{name} holds a line break")
    return Request(account=account, partition=partition, qos=qos, most_elements=max_elements)


def open_submission(path: Path) -> tuple[Run, Submission, Scheduler, Runner]:
    """The last submission of a run, with its scheduler.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.errors import SubmissionError
    from hpckit.run import find_run
    from hpckit.scheduler import scheduler_of
    from hpckit.submission import latest
    from hpckit.submit import runner_of

    run = find_run(path)
    submission = latest(run.path)
    if submission is None:
        raise SubmissionError(f"{run.path}: nothing was submitted yet", hint="`hpckit submit CAMPAIGN --site SITE`")
    scheduler = scheduler_of(submission.site)
    return run, submission, scheduler, runner_of(submission.site, scheduler)


def _dry_run(campaign: Any, site: Any, request: Request, output: Path | None, console: Console) -> None:
    from hpckit.cli.follow import show_dry_run
    from hpckit.run import claim, open_run
    from hpckit.submit import draft, write_dry

    run = open_run(campaign)
    with claim(run):
        _, drafted = draft(run, site, request, console)
        if not drafted.layout.stages:
            console.say("nothing is left to do")
            return
        submission = write_dry(drafted, output)
    show_dry_run(submission, output, console)
