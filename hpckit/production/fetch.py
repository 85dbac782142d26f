"""Fetch the remote files that a campaign's ingest will open, for nodes without a network.

They come into a folder where ingest looks first, by this process alone; jobs do it by the stage `fetch`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.fetching import Fetching
from hpckit.campaign.paths import require_beside
from hpckit.campaign.stages import FETCH
from hpckit.inputs.turns import limited
from hpckit.production.driver import plan_campaign
from hpckit.production.fetchable import Fetchable, fetchable, lost_bands, not_listed
from hpckit.production.planning import Planned
from hpckit.production.portion import portion
from hpckit.production.transfer import Failed, Fetched, bring
from hpckit.runs.run import claim
from hpckit.submissions.idle import require_no_jobs


def fetch(
    campaign: Campaign, folder: Path, connections: int | None, per_minute: int | None, console: Console
) -> Fetched:
    """Plan a campaign, and bring what its ingest will open from servers.

    Parameters
    ----------
    folder : Path
        For the copies.
    connections, per_minute : int, optional
        Requests at a time, and within any minute, of all that this does; those of `scenes.fetch` if not given.

    Raises
    ------
    BusyError
        If another process works on the run, or in the folder; or jobs do, and copies must make room.
    PlanError
        If the file system, or the quota of the campaign, has no room for them.
    """
    how = campaign.scenes.fetch or Fetching()
    connections, per_minute = connections or how.connections, per_minute or how.requests_per_minute
    with limited(connections, per_minute):
        found = wanted(campaign, console, within_quota=folder == campaign.fetched_path)
        result = Fetched(folder)
        if found.files:
            require_beside(campaign, folder, "scenes.fetched")
            result = bring(folder, found.run, found.files, connections, console)
        result.failed += found.lost
        result.unread = found.unread
    return result


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a campaign's ingest has still to open from servers."""

    run: str
    """Id of the run."""
    files: Sequence[Fetchable]
    lost: Sequence[Failed]
    """Bands whose files were not there when the products were scanned, and products that cannot be copied."""
    unread: int
    """Products and folders that could not be read."""


def wanted(campaign: Campaign, console: Console, *, within_quota: bool = False) -> Wanted:
    """Plan a campaign, and find the remote files that its ingest has still to open.

    Parameters
    ----------
    within_quota : bool
        Only those for which the quota of the campaign has room, after copies that are not needed were removed.
    """
    planned, _ = plan_campaign(campaign, console, 1)
    later = _make_room(planned, console) if within_quota else frozenset()
    tiles, stages = planned.tiles, planned.stages
    lost = [] if tiles is None else lost_bands(tiles, stages)
    others = [] if tiles is None else not_listed(tiles, stages)
    return Wanted(
        planned.run.run_id,
        [] if tiles is None else [file for file in fetchable(tiles, stages) if file.group not in later],
        [
            *(Failed("", f"{scene.id}: its server has no file of {ref}") for scene, ref in lost),
            *(Failed("", f"{scene.id}: {reason}") for scene, reason in others),
        ],
        planned.unread,
    )


def _make_room(planned: Planned, console: Console) -> Collection[str]:
    """Remove copies that are not needed, as far as the quota asks for it; return what has no room, by group."""
    now = portion(planned)
    if now.spent:
        with claim(planned.run):
            require_no_jobs(planned.run)
            now.make_room()
    if now.later:
        console.warn(f"{now.says()}: run the campaign, and call this command again")
    left, units = planned.plan.pending - now.planned.plan.pending, planned.plan.of(FETCH)
    later, first = (
        {group for unit in units if unit.id in pending for group in unit.args["files"]}
        for pending in (left, now.planned.plan.pending)
    )
    return later - first  # tiles of a grid share arrays
