"""Which products there are, and which of them fit a campaign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.scenes import Products
from hpckit.catalogue import catalogue
from hpckit.inputs.fetched import look_in
from hpckit.inputs.httpfiles import permit
from hpckit.sensors.model import Dropped, Scene
from hpckit.sensors.registry import searched
from hpckit.sensors.stored import Sought
from hpckit.space.aoi import read_aoi

_AROUND_M: Final = 2000.0
"""By which outlines of products may leave their tile."""


def find(
    campaign: Campaign,
    products: Products,
    previous: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> catalogue.ScanReport:
    """Products below paths of a campaign, and those that catalogues among these paths list.

    Parameters
    ----------
    previous : Path, optional
        Catalogue of an earlier scan.
    progress : callable
        Called with the number of products read and found.

    Raises
    ------
    CatalogueError
        If a path is not there.
    """
    paths = [campaign.resolve(path) for path in products.folders]
    lists = [path for path in paths if catalogue.is_catalogue(path)]
    listed = [catalogue.by_product(catalogue.read(path)) for path in lists]
    permit(products.hosts)
    look_in([campaign.fetched_path])
    report = catalogue.scan(
        [*(path for path in paths if path not in lists), *products.addresses],
        previous=previous,
        progress=progress,
        items=products.items,
        among=searched(products.sensor),
        sought=_sought(campaign, products) if products.addresses else None,
    )
    by_path: dict[str, list[Scene]] = {}
    for found in (*listed, catalogue.by_product(report.scenes)):
        by_path |= found
    scenes = [scene for found in by_path.values() for scene in found]
    return replace(report, scenes=scenes)


def _sought(campaign: Campaign, products: Products) -> Sought:
    """What names of folders and products in object stores must allow, for the campaign to use some."""
    from hpckit.space.mgrs import candidates  # shapely and pyproj take time to import
    from hpckit.space.overlap import touched

    tiles = products.tiles
    if tiles is None and products.sensor.has_tiles:
        area = read_aoi(campaign.aoi, campaign.folder)
        tiles = [tile.tile for tile in touched(area, _AROUND_M, candidates)]
    return Sought(campaign.period.start, campaign.period.end or date.max, tiles and frozenset(tiles), products.level)


def fitting(
    campaign: Campaign, scenes: Sequence[Scene], products: Products | None = None
) -> tuple[list[Scene], list[Dropped]]:
    """Scenes that fit a campaign's area, period and limits, and the others with the reason.

    Parameters
    ----------
    products : Products, optional
        What a step makes products from; the campaign's own scenes if not given. Theirs are placed on tiles.
    """
    wanted = products or campaign.scenes
    aoi = read_aoi(campaign.aoi, campaign.folder)
    chosen, dropped = catalogue.select(
        scenes,
        aoi=aoi,
        period=(campaign.period.start, campaign.period.end),
        max_cloud_cover=wanted.max_cloud_cover,
        tiles=wanted.tiles,
        level=wanted.level,
    )
    if wanted.sensor is not campaign.sensor:
        return chosen, dropped  # the options are of the campaign's own sensor
    seen, unseen = campaign.scenes.options.choose(chosen)
    beside: list[Dropped] = []
    if not campaign.grid.resampled and products is None:
        seen, beside = campaign.sensor.place(seen, aoi, campaign.scenes.tiles)
    return seen, [*dropped, *unseen, *beside]


def misfit(dropped: Sequence[Dropped], within: str = "") -> tuple[str, str]:
    """Why no product fits, and a remedy that names the fields which say so.

    Parameters
    ----------
    within : str
        What `scenes` is a part of, `steps.NAME.`; empty for the campaign's own.
    """
    if not dropped:
        return "there is none", f"correct `{within}scenes.paths`"
    fields = Counter(item.field for item in dropped)
    reasons = []
    for field, count in fields.most_common():
        first = next(item.reason for item in dropped if item.field == field)
        reasons.append(first if count == 1 else f"{count} times, as {first}")
    named = [f"`{within if field.startswith('scenes.') else ''}{field}`" for field, _ in fields.most_common()]
    return "; ".join(reasons), f"correct {' or '.join(named)}"
