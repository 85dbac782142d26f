"""New scenes, and an edited campaign file, in a campaign that sites share already: the ledger continues.

Each site keeps its tiles, its folder and its cube, so it computes what is new alone. New tiles are placed as the
first ones were. The plan changes only while no site works by the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpckit.base.console import Console
from hpckit.base.quantities import format_count
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.tiles import read_tiles
from hpckit.errors import BusyError, FederationError, MemberUnavailableError
from hpckit.jobs.federation.follow import GrantState, visit_all
from hpckit.jobs.federation.holdings import Holdings, wanted_of
from hpckit.jobs.federation.ledger import Ledger, load, save
from hpckit.jobs.federation.members import members_of, require_different, survey
from hpckit.jobs.federation.placement import Group
from hpckit.jobs.federation.share import (
    Handed,
    hand_over,
    lay_composites_out,
    place_unplaced,
    plan_of_all,
    require_shareable,
    sent_folder,
    tiles_in,
)
from hpckit.jobs.jobarrays import Request
from hpckit.production.planning import working
from hpckit.production.sync import layer_digests
from hpckit.runs.part import read_part, units_digest
from hpckit.runs.plan import read_plan
from hpckit.runs.run import Run, claim, open_run
from hpckit.sites.site import Site


def share_again(campaign: Campaign, sites: Sequence[Site], request: Request, console: Console) -> Handed:
    """Plan a shared campaign again, hand each site what is new of its tiles, and place tiles that are new.

    Parameters
    ----------
    sites : sequence of Site
        Sites that get tiles from now on, beside those that have some; others of the federation if none is given.

    Raises
    ------
    BusyError
        If a site still works by the plan before.
    FederationError
        If a site lacks scenes of a tile that it has, or tiles of different sites share zones now.
    MemberUnavailableError
        If a site that has tiles does not answer. In all these cases nothing is changed.
    """
    require_different(sites)
    require_shareable(campaign)
    run = open_run(campaign)
    with claim(run):
        before = load(run.path)
        _require_settled(visit_all(run, console), campaign)
        ledger = before.with_sites({site.name: str(site.path) for site in sites})
        wanted = {site.name for site in sites} | {grant.member for grant in ledger.standing}
        members = {name: member for name, member in members_of(run, ledger).items() if name in wanted}
        offers = survey(run, members, console)
        holdings = Holdings({name: offer.scenes for name, offer in offers.items()})
        run, found = plan_of_all(run, holdings, console)
        _require_all(found, ledger)
        _require_owners(found, ledger)
        _require_scenes(run, found, ledger, holdings)
        ledger = place_unplaced(run, ledger.planned(tiles_in(found), _changed(run, ledger)), offers)
        lay_composites_out(run)
        save(run.path, ledger)  # before the plan: whoever is killed in between hands parts over again
        working(run)
        return hand_over(run, members, holdings, request, console, again=True)


def _require_settled(states: Sequence[GrantState], campaign: Campaign) -> None:
    """Refuse to plan while sites work, or may work, by the plan before.

    Raises
    ------
    BusyError, FederationError, MemberUnavailableError
        Names the site.
    """
    for state in states:
        grant = state.grant
        if grant.revoked is not None:
            continue
        if grant.leaving:
            raise FederationError(
                f"{campaign.path}: the take-over of site {grant.member} is not finished",
                hint=f"`hpckit retry {campaign.path}` finishes it",
            )
        if grant.submitted and state.fault is not None:
            raise MemberUnavailableError(f"{state.fault}; nothing was changed", hint="try again when it answers")
        if grant.submitted and not state.told.get("over"):
            why = state.told.get("silent")
            silent = f"; its scheduler does not answer: {why}" if why else ""
            raise BusyError(
                f"site {grant.member} still works on part {grant.epoch}{silent}; nothing was changed",
                hint=f"`hpckit watch {campaign.path}` waits until all sites are done; submit what is new then",
            )


def _require_all(found: Sequence[Group], ledger: Ledger) -> None:
    """Refuse a plan without tiles that nobody has: their scenes may lie at a site that was not asked.

    Raises
    ------
    FederationError
        Names the first one.
    """
    gone = sorted(set(ledger.unplaced) - set(tiles_in(found)))
    if gone:
        raise FederationError(
            f"tile {gone[0]} belongs to no site, and no site that was asked has scenes of it; nothing was changed",
            hint="name a site that has them by `--site`, too",
        )


def _require_owners(found: Sequence[Group], ledger: Ledger) -> None:
    """Refuse tiles that must be at one site and are not.

    Raises
    ------
    FederationError
        Names them.
    """
    owner = ledger.owners
    for group in found:
        grants = {owner[tile].epoch: owner[tile] for tile in group.tiles if tile in owner}
        if len(grants) > 1 or (grants and any(tile not in owner for tile in group.tiles)):
            names = ", ".join(dict.fromkeys(grant.member for grant in grants.values()))
            raise FederationError(
                f"zones lie across tiles {', '.join(group.tiles)} now, and site {names} has only some of them in "
                "one part; nothing was changed",
                hint="share a campaign with another name for the new scenes or zones",
            )


def _require_scenes(run: Run, found: Sequence[Group], ledger: Ledger, holdings: Holdings) -> None:
    """Refuse scenes that do not lie where their tiles are.

    Raises
    ------
    FederationError
        Names a tile, its site and a scene.
    """
    acquisitions = read_tiles(run).acquisitions
    owner = ledger.owners
    for tile in tiles_in(found):
        grant = owner.get(tile)
        lacking = holdings.lacking(grant.member, wanted_of([tile], acquisitions)) if grant is not None else []
        if grant is not None and lacking:
            raise FederationError(
                f"site {grant.member} has tile {tile} and lacks {format_count(len(lacking), 'scene')} of it, "
                f"{lacking[0]} first; nothing was changed",
                hint="bring them there, then submit again; `hpckit federation take-over` gives the tiles of a site "
                "to others",
            )


def _changed(run: Run, ledger: Ledger) -> list[int]:
    """Grants whose units are not those that were handed over."""
    units, layers, changed = read_plan(run.plan), layer_digests(run), list[int]()
    for grant in ledger.standing:
        part = read_part(sent_folder(run, grant) / f"{run.campaign.name}.run")
        if part is None or part.units != units_digest(units, grant.tiles, layers):
            changed.append(grant.epoch)
    return changed
