"""Share a campaign among sites: plan it once, write down who has which tiles, and hand each site its part."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpckit.base.console import Console
from hpckit.base.files import remove_tree, write_text
from hpckit.base.quantities import format_count
from hpckit.campaign import owner
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.owner import stores
from hpckit.catalogue import catalogue
from hpckit.cubes.tiles import read_tiles
from hpckit.errors import BusyError, FederationError, HpckitError, MemberUnavailableError
from hpckit.jobs.federation.collect import done_of, folder_name, planned
from hpckit.jobs.federation.holdings import Holdings, wanted_of
from hpckit.jobs.federation.ledger import Grant, Ledger, load, save
from hpckit.jobs.federation.member import Member, member_of
from hpckit.jobs.federation.members import Offer, folder_of, require_different, site_file, stage, survey
from hpckit.jobs.federation.placement import Group, groups, place
from hpckit.jobs.jobarrays import Request
from hpckit.production.planning import plan_all, working
from hpckit.production.sync import layer_digests
from hpckit.reduce.composites.stage import Composites
from hpckit.runs.part import Part, is_home, require_no_part, units_digest, write_part
from hpckit.runs.plan import read_plan
from hpckit.runs.run import Run, claim, open_run
from hpckit.sites.site import Site
from hpckit.submissions.idle import require_no_jobs

SCENES = "scenes.parquet"


@dataclass(slots=True)
class Handed:
    """What became of handing parts to sites."""

    said: list[str] = field(default_factory=list)
    """What each site did, one sentence for each."""
    submissions: int = 0
    """Submissions that were made at sites."""
    faults: list[HpckitError] = field(default_factory=list)
    """Sites that refused or did not answer; the others went on."""
    unplaced: list[str] = field(default_factory=list)
    """Tiles that no site has."""

    @property
    def exit_code(self) -> int:
        """1 if a site refused, or tiles belong to nobody; 75 if sites only did not answer."""
        if self.unplaced or any(not isinstance(fault, MemberUnavailableError) for fault in self.faults):
            return 1
        return 75 if self.faults else 0


def share(campaign: Campaign, sites: Sequence[Site], request: Request, console: Console) -> Handed:
    """Share a campaign among sites, and submit each part.

    Raises
    ------
    FederationError
        If the campaign cannot be shared, is shared already, or no site has all scenes of some tile: nothing is
        submitted then.
    MemberUnavailableError
        If a site does not answer.
    """
    require_different(sites)
    require_shareable(campaign)
    run = open_run(campaign)
    require_no_part(run.path, campaign.path)
    with claim(run):
        if is_home(run.path):
            raise BusyError(f"{campaign.path}: another process shares it at this moment", hint="try again")
        require_no_jobs(run)
        members = {site.name: member_of(site, folder_of(run)) for site in sites}
        offers = survey(run, members, console)
        holdings = Holdings({name: offer.scenes for name, offer in offers.items()})
        run, found = plan_of_all(run, holdings, console)
        placed = _place_all(run, found, holdings, offers)
        ledger = Ledger(run.run_id, {site.name: str(site.path) for site in sites}, tuple(tiles_in(found)))
        ledger = ledger.granting(placed)
        lay_composites_out(run)
        working(run)
        save(run.path, ledger)
        return hand_over(run, members, holdings, request, console, again=False)


def require_shareable(campaign: Campaign) -> None:
    """Refuse what sites cannot compute apart from each other.

    Raises
    ------
    FederationError
        If a campaign has results that no single site can make, steps, or a cube or composites at a fixed place.
    """
    if campaign.graphs or not campaign.reductions:
        first = next((f"{item.name!r} is neither" for item in campaign.graphs), "there are none")
        raise FederationError(
            f"{campaign.path}: sites share signatures and composites only, and {first}",
            hint="a graph, function or model makes one result from all tiles: submit it to one site, by a campaign "
            "of its own",
        )
    if campaign.steps or campaign.extensions:
        raise FederationError(
            f"{campaign.path}: `steps` and stages of other packages cannot be shared between sites",
            hint="submit this campaign to one site",
        )
    for name, path in stores(campaign):
        if not Path(os.path.normpath(path)).is_relative_to(campaign.folder.absolute()):
            raise FederationError(
                f"{campaign.path}: `{name}` leads to {path}, and each part of a shared campaign has files of its own",
                hint="write a relative path; it then lies in the folder of the part at each site",
            )


def place_unplaced(run: Run, ledger: Ledger, offers: Mapping[str, Offer]) -> Ledger:
    """Give tiles that nobody has to sites that have their scenes; tiles without such a site stay unplaced."""
    free = set(ledger.unplaced)
    holdings = Holdings({name: offer.scenes for name, offer in offers.items()})
    units = read_plan(run.plan)
    found = [group for group in groups(units, ledger.tiles) if free.intersection(group.tiles)]
    capacities = {name: offer.capacity for name, offer in offers.items()}
    load_s = dict.fromkeys(offers, 0.0)
    for grant in ledger.standing:
        if grant.member in load_s:
            load_s[grant.member] += sum(unit.cost for unit in planned(units, grant).values())
    return ledger.granting(place(found, _holders(run, found, holdings, list(offers)), capacities, load_s))


def hand_over(
    run: Run,
    members: Mapping[str, Member],
    holdings: Holdings,
    request: Request,
    console: Console,
    *,
    again: bool,
) -> Handed:
    """Hand grants that hold to those of the sites that are given, and submit what is left of them.

    Parameters
    ----------
    holdings : Holdings
        Where scenes lie, for grants that were not handed over yet.
    again : bool
        Submit what is left of grants, too, that were handed over before.
    """
    handed, ledger = Handed(), load(run.path)
    for grant in ledger.standing:
        if grant.member not in members or grant.leaving or (grant.submitted and not again):
            continue
        try:
            if not grant.submitted:
                _send(run, grant, members[grant.member], holdings)
            _submit(run, grant, members[grant.member], request, handed)
        except HpckitError as error:
            handed.faults.append(error)
            console.warn(f"{error}; the other sites go on")
            continue
        ledger = ledger.noting(grant.epoch, submitted=True)
        save(run.path, ledger)
    handed.unplaced = ledger.unplaced
    return handed


def plan_of_all(run: Run, holdings: Holdings, console: Console) -> tuple[Run, list[Group]]:
    """Plan the whole campaign from the scenes of all sites; nothing is computed here, and nobody works by it yet.

    Without fetching: each site fetches what lies on servers and not there, which nothing here depends on.
    """
    path = run.path / "federation" / SCENES
    campaign = run.campaign
    catalogue.write(path, holdings.all(), campaign.scenes.items)
    scenes = campaign.scenes.model_copy(update={"paths": [path], "fetch": None})
    whole = campaign.model_copy(update={"scenes": scenes})
    planned = plan_all(replace(run, campaign=whole), console)
    assert planned.tiles is not None
    return replace(planned.run, campaign=campaign), groups(planned.plan.units, sorted(planned.tiles.acquisitions))


def lay_composites_out(run: Run) -> None:
    """Lay out the stores into which composites of all sites come; the home has no cube.

    Raises
    ------
    CubeError
        If they belong to another campaign.
    """
    if run.campaign.composites:
        owner.take(run.campaign, cube=False)
        Composites().lay_out(read_tiles(run))


def tiles_in(found: Sequence[Group]) -> list[str]:
    """All tiles of a plan, sorted."""
    return sorted(tile for group in found for tile in group.tiles)


def _holders(
    run: Run, found: Sequence[Group], holdings: Holdings, names: Sequence[str]
) -> dict[tuple[str, ...], list[str]]:
    acquisitions = read_tiles(run).acquisitions
    wanted = {group.tiles: wanted_of(group.tiles, acquisitions) for group in found}
    return {tiles: [name for name in names if not holdings.lacking(name, ids)] for tiles, ids in wanted.items()}


def _place_all(run: Run, found: Sequence[Group], holdings: Holdings, offers: Mapping[str, Offer]) -> dict[str, str]:
    names = list(offers)
    holders = _holders(run, found, holdings, names)
    for group in found:
        if not holders[group.tiles]:
            wanted = wanted_of(group.tiles, read_tiles(run).acquisitions)
            best = min(names, key=lambda name: len(holdings.lacking(name, wanted)))
            lacks = holdings.lacking(best, wanted)
            raise FederationError(
                f"no site has all scenes of {_named(group.tiles)}; site {best} lacks "
                f"{format_count(len(lacks), 'scene')} of {len(wanted)}, {lacks[0]} among them",
                hint="bring these scenes to one site; tiles that share zones need one that has the scenes of all",
            )
    return place(found, holders, {name: offer.capacity for name, offer in offers.items()})


def _named(tiles: Sequence[str]) -> str:
    shown = ", ".join(tiles[:3]) + (", …" if len(tiles) > 3 else "")
    return f"tile {shown}" if len(tiles) == 1 else f"tiles {shown}, which share zones"


def _send(run: Run, grant: Grant, member: Member, holdings: Holdings) -> None:
    """Send a part: the campaign with the scenes of the whole plan, and which of its units are the site's own."""
    if not holdings.knows(grant.member):
        raise MemberUnavailableError(f"site {grant.member} did not say which scenes it has, so its part waits")
    campaign, folder = run.campaign, sent_folder(run, grant)
    remove_tree(folder)
    stage(campaign, member.site, folder)
    catalogue.write(folder / SCENES, holdings.of(grant.member), campaign.scenes.items)
    described = campaign.model_dump(mode="json", by_alias=True, exclude_unset=True)
    described["scenes"] = {**described["scenes"], "paths": [SCENES]}
    described.pop("store", None)  # results are loaded by the home, and what it says may be secret
    write_text(folder / campaign.path.name, json.dumps(described, indent=1))  # JSON is YAML
    units = read_plan(run.plan)
    part = Part(
        federation=run.run_id,
        member=grant.member,
        epoch=grant.epoch,
        tiles=grant.tiles,
        units=units_digest(units, grant.tiles, layer_digests(run)),
        done=done_of(run, units, grant),
    )
    write_part(folder / f"{campaign.name}.run", part)
    member.push(folder)


def sent_folder(run: Run, grant: Grant) -> Path:
    """What was, or is about to be, sent to a site of a grant; not there if nothing ever was."""
    return run.path / "federation" / "grants" / folder_name(grant)


def _submit(run: Run, grant: Grant, member: Member, request: Request, handed: Handed) -> None:
    name = run.campaign.path.name
    words = ["part", "submit", name, "--site", f"./{site_file(member.site)}", *_options(request)]
    told = member.ask(words, folder_name(grant))
    tiles = format_count(len(grant.tiles), "tile")
    if told["busy"]:
        did = "its jobs run or wait already"
    elif told["submission"] is None:
        did = "nothing is left to do"
    else:
        handed.submissions += 1
        did = f"submission {told['submission']} of part {grant.epoch}"
    handed.said.append(f"site {grant.member}, {tiles}: {did}")


def _options(request: Request) -> list[str]:
    pairs = {
        "--account": request.account,
        "--partition": request.partition,
        "--qos": request.qos,
        "--max-elements": request.most_elements,
        "--mail": request.mail,
    }
    return [word for name, value in pairs.items() if value is not None for word in (name, str(value))]
