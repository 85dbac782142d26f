"""`hpckit submit`, `watch`, `logs`, `retry`, `cancel`: a campaign as job arrays of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hpckit.jobs.jobarrays import Chain, Request

RUN = click.argument("run", type=click.Path(path_type=Path, exists=True))
MAIL = click.option(
    "--mail", metavar="ADDRESS", help="Let the scheduler send mail to this address when the last job has ended."
)
SITE = click.option("--site", metavar="SITE", help="Name or file of the site. Default: the site of this machine.")


def resources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options for the resources of jobs, which override the site file."""
    for option in (
        click.option("--max-elements", type=click.IntRange(1), help="Maximum number of elements of a stage."),
        click.option("--qos", help="Quality of service."),
        click.option("--partition", help="Partition or queue for all stages."),
        click.option("--account", help="Account or project that pays."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--site",
    "sites",
    metavar="SITE",
    multiple=True,
    help="Name or file of the site; several share the campaign. Default: the site of this machine.",
)
@resources
@click.option(
    "--chain",
    type=click.Choice(["stages", "elements"]),
    default="stages",
    show_default=True,
    help="Signatures wait for the whole ingest, or (Slurm) each element only for the ingest of its tiles.",
)
@MAIL
@click.option("--dry-run", is_flag=True, help="Write the scripts, but submit nothing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the scripts of a dry run.")
def submit(
    campaign: Path,
    sites: tuple[str, ...],
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
    chain: Chain,
    mail: str | None,
    dry_run: bool,
    output: Path | None,
) -> None:
    """Submit a campaign to Slurm or PBS: all stages and the sync, as chained job arrays.

    Returns at once. Submits only units that are not done yet, or only the sync if all are done and the store lacks
    results. Either all jobs are accepted or none runs. Exit code 75 if products cannot be read at the moment; jobs
    of the others are submitted.

    Several sites share the campaign: each gets tiles whose scenes lie there, by free cores and cost. Once they share
    it, the same command, with or without sites, hands over what is new.

    \b
    Example:
      hpckit submit campaign.yaml --site snellius --account myproject
      hpckit submit campaign.yaml --site spider --site cirrus
      hpckit submit campaign.yaml --site pbs-generic --dry-run -o scripts/
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.follow import exit_code, show_dry_run, show_submission
    from hpckit.cli.grants import show_handed

    console = Console()
    request = replace(make_request(account, partition, qos, max_elements), chain=chain, mail=mail)
    if len(sites) > 1 or (not sites and campaign.exists() and api.is_shared(campaign)):
        if dry_run or chain != "stages":
            raise click.UsageError("--dry-run and --chain are for one site.")
        show_handed(api.share(campaign, sites, request=request, console=console), campaign)
    site = sites[0] if sites else None
    if dry_run:
        made = api.write_jobs(campaign, site, request=request, folder=output, console=console)
        if made is not None:
            show_dry_run(made, output, console)
    else:
        made = api.submit(campaign, site, request=request, console=console)
        show_submission(made, campaign)
    raise SystemExit(exit_code(made, console))


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
    """Resubmit unfinished units: those that failed, were returned, or died with their element.

    Requests more memory after OUT_OF_MEMORY and more walltime after TIMEOUT, within the limits of the site, and
    prints these changes. RUN is a campaign file or a run directory.

    \b
    Example:
      hpckit retry campaign.yaml
      hpckit retry campaign.yaml --failed --partition himem
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.follow import exit_code, show_submission
    from hpckit.cli.grants import show_handed

    console = Console()
    request = make_request(account, partition, qos, max_elements)
    if api.is_shared(run):
        if site is not None or which == "failed":
            raise click.UsageError("Several sites share this campaign: --site and --failed are for one site.")
        show_handed(api.retry_shared(run, request=request, console=console), run)
    submission = api.retry(run, site, request=request, only_failed=which == "failed", console=console)
    show_submission(submission, run)
    raise SystemExit(exit_code(submission, console))


@click.command()
@RUN
def cancel(run: Path) -> None:
    """Cancel all jobs of a run. Finished work is kept; `hpckit retry` continues.

    \b
    Example:
      hpckit cancel campaign.yaml
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_count

    if api.is_shared(run):
        for name, said in api.cancel_shared(run, console=Console()).items():
            Console().say(f"site {name}: {said}")
        return
    submission, count = api.cancel(run)
    if count is None:
        Console().say(f"submission {submission.number} is over already")
    else:
        jobs = format_count(count, "job")
        Console().say(f"{jobs} of submission {submission.number} cancelled; finished work is kept")


@click.command()
@RUN
@click.option("--once", is_flag=True, help="Show the state once and end, like `hpckit status`.")
def watch(run: Path, once: bool) -> None:
    """Follow a run until all its jobs are over: live on a terminal, or one line for each change in a log.

    Asks the scheduler with one query for all arrays, every 30 seconds at first, and less often while nothing
    changes. Exit code 1 if units failed or are missing at the end.

    \b
    Example:
      hpckit watch campaign.yaml
    """
    from hpckit.api import is_shared, open_submission
    from hpckit.cli.follow import show_watch
    from hpckit.cli.grants import show_watch_shared

    if is_shared(run):
        raise SystemExit(show_watch_shared(run, once=once))
    found, submission, scheduler, runner = open_submission(run)
    raise SystemExit(show_watch(found, submission, scheduler, runner, once=once))


@click.command()
@RUN
@click.argument("what")
@click.option(
    "--lines",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Number of lines at the end of the job's output.",
)
@click.option("--site", metavar="SITE", help="Of a campaign that several sites share: only this one.")
def logs(run: Path, what: str, lines: int, site: str | None) -> None:
    """Show the log of a unit, of an element (STAGE:NUMBER), or of a job id.

    Of a campaign that several sites share, logs are read where they are.

    \b
    Example:
      hpckit logs campaign.yaml ingest:17
      hpckit logs campaign.yaml ingest/31UFU/r10m/B04/b0000/w03
      hpckit logs campaign.yaml 1234_17
    """
    from hpckit.api import is_shared, logs_shared, open_submission
    from hpckit.cli.follow import show_logs

    if is_shared(run):
        for name, text in logs_shared(run, what, lines=lines, site=site).items():
            click.echo(f"==> site {name}\n{text}", nl=False)
        return
    if site is not None:
        raise click.UsageError("--site is for campaigns that several sites share.")
    found, submission, scheduler, _ = open_submission(run)
    show_logs(found, submission, scheduler, what, lines)


@click.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--submission", type=int, required=True)
@click.option("--stage", required=True)
@click.option("--element", type=int, required=True)
@click.option("--processes", type=click.IntRange(1), default=1)
@click.option("--threads", type=click.IntRange(1), default=1)
@click.option("--frozen", help="Digest of the frozen inputs; the worker does nothing if the submission has others.")
def worker(
    run: Path, submission: int, stage: str, element: int, processes: int, threads: int, frozen: str | None
) -> None:
    """Work through one element of a submission; job scripts call this.

    \b
    Example:
      hpckit worker campaign.run --submission 1 --stage ingest --element 0
    """
    from hpckit.base.collector import without_collector

    with without_collector():
        from hpckit.jobs.element import run_element
        from hpckit.production.workerprocess import make_ready

    if processes > 1:  # the server of workers imports the rest while this process reads its units
        make_ready(threads)

    raise SystemExit(
        run_element(run.absolute(), submission, stage, element, processes=processes, threads=threads, frozen=frozen)
    )


@click.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--submission", type=int, required=True)
@click.option("--before", required=True)
def gate(run: Path, submission: int, before: str) -> None:
    """Judge the stages before another one; job scripts call this.

    \b
    Example:
      hpckit gate campaign.run --submission 1 --before signatures
    """
    from hpckit.base.collector import without_collector

    with without_collector():
        from hpckit.jobs.gate import judge
    verdict = judge(run.absolute(), submission, before)
    click.echo(f"gate before {before} {'open' if verdict.open else 'closed'}: {verdict.reason}", err=True)
    raise SystemExit(0 if verdict.open else 1)


@click.command(hidden=True)
@click.argument("names", nargs=-1)
@click.option("--level", "levels", multiple=True, metavar="LEVEL", help="Instruction set. Default: this processor's.")
@click.option(
    "--lacking", is_flag=True, help="Only what workers would find nowhere, in an image or environment either."
)
def kernels(names: tuple[str, ...], levels: tuple[str, ...], lacking: bool) -> None:
    """Compile kernels, and keep them in HPCKIT_KERNELS or the user's cache; all, unless named.

    \b
    Example:
      HPCKIT_KERNELS=/shared/kernels hpckit kernels --level x86-64-v3 --level x86-64-v4
    """
    from hpckit.production.compiling import compile_kernels, everything

    compile_kernels(names or everything(), levels=levels, named=not lacking)


def make_request(account: str | None, partition: str | None, qos: str | None, max_elements: int | None) -> Request:
    """Request from the options of the command line.

    Raises
    ------
    click.UsageError
        If a value has line breaks.
    """
    from hpckit.jobs.jobarrays import Request

    for name, value in (("--account", account), ("--partition", partition), ("--qos", qos)):
        if value is not None and any(sign in value for sign in "\n\r\0"):
            raise click.UsageError(f"{name} contains a line break")
    return Request(account=account, partition=partition, qos=qos, most_elements=max_elements)
