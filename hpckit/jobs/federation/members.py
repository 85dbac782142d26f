"""The sites of a federation: who they are, and what each says that it has."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base.console import Console
from hpckit.base.files import remove_tree, write_text
from hpckit.base.quantities import format_count, format_duration
from hpckit.base.version import __version__
from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.errors import FederationError
from hpckit.jobs.federation.ledger import Ledger
from hpckit.jobs.federation.member import Member, member_of
from hpckit.jobs.federation.partwork import CATALOGUE
from hpckit.jobs.federation.placement import Capacity
from hpckit.jobs.remote import staged_files
from hpckit.runs.run import Run
from hpckit.sensors.model import Scene
from hpckit.sites.site import Site, load_site

_SURVEY: Final = "survey"
_CLOCKS_DIFFER_S: Final = 120


@dataclass(frozen=True, slots=True)
class Offer:
    """What a site says that it has."""

    scenes: Sequence[Scene]
    capacity: Capacity


def members_of(run: Run, ledger: Ledger) -> dict[str, Member]:
    """The sites of a ledger, by name, as their files say today."""
    return {name: member_of(load_site(Path(path)), folder_of(run)) for name, path in ledger.sites.items()}


def folder_of(run: Run) -> str:
    """Name of the folder of a federation at each site; that of no other campaign or run."""
    return f"{run.campaign.name}-{run.run_id}"


def require_different(sites: Sequence[Site]) -> None:
    """Refuse the same site twice.

    Raises
    ------
    FederationError
        If two have one name.
    """
    names = [site.name for site in sites]
    for name in names:
        if names.count(name) > 1:
            raise FederationError(f"site {name} is named twice", hint="name each site once")


def survey(run: Run, members: Mapping[str, Member], console: Console) -> dict[str, Offer]:
    """Ask each site for its scenes and its free cores.

    Raises
    ------
    FederationError
        If a site has another hpckit, no scenes, or is another one under a second name.
    MemberUnavailableError
        If one does not answer.
    """
    offers, places = dict[str, Offer](), dict[str, str]()
    for name, member in members.items():
        require_same_version(member)
        folder = run.path / "federation" / "surveys" / name / _SURVEY
        remove_tree(folder)
        stage(run.campaign, member.site, folder)
        member.push(folder)
        told = member.ask(
            ["part", "survey", run.campaign.path.name, "--site", f"./{site_file(member.site)}"], _SURVEY
        )
        other = places.setdefault(str(told["place"]), name)
        if other != name:
            raise FederationError(
                f"sites {other} and {name} are the same folder of one machine, {told['place']}",
                hint="name it once; two clusters need folders of their own",
            )
        _compare_clocks(name, float(told["time"]), console)
        for reason in told["failed"]:
            console.warn(f"site {name}: {reason}")
        member.pull([f"{_SURVEY}/{CATALOGUE}"], folder)
        cores = told["free_cores"]
        free = None if cores is None else int(cores)
        offers[name] = Offer(catalogue.read(folder / CATALOGUE), Capacity(free, member.site.federation.cost))
        known = "an unknown number of cores" if free is None else format_count(free, "core")
        console.say(f"site {name}: {format_count(len(offers[name].scenes), 'scene')}, {known} free")
    return offers


def require_same_version(member: Member) -> None:
    """Refuse a site with another hpckit: it may make other results, or not know what a part is.

    Raises
    ------
    FederationError
        If it has.
    """
    done = member.run(["--version"])
    found = re.match(r"^hpckit, version (\S+)", done.stdout)
    there = found[1] if done.returncode == 0 and found else ""
    if not there:
        raise FederationError(
            f"site {member.name}: what answers there is not hpckit, or does not tell its version",
            hint=f"correct `command` in {member.site.path}",
        )
    if there != __version__:
        raise FederationError(
            f"site {member.name} has hpckit {there} and this machine {__version__}",
            hint="install the same version at all sites of a federation",
        )


def stage(campaign: Campaign, site: Site, folder: Path) -> None:
    """Gather in a folder here what a site needs of a campaign, with its site file, which extends none there."""
    for file in staged_files(campaign):
        target = folder / file.relative_to(campaign.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            shutil.copytree(file, target, dirs_exist_ok=True)
        else:
            shutil.copy2(file, target)
    write_text(folder / site_file(site), site.written())


def site_file(site: Site) -> str:
    """Name of a site's file in a staged folder."""
    return f"site-{site.name}.yaml"


def _compare_clocks(name: str, there: float, console: Console) -> None:
    ahead = there - time.time()
    if abs(ahead) > _CLOCKS_DIFFER_S:
        console.warn(
            f"site {name}: its clock is {format_duration(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}; times of "
            "its units are shown as it says them, and decide nothing"
        )
