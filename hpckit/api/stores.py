"""The store of a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.results import open_campaign
from hpckit.api.sharing import visit
from hpckit.api.shown import QUIET
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import StoreError
from hpckit.runs.group import group_files

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.production.markers import MarkerReport
    from hpckit.production.sync import SyncReport
    from hpckit.store import Store
    from hpckit.store.upgrade import StoreState


@dataclass(frozen=True, slots=True)
class Synced:
    """Result of a sync."""

    collections: Sequence[Path]
    """STAC collections of composites."""
    report: SyncReport | None
    """Report on signatures; None for a campaign without signatures."""
    away: Sequence[str] = ()
    """Why sites that share the campaign do not answer: what they did since the last visit is missing."""


def sync(campaign: str | Path, *, submission: int | None = None, console: Console = QUIET) -> Synced:
    """Write collections and mosaics of composites, and make the store hold the results of the run.

    Parameters
    ----------
    campaign : str or Path
        A campaign file, whose store counts as it is now, or a run directory.
    submission : int, optional
        Load what this submission works from.
    """
    from hpckit.production.sync import sync as load
    from hpckit.reduce.composites.publish import publish
    from hpckit.runs.run import find_run, open_frozen
    from hpckit.submissions.submission import load as load_submission

    found = find_run(Path(campaign))
    grants = visit(found, console) if submission is None else []
    if submission is not None:
        found = open_frozen(found.path, load_submission(found.path / "submissions" / f"{submission:04d}").frozen)
    present = found.campaign if Path(campaign).is_dir() else load_campaign(Path(campaign))
    loads = bool(present.signatures) or not present.of_pixels
    with group_files(present, console.warn):
        away = [grant.fault for grant in grants if grant.fault is not None]
        return Synced(publish(present), load(present, found, console) if loads else None, away)


def find_markers(campaign: str | Path, *, console: Console = QUIET) -> MarkerReport:
    """Bring the markers in the store up to date with the rules of the campaign and the series; `sync` does it, too.

    Raises
    ------
    StoreError
        If the store has results of another campaign under these names, or cannot be written.
    """
    from hpckit.production.markers import refresh_campaign
    from hpckit.runs.run import find_run

    found = find_run(Path(campaign))
    loaded = found.campaign if Path(campaign).is_dir() else load_campaign(Path(campaign))
    return refresh_campaign(loaded, found, console)


def has_current_markers(campaign: str | Path) -> bool:
    """Whether `find_markers` would change nothing."""
    from hpckit.production.markers import is_campaign_current

    return is_campaign_current(open_campaign(campaign).campaign)


def store_state(
    campaign: str | Path | None = None, *, dsn: str | None = None, schema: str = "hpckit", console: Console = QUIET
) -> StoreState:
    """Version of a store's tables, and who uses them.

    Parameters
    ----------
    campaign : str or Path, optional
        Whose store it is.
    dsn, schema : str, optional
        A database and its schema, where no campaign is named.

    Raises
    ------
    StoreError
        If it cannot be looked at, or neither is given.
    """
    from hpckit.store.upgrade import state_of

    store = _open_store(campaign, dsn, schema, console)
    try:
        return state_of(store)
    finally:
        store.close()


def migrate_store(
    campaign: str | Path | None = None, *, dsn: str | None = None, schema: str = "hpckit", console: Console = QUIET
) -> StoreState:
    """Upgrade the tables of a store to those of this hpckit, also where others use them; make none.

    Takes what `store_state` takes, and returns the state after the upgrade.

    Raises
    ------
    StoreError
        If there are no tables, they are of a newer hpckit, or this user may not change them.
    """
    from hpckit.store.upgrade import migrate

    store = _open_store(campaign, dsn, schema, console)
    try:
        return migrate(store)
    finally:
        store.close()


def _open_store(campaign: str | Path | None, dsn: str | None, schema: str, console: Console) -> Store:
    from hpckit.store import open_store
    from hpckit.store.postgis import PostGis

    if dsn is not None:
        return PostGis(dsn, schema, tell=console.warn)
    if campaign is None:
        raise StoreError("no store is named", hint="name a campaign file, or give --dsn")
    return open_store(load_campaign(Path(campaign)), console.warn)
