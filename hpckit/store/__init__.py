"""Where results end: GeoPackage or PostgreSQL/PostGIS."""

from __future__ import annotations

from collections.abc import Callable

from hpckit.campaign.campaign import Campaign
from hpckit.store.model import Store

__all__ = ["Store", "open_store"]


def open_store(campaign: Campaign, tell: Callable[[str], None] = lambda text: None) -> Store:
    """Open the store of a campaign; nothing is written yet.

    Parameters
    ----------
    tell : callable
        Called with whom the store waits for.

    Raises
    ------
    StoreUnavailableError
        If the database cannot be reached.
    StoreError
        If psycopg2 is not installed, or the file is no GeoPackage.
    """
    if campaign.store.dsn is None:
        from hpckit.store.geopackage import GeoPackage

        return GeoPackage(campaign.store_path, tell=tell)
    from hpckit.store.postgis import PostGis

    return PostGis(campaign.store.dsn, campaign.store.db_schema, tell=tell)
