"""`hpckit sync`: results into the store."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def sync(campaign: Path, as_json: bool) -> None:
    """Load spooled results into the store: a GeoPackage, or PostgreSQL with PostGIS.

    Each spool file is loaded exactly once, in one transaction; what is loaded already is left alone, so the
    command may be repeated at any time. Exit code 1 if a spool file is damaged (the others are loaded), 75 if
    the store cannot be reached just now.

    Of composites, the STAC collection and the mosaics over all finished tiles are written first.

    CAMPAIGN is a campaign file or a run directory.

    \b
    Example:
      hpckit sync campaign.yaml
    """
    from dataclasses import asdict

    from hpckit.campaign import load_campaign
    from hpckit.composites.publish import publish
    from hpckit.console import Console
    from hpckit.run import find_run
    from hpckit.store.sync import sync as load

    run = find_run(campaign)
    # The store is that of the campaign file as it is now: it may have moved since the run.
    present = run.campaign if campaign.is_dir() else load_campaign(campaign)
    collections = publish(present)
    if present.composites and not present.signatures:
        for path in collections:
            click.echo(path)
        return
    report = load(present, run, Console(quiet=as_json))
    if as_json:
        import json

        click.echo(json.dumps(asdict(report), indent=1))
    else:
        click.echo(report.describe(), err=True)
    raise SystemExit(1 if report.failures else 0)
