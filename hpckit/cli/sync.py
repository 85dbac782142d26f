"""`hpckit sync`: results into the store."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
@click.option("--submission", type=int, hidden=True, help="Load the results of this submission's inputs.")
def sync(campaign: Path, as_json: bool, submission: int | None) -> None:
    """Load spooled results into the store: a GeoPackage, or PostgreSQL with PostGIS.

    Loads each spool file exactly once, in one transaction, so you can repeat the command at any time.
    Exit code 1 if a spool file is damaged (the others are loaded), 75 if the store or a spool file is not
    available at the moment.

    For composites, it first writes the STAC collection and the mosaics of all finished tiles.

    CAMPAIGN is a campaign file or a run directory.

    \b
    Example:
      hpckit sync campaign.yaml
    """
    import json
    from dataclasses import asdict

    from hpckit import api
    from hpckit.base.console import Console

    done = api.sync(campaign, submission=submission, console=Console(quiet=as_json))
    if done.report is None:
        for path in done.collections:
            click.echo(path)
        return
    if as_json:
        click.echo(json.dumps(asdict(done.report), indent=1))
    else:
        click.echo(done.report.describe(), err=True)
    for fault in done.away:
        click.echo(f"warning: {fault}; what it did since the last visit is loaded another time", err=True)
    raise SystemExit(done.report.exit_code or (75 if done.away else 0))
