"""Fetch the remote files that a campaign's ingest will open, for nodes without a network.

They come into a folder where ingest looks first, by this process alone; jobs do it by the stage `fetch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.paths import require_beside
from hpckit.inputs.turns import limited
from hpckit.production.driver import plan_campaign
from hpckit.production.fetchable import Fetchable, fetchable, lost_bands, of_arrays
from hpckit.production.transfer import Failed, Fetched, bring


def fetch(campaign: Campaign, folder: Path, connections: int, per_minute: int, console: Console) -> Fetched:
    """Plan a campaign, and bring what its ingest will open from servers.

    Parameters
    ----------
    folder : Path
        For the copies.
    connections, per_minute : int
        Requests at a time, and within any minute, of all that this does.

    Raises
    ------
    BusyError
        If another process works on the run, or in the folder.
    PlanError
        If the file system has no room for them.
    """
    with limited(connections, per_minute):
        found = wanted(campaign, console)
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
    """Bands whose files were not there when the products were scanned."""
    unread: int
    """Products and folders that could not be read."""


def wanted(campaign: Campaign, console: Console) -> Wanted:
    """Plan a campaign, and find the remote files that its ingest has still to open."""
    planned, _ = plan_campaign(campaign, console, 1)
    tiles, stages = planned.tiles, planned.stages
    lost = [] if tiles is None else lost_bands(tiles, stages)
    arrays = [] if tiles is None else of_arrays(tiles, stages)
    return Wanted(
        planned.run.run_id,
        [] if tiles is None else fetchable(tiles, stages),
        [
            *(Failed("", f"{scene.id}: its server has no file of {ref}") for scene, ref in lost),
            *(
                Failed("", f"{scene.id}: arrays of EOPF Zarr are not copied; ingest reads them there")
                for scene in arrays
            ),
        ],
        planned.unread,
    )
