"""Results of a campaign, to look at and to take away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpckit.campaign.campaign import load_campaign

if TYPE_CHECKING:
    import pandas as pd
    import shapely
    import xarray

    from hpckit.cubes.read import Chunks
    from hpckit.look.notebook.view import NotebookView
    from hpckit.space.zones import ZoneLayer


def open_campaign(path: str | Path) -> NotebookView:
    """Open a campaign to look at its results.

    Parameters
    ----------
    path : str or Path
        A campaign file, or a run directory.

    Raises
    ------
    CampaignError
        If the campaign file is wrong.
    RunError
        If `path` is a directory without a run.
    """
    from hpckit.look.notebook.view import NotebookView
    from hpckit.runs.run import find_run

    path = Path(path)
    return NotebookView(find_run(path).campaign if path.is_dir() else load_campaign(path))


def cube(
    campaign: str | Path,
    tile: str | None = None,
    resolution_m: int | None = None,
    chunks: Chunks = "auto",
    *,
    area: shapely.Geometry | Sequence[float] | str | None = None,
    decode: bool = True,
) -> xarray.Dataset:
    """Open a tile of the cube, or an area across tiles, lazily; see `CampaignView.cube`."""
    return open_campaign(campaign).cube(tile, resolution_m, chunks, area=area, decode=decode)


def composite(
    campaign: str | Path,
    name: str | None = None,
    tile: str | None = None,
    resolution_m: int | None = None,
    chunks: Chunks = "auto",
) -> xarray.Dataset:
    """Open a tile of a composite, lazily; see `CampaignView.composite`."""
    return open_campaign(campaign).composite(name, tile, resolution_m, chunks)


def series(
    campaign: str | Path, zone: str | int, band: str | None = None, reduction: str | None = None
) -> pd.DataFrame:
    """Signatures of one zone over time; see `CampaignView.series`."""
    return open_campaign(campaign).series(zone, band, reduction)


def markers(campaign: str | Path, zone: str | int | None = None, rules: Sequence[str] = ()) -> pd.DataFrame:
    """Markers in the store, of one zone or of all; see `CampaignView.markers`."""
    return open_campaign(campaign).markers(zone, rules=rules)


def signatures(campaign: str | Path, band: str | None = None, reduction: str | None = None) -> pd.DataFrame:
    """Signatures of all zones over time; see `CampaignView.signatures`, which also gives Arrow."""
    return open_campaign(campaign).signatures(band, reduction)


def export_signatures(
    campaign: str | Path,
    path: str | Path,
    band: str | None = "all",
    reduction: str | None = None,
    *,
    geometry: bool = True,
) -> int:
    """Write the signatures of all zones to a Parquet file; see `CampaignView.export_signatures`."""
    return open_campaign(campaign).export_signatures(path, band, reduction, geometry=geometry)


def export(campaign: str | Path, path: str | Path, reduction: str | None = None, **options: Any) -> int:
    """Write chosen signatures to Parquet, CSV or GeoPackage; see `CampaignView.export`, which has the options."""
    return open_campaign(campaign).export(path, reduction, **options)


def zones(campaign: str | Path, reduction: str | None = None) -> ZoneLayer:
    """Zones of a reduction; see `CampaignView.zones`."""
    return open_campaign(campaign).zones(reduction)


def items(campaign: str | Path) -> list[dict[str, Any]]:
    """STAC items of the products that a run uses.

    Raises
    ------
    RunError
        If the campaign was never run or planned.
    """
    from hpckit.catalogue import catalogue
    from hpckit.catalogue.stac import to_item
    from hpckit.runs.run import find_run

    return [to_item(scene) for scene in catalogue.read(find_run(Path(campaign)).selected)]
