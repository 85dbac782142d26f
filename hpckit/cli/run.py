"""`hpckit plan`, `run`, `verify` and `status`: a production on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from hpckit.errors import EX_FAILED, EX_TEMPFAIL

CAMPAIGN = click.argument("campaign", type=click.Path(path_type=Path, dir_okay=False))
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Worker processes. Default: the cores of this machine."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")


@click.command()
@CAMPAIGN
@WORKERS
@AS_JSON
@click.option("--site", metavar="SITE", help="Also show elements, node-hours and duration on this site.")
def plan(campaign: Path, workers: int | None, as_json: bool, site: str | None) -> None:
    """Show the work and the cost of a run: units, bytes, files, memory, core-hours.

    Computes no results. Refuses a plan that does not fit into memory or on the disk, and shows the numbers. Exit code
    75 if products cannot be read at the moment: the plan may lack work.

    \b
    Example:
      hpckit plan campaign.yaml --workers 2
      hpckit plan campaign.yaml --site snellius
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.follow import show_layout
    from hpckit.cli.tables import show_plan

    found = api.plan(campaign, workers=workers, site=site, console=Console())
    show_plan(found.estimate, found.layout, found.unread, as_json=as_json)
    if found.layout is None or found.site is None:
        found.estimate.require_fit()
    elif not as_json:
        show_layout(found.layout, found.site)
    raise SystemExit(EX_TEMPFAIL if found.unread else 0)


@click.command()
@CAMPAIGN
@WORKERS
@click.option("--no-sync", is_flag=True, help="Do not load the results; `hpckit sync` loads them later.")
def run(campaign: Path, workers: int | None, no_sync: bool) -> None:
    """Run all stages of a campaign on this machine, and load the results into the store.

    You can stop it at any time by Ctrl-C or kill -9: the same command continues with the missing work.
    Exit code 1 if units failed; `hpckit status` shows which and why.

    \b
    Example:
      hpckit run campaign.yaml --workers 2
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.tables import show_result

    console = Console()
    result = api.run(campaign, workers=workers, with_sync=not no_sync, console=console)
    show_result(result, console)
    raise SystemExit(result.exit_code)


@click.command()
@CAMPAIGN
@click.option("--json", "as_json", is_flag=True, help="List the faulty files in JSON on stdout.")
def verify(campaign: Path, as_json: bool) -> None:
    """Find missing, corrupt and stale files of the cube and composites: shards, GeoTIFFs, mosaics.

    Faulty files are marked, so that the next `hpckit run` writes exactly these files again. Exit code 1 if
    any file is faulty, 75 if some files cannot be read at the moment.

    \b
    Example:
      hpckit verify campaign.yaml && echo all files are correct
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.tables import show_faults

    faults = api.verify(campaign, console=Console())
    show_faults(faults, as_json=as_json, is_shared=bool(faults) and api.is_shared(campaign))
    if any(fault.kind != "unread" for fault in faults):
        raise SystemExit(EX_FAILED)
    raise SystemExit(EX_TEMPFAIL if faults else 0)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@AS_JSON
def status(run: Path, as_json: bool) -> None:
    """Show the units done, failed and waiting in each stage of a run, and why units failed.

    For a run on a cluster, also show the state of its elements in the scheduler. Energy is measured by the scheduler,
    or estimated by the figures of the site file (`energy`); without both it is unknown.
    RUN is a campaign file or a run directory.

    \b
    Example:
      hpckit status campaign.yaml
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.cli.follow import show_activity
    from hpckit.cli.grants import show_grants
    from hpckit.cli.tables import show_status
    from hpckit.submissions.follow import count

    found = api.status(run, console=Console())
    show_status(found.status, count(found.seen), found.energy, as_json=as_json)
    if found.submission is not None and not as_json:
        show_activity(found.submission, found.seen)
    if found.grants and not as_json:
        show_grants(found.grants)
