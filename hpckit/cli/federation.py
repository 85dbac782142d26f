"""`hpckit federation`: campaigns that several sites share; and `hpckit part`, which their home calls at each site."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hpckit.cli.cluster import MAIL, RUN, make_request, resources
from hpckit.cli.grants import show_grants, show_handed

_CAMPAIGN = click.argument("campaign", type=click.Path(path_type=Path, exists=True, dir_okay=False))
_SITE = click.option("--site", required=True, metavar="SITE")


@click.group()
def federation() -> None:
    """Share a campaign among several sites (`hpckit submit --site A --site B`).

    \b
    Example:
      hpckit federation show campaign.yaml
    """


@federation.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def show(run: Path, as_json: bool) -> None:
    """Visit the sites of a campaign, and show who has which tiles and how far each is.

    Exit code 75 if a site does not answer.

    \b
    Example:
      hpckit federation show campaign.yaml
    """
    from dataclasses import asdict

    from hpckit import api
    from hpckit.base.console import Console

    grants = api.status(run, console=Console()).grants
    if as_json:
        click.echo(json.dumps([asdict(grant) for grant in grants], indent=1))
    else:
        show_grants(grants)
    raise SystemExit(75 if any(grant.fault for grant in grants) else 0)


@federation.command("take-over")
@RUN
@click.argument("site")
@click.option(
    "--unreachable",
    is_flag=True,
    help="Also if the site does not answer: what it does from now on counts for nothing.",
)
@resources
def take_over(
    run: Path,
    site: str,
    unreachable: bool,
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
) -> None:
    """Take all tiles from SITE, and give them to other sites of the campaign that have their scenes.

    First SITE is fenced: its jobs are cancelled, its elements stop, and what it has done is brought home. Results
    that are at home are not computed again.

    \b
    Example:
      hpckit federation take-over campaign.yaml spider
      hpckit federation take-over campaign.yaml spider --unreachable
    """
    from hpckit import api
    from hpckit.base.console import Console

    request = make_request(account, partition, qos, max_elements)
    made = api.take_over(run, site, unreachable=unreachable, request=request, console=Console())
    show_handed(made, run)


@click.group(hidden=True)
def part() -> None:
    """Work on a part of a campaign; the home of a federation calls this.

    \b
    Example:
      hpckit part state campaign.yaml
    """


@part.command()
@_CAMPAIGN
@_SITE
def survey(campaign: Path, site: str) -> None:
    """Write a catalogue of the scenes of this site beside the campaign, and print what there is.

    \b
    Example:
      hpckit part survey campaign.yaml --site ./spider.yaml
    """
    from hpckit.base.console import Console
    from hpckit.campaign.campaign import load_campaign
    from hpckit.jobs.federation import partwork as work
    from hpckit.sites.site import load_site

    click.echo(json.dumps(work.survey(load_campaign(campaign), load_site(Path(site)), Console(quiet=True))))


@part.command("submit")
@_CAMPAIGN
@_SITE
@resources
@MAIL
def submit_part(
    campaign: Path,
    site: str,
    account: str | None,
    partition: str | None,
    qos: str | None,
    max_elements: int | None,
    mail: str | None,
) -> None:
    """Submit what is left of this part.

    \b
    Example:
      hpckit part submit campaign.yaml --site ./spider.yaml
    """
    from dataclasses import replace

    from hpckit.base.console import Console
    from hpckit.campaign.campaign import load_campaign
    from hpckit.jobs.federation import partwork as work
    from hpckit.sites.site import load_site

    request = replace(make_request(account, partition, qos, max_elements), mail=mail)
    told = work.submit(load_campaign(campaign), load_site(Path(site)), request, Console(quiet=True))
    click.echo(json.dumps(told))


@part.command()
@_CAMPAIGN
def state(campaign: Path) -> None:
    """Print how far the jobs of this part are.

    \b
    Example:
      hpckit part state campaign.yaml
    """
    from hpckit.campaign.campaign import load_campaign
    from hpckit.jobs.federation import part as work

    click.echo(json.dumps(work.state(load_campaign(campaign))))


@part.command()
@_CAMPAIGN
@click.option("--why", default="", help="Why.")
@click.option("--at-once", is_flag=True, help="Do not wait until elements have sealed their results.")
def fence(campaign: Path, why: str, at_once: bool) -> None:
    """Cancel the jobs of this part, and let nothing more be done in it.

    \b
    Example:
      hpckit part fence campaign.yaml
    """
    from hpckit.campaign.campaign import load_campaign
    from hpckit.jobs.federation import part as work

    click.echo(json.dumps(work.fence(load_campaign(campaign), why, at_once=at_once)))
