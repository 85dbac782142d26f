"""Who a reduction in a store belongs to: one campaign, and nobody else changes it.

A campaign is known by its name together with its run, which a copied or moved folder takes along, or with the place
of its file, which stays when the run directory is deleted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import HpckitError, StoreError
from hpckit.runs.run import Run, read_run_json


@dataclass(frozen=True, slots=True)
class StoreOwner:
    """A campaign, as a store knows it."""

    campaign: str = ""
    """Its name; empty where nobody was noted, and whoever comes first may have it."""
    run_id: str = ""
    place: str = ""
    """Host and path of its file; for a GeoPackage the way from its folder, so that both may be moved together."""

    @classmethod
    def of(cls, run: Run, campaign: Campaign) -> StoreOwner:
        """Owner that a run loads results for, into the store of a campaign."""
        path, host = run.campaign.path, socket.gethostname()
        if campaign.store.is_file:
            path, host = Path(os.path.relpath(path, campaign.store_path.parent)), ""
        return cls(run.campaign.name, run.run_id, f"{host}:{path}")

    def is_same(self, other: StoreOwner) -> bool:
        """Whether both are one campaign."""
        if not self.campaign or not other.campaign:
            return True
        return self.campaign == other.campaign and (self.run_id == other.run_id or self.place == other.place)


def require_own(run: Run, campaign: Campaign, known: Mapping[str, StoreOwner]) -> None:
    """Refuse to load results where others have reductions of the same name.

    Parameters
    ----------
    campaign : Campaign
        Whose store it is.
    known : mapping of str to Owner
        Owners of the reductions in the store.

    Raises
    ------
    StoreError
        If a reduction belongs to another campaign, or to the folder that this one is a copy of.
    """
    mine = StoreOwner.of(run, campaign)
    for reduction in run.campaign.signatures:
        owner = known.get(reduction.name, StoreOwner())
        if not owner.is_same(mine):
            raise _taken(campaign, reduction.name, f"campaign {owner.campaign!r}", owner)
        if owner.place != mine.place and _still_lives(owner, run, campaign):
            raise _taken(campaign, reduction.name, "the campaign that this folder is a copy of", owner)


def _taken(campaign: Campaign, reduction: str, whose: str, owner: StoreOwner) -> StoreError:
    where, other = str(campaign.store_path), "`store.path`"
    if not campaign.store.is_file:
        where, other = f"schema {campaign.store.db_schema} of the database", "`store.schema`"
    place = f" ({owner.place})" if owner.place else ""
    return StoreError(
        f"{campaign.path}: reduction {reduction!r} in {where} belongs to {whose}{place}",
        hint=f"give the reduction another name, or set {other} to another one; the results there stay as they are",
    )


def _still_lives(owner: StoreOwner, run: Run, campaign: Campaign) -> bool:
    """Whether the campaign file that was copied to here is still there, and uses the same store."""
    host, _, path = owner.place.partition(":")
    file = Path(path) if host else campaign.store_path.parent / path
    if host not in ("", socket.gethostname()) or not path or not file.exists():
        return False
    with suppress(HpckitError):
        other = load_campaign(file)
        alive = read_run_json(other.run_dir)["run_id"] == run.run_id
        same = not campaign.store.is_file or other.store_path.resolve() == campaign.store_path.resolve()
        return alive and other.store.dsn == campaign.store.dsn and same
    return False
