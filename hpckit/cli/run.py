"""`hpckit plan`, `run`, `verify` and `status`: a production on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hpckit.campaign import Campaign

CAMPAIGN = click.argument("campaign", type=click.Path(path_type=Path, dir_okay=False))
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Worker processes. Default: the cores of this machine."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")


@click.command()
@CAMPAIGN
@WORKERS
@AS_JSON
@click.option("--site", metavar="SITE", help="Also show elements, node-hours and expected end on this site.")
def plan(campaign: Path, workers: int | None, as_json: bool, site: str | None) -> None:
    """Show what a run will do and cost: units, bytes, files, memory, core-hours.

    Nothing is computed yet. A plan that cannot fit into memory or on the disk is refused with the numbers.

    \b
    Example:
      hpckit plan campaign.yaml --workers 2
      hpckit plan campaign.yaml --site snellius
    """
    from hpckit.campaign import load_campaign
    from hpckit.cli.tables import show_plan
    from hpckit.console import Console
    from hpckit.driver import plan_campaign
    from hpckit.estimate import require_fit

    loaded = load_campaign(campaign)
    if site is not None:
        _plan_on_site(loaded, site, as_json=as_json)
        return
    _, _, estimate = plan_campaign(loaded, Console(), workers)
    show_plan(estimate, as_json=as_json)
    require_fit(estimate)


@click.command()
@CAMPAIGN
@WORKERS
@click.option("--no-sync", is_flag=True, help="Leave the results in the spool; `hpckit sync` loads them later.")
def run(campaign: Path, workers: int | None, no_sync: bool) -> None:
    """Run ingest, index, reduce and sync on this machine.

    It may be stopped at any moment, by Ctrl-C, kill -9 or a power cut: the same command goes on where it was.
    Exit code 1 if units failed; `hpckit status` tells which and why.

    \b
    Example:
      hpckit run campaign.yaml --workers 2
    """
    from hpckit.campaign import load_campaign
    from hpckit.cli.tables import show_result
    from hpckit.console import Console
    from hpckit.driver import run_campaign

    console = Console()
    result = run_campaign(load_campaign(campaign), console, workers=workers, with_sync=not no_sync)
    show_result(result, console)
    raise SystemExit(result.exit_code)


@click.command()
@CAMPAIGN
@click.option("--json", "as_json", is_flag=True, help="List the faults in JSON on stdout.")
def verify(campaign: Path, as_json: bool) -> None:
    """Compare cube and composites with what was written: missing, corrupt and stale shards, GeoTIFFs, mosaics.

    What is found is marked, so that the next `hpckit run` writes exactly those files anew. Exit code 1 if
    there is any fault.

    \b
    Example:
      hpckit verify campaign.yaml && echo sound
    """
    from hpckit.campaign import load_campaign
    from hpckit.cli.tables import show_faults
    from hpckit.console import Console
    from hpckit.driver import verify_campaign

    faults = verify_campaign(load_campaign(campaign), Console())
    show_faults(faults, as_json=as_json)
    raise SystemExit(1 if faults else 0)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@AS_JSON
def status(run: Path, as_json: bool) -> None:
    """Show how far a run is: units done, failed and waiting per stage, and why units failed.

    Of a run on a cluster also what the scheduler says of its elements. RUN is a campaign file or a run directory.

    \b
    Example:
      hpckit status campaign.yaml
    """
    from hpckit.cli.follow import refresh, show_activity
    from hpckit.cli.tables import show_status
    from hpckit.console import Console
    from hpckit.follow import count
    from hpckit.run import find_run
    from hpckit.status import read_status
    from hpckit.submission import latest

    found = find_run(run)
    submission = latest(found.path)
    seen = refresh(found, submission, Console()) if submission is not None else []
    since = submission.created if submission is not None and not submission.is_over else None
    show_status(read_status(found, since), count(seen), as_json=as_json)
    if submission is not None and not as_json:
        show_activity(submission, seen)


def _plan_on_site(campaign: Campaign, name: str, *, as_json: bool) -> None:
    from hpckit.arrays import Request
    from hpckit.cli.cluster import choose_site
    from hpckit.cli.follow import show_layout
    from hpckit.cli.tables import show_plan
    from hpckit.console import Console
    from hpckit.estimate import estimate
    from hpckit.run import claim, open_run
    from hpckit.submit import draft

    site, run = choose_site(name, campaign.folder), open_run(campaign)
    with claim(run):
        prepared, drafted = draft(run, site, Request(account="?"), Console())
    show_plan(estimate(prepared, drafted.plan, 1), drafted.layout, as_json=as_json)
    if not as_json:
        show_layout(drafted.layout, site)
