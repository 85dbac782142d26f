"""A campaign on a product of several granules gives what one on a product for each granule does, on all grids."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign, verify_campaign
from hpckit.testing import ground
from hpckit.testing.safe import ProductSpec, write_old_product
from tests.products import FIRST
from tests.small_campaign import results, same, write_zones

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
EDGE = 240
OLD = ProductSpec(baseline="02.04", level="L1C", sensed=FIRST - timedelta(days=365 * 8))
GRANULES = [
    ground.granule_at(replace(OLD, tile="31UGT", epsg=32631), 5.99, 51.5, EDGE),
    ground.granule_at(replace(OLD, tile="32ULC", epsg=32632), 6.01, 51.5, EDGE),
]
BANDS = ("B04@10m", "B08@10m", "B11@20m")
DATES = 2


def zones() -> list[shapely.Geometry]:
    random = np.random.default_rng(5)
    middles = zip(random.uniform(5.98, 6.02, 15), random.uniform(51.493, 51.507, 15), strict=True)
    return [shapely.box(x - 0.002, y - 0.0014, x + 0.002, y + 0.0014) for x, y in middles]


def arrays_of(safe: Path) -> dict[str, np.ndarray]:
    found = {}
    for image in safe.rglob("*.jp2"):
        with rasterio.open(image) as source:
            found[f"{image.stem.rpartition('_')[2]}@{int(source.res[0])}m"] = source.read(1)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """`apart`, products of one granule, and `old`, the same granules of a pass in one product."""
    folder = tmp_path_factory.mktemp("products")
    for number in range(DATES):
        specs = [replace(spec, sensed=spec.sensed + timedelta(days=10 * number)) for spec in GRANULES]
        apart = [ground.write_granule(folder / "apart", spec, EDGE, bands=BANDS) for spec in specs]
        granules = list(zip(specs, map(arrays_of, apart), strict=True))
        assert all(arrays.keys() == set(BANDS) for _, arrays in granules)
        write_old_product(folder / "old", granules, as_zip=number == 1)
    return folder


def computed(folder: Path, scenes: Path, grid: str) -> tuple[Path, pd.DataFrame]:
    folder.mkdir()
    write_zones(folder / "zones.gpkg", zones(), crs="EPSG:4326")
    path = folder / "campaign.yaml"
    path.write_text(
        f"""\
name: old
aoi: zones.gpkg
period: {OLD.sensed.year}-01-01/{OLD.sensed.year}-12-31
scenes: {{paths: [{scenes}], collection: sentinel-2-l1c}}
{grid}
cube: {{bands: [B04, B08, B11]}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04, B11]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    mask: null
"""
    )
    campaign = load_campaign(path)
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    return path, results(campaign)


@pytest.mark.parametrize("grid", ["", "grid: utm:2560@10", "grid: EPSG:3035:3000@20"])
def test_results_are_those_of_a_product_for_each_granule(made, tmp_path, grid):
    old, found = computed(tmp_path / "old", made / "old", grid)
    _, expected = computed(tmp_path / "apart", made / "apart", grid)
    assert len(found) >= len(zones()) * DATES * 3
    same(found, expected)
    for number, zone in enumerate(zones()):  # and both are those of the ground
        west, south, east, north = zone.bounds
        place = np.meshgrid(np.linspace(west, east, 100), np.linspace(south, north, 100))
        mine = found[(found.zone == f"z{number}") & (found.band == "B04") & (found.valid == found.total)]
        assert mine["mean"].to_numpy() == pytest.approx(ground.reflectance("B04", *place).mean(), abs=0.004)
        area = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(zone)[0])
        assert (mine.valid * load_campaign(old).cube_bands()[0].resolution_m ** 2).to_numpy() == pytest.approx(
            area, rel=0.2
        )
    assert not verify_campaign(load_campaign(old), QUIET)


def test_a_reprocessed_granule_replaces_its_own_dates_alone(made, tmp_path):
    """A later product of one tile and pass; the other granule of the old product stays in use."""
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (folder,) = (path for path in (made / "old").iterdir() if path.is_dir())
    (scenes / folder.name).symlink_to(folder)
    path, before = computed(tmp_path / "c", scenes, "")
    new = replace(GRANULES[0], baseline="05.00", produced=OLD.sensed + timedelta(days=2500))
    ground.write_granule(scenes, new, EDGE, bands=BANDS, seen=lambda longitude, latitude: latitude > 51.5)
    campaign = load_campaign(path)
    report = run_campaign(campaign, QUIET, workers=2)
    assert report.exit_code == 0
    after = results(campaign)
    mine, theirs = after[after.tile == "31UGT"], after[after.tile == "32ULC"]
    assert len(mine) and len(theirs)
    same(theirs.reset_index(drop=True), before[before.tile == "32ULC"].reset_index(drop=True))
    assert mine.valid.sum() < before[before.tile == "31UGT"].valid.sum()
