"""`hpckit update`: what is new, again and again."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hpckit.cli.cluster import SITE, make_request, resources
from hpckit.cli.run import AS_JSON, CAMPAIGN, WORKERS


@click.command()
@CAMPAIGN
@SITE
@resources
@WORKERS
@click.option("--here", is_flag=True, help="Run on this machine, also if the campaign was submitted before.")
@click.option(
    "--notify",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Send a message if something changed or failed: mailto:ADDRESS, an https address that takes JSON, or a "
    "command that reads JSON. The variable HPCKIT_NOTIFY keeps one such target out of the crontab.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing unless something changed or failed.")
@AS_JSON
def update(
    campaign: Path,
    site: str | None,
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
    workers: int | None,
    here: bool,
    targets: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Search for new products, and bring cube, results and store up to date.

    Safe to call every hour, from cron or scrontab: does nothing if nothing is new, or while jobs or another process
    work on the run. Submits to SITE, or to the site of the last submission, or to all sites that share the campaign;
    without any, runs on this machine.

    \b
    Example:
      hpckit update campaign.yaml
      17 * * * *  hpckit update -q /project/nl2024/campaign.yaml --notify mailto:gis@agency.example
    """
    from dataclasses import asdict
    from json import dumps

    from hpckit import api
    from hpckit.base.console import Console

    if here and site is not None:
        raise click.UsageError("--here and --site exclude each other")
    if not targets and os.environ.get("HPCKIT_NOTIFY"):
        targets = (os.environ["HPCKIT_NOTIFY"],)
    console = Console(quiet=quiet)
    request = make_request(account, partition, qos, max_elements)
    found = api.update(
        campaign, site=site, here=here, workers=workers, request=request, notify=targets, console=console
    )
    if as_json:
        click.echo(dumps(asdict(found)))
    elif not quiet or found.state not in ("current", "working"):
        click.echo(found.describe(), err=True)
    raise SystemExit(found.exit_code)
