"""Whether a campaign may write its results to its store, asked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from hpckit.errors import StoreError
from hpckit.runs.run import Run
from hpckit.store import open_store
from hpckit.store.owner import StoreOwner, require_own


def require_free(run: Run) -> None:
    """Refuse reductions that the store has of another campaign; a store that cannot be asked now is asked by sync.

    Raises
    ------
    StoreError
        If a reduction belongs to another campaign.
    """
    campaign = run.campaign
    if not campaign.signatures or (campaign.store.is_file and not campaign.store_path.exists()):
        return
    known: Mapping[str, StoreOwner] = {}
    with suppress(StoreError):
        store = open_store(campaign)
        try:
            known = store.owners()
        finally:
            store.close()
    require_own(run, campaign, known)
