"""Which of the products that were found fit a campaign."""

from __future__ import annotations

from collections.abc import Sequence

from hpckit.aoi import read_aoi
from hpckit.campaign import Campaign
from hpckit.campaign_scenes import Products
from hpckit.scenes import catalogue, placing
from hpckit.scenes.model import Scene


def fitting(
    campaign: Campaign, scenes: Sequence[Scene], products: Products | None = None
) -> tuple[list[Scene], list[catalogue.Dropped]]:
    """Scenes that fit a campaign's area, period and limits, and the others with the reason.

    Parameters
    ----------
    products : Products, optional
        What a step makes products from; the campaign's own scenes if not given. Theirs are placed on tiles.
    """
    wanted, radar = products or campaign.scenes, campaign.scenes.radar
    aoi = read_aoi(campaign.aoi, campaign.folder)
    chosen, dropped = catalogue.select(
        scenes,
        aoi=aoi,
        period=(campaign.period.start, campaign.period.end),
        max_cloud_cover=wanted.max_cloud_cover,
        tiles=wanted.tiles,
        level=wanted.level,
    )
    if not (wanted.is_radar and campaign.scenes.is_radar):
        return chosen, dropped
    seen, unseen = placing.on_tracks(chosen, radar.orbit, radar.relative_orbits)
    if campaign.grid_spec is None and products is None:
        seen = placing.place_all(seen, aoi, campaign.scenes.tiles)
    return seen, [*dropped, *unseen]
