"""A whole campaign from COGs with STAC items of two catalogues: against the files, and the SAFE products."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
from affine import Affine

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.cubes.read import read_plane
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.testing.safe import ProductSpec, write_product
from tests.small_campaign import pixels_of, results, write_zones, zones
from tests.stac_samples import SENSED, ULX, ULY, product_name, write_item

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)
CATALOGUES = ("earth-search", "collection-1")
SHAPES = zones(12)
CAMPAIGN = """\
name: items
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {paths: [scenes]}
cube: {bands: [red, B11, SCL], extent: granule}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [red, B11, SCL]
"""


def arrays(number: int) -> dict[str, np.ndarray]:
    made = pixels_of(number)
    return {key: made[key] for key in ("B04@10m", "B11@20m", "SCL@20m")}


def run(folder: Path) -> Campaign:
    write_zones(folder / "zones.gpkg", SHAPES)
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    campaign = load_campaign(folder / "campaign.yaml")
    result = run_campaign(campaign, QUIET, workers=1)
    assert result.exit_code == 0 and not result.failed
    return campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("items")
    for number, catalogue in enumerate(CATALOGUES):
        write_item(folder / "scenes", arrays(number), catalogue, sensed=SENSED + timedelta(days=5 * number))
    return run(folder)


def test_the_cube_holds_the_pixels_of_the_files(campaign: Campaign):
    for number in range(2):
        place = campaign.folder / "scenes" / product_name(SENSED + timedelta(days=5 * number))
        with rasterio.open(place / "red.tif") as file:
            pixels = file.read(1)
        subtracted = 1000 if CATALOGUES[number] == "earth-search" else 0
        wanted = np.where(pixels == 0, 0, pixels + subtracted)
        found = read_plane(campaign.cube_path, "31UFU", SENTINEL2.parse("red"), number)
        np.testing.assert_array_equal(found, wanted)


def test_signatures_are_those_of_the_files(campaign: Campaign):
    frame = results(campaign)
    red = frame[frame["band"] == "red"]
    transform, compared = Affine(10, 0, ULX, 0, -10, ULY), 0
    for number in range(2):
        pixels = arrays(number)
        hidden = np.isin(np.kron(pixels["SCL@20m"], np.ones((2, 2), np.uint8)), (0, 1, 3, 8, 9, 10, 11))
        reflectance = np.maximum(pixels["B04@10m"], 1001) / 1e4 - 0.1
        for zone in range(6):
            inside = rasterio.features.rasterize([(SHAPES[zone], 1)], hidden.shape, transform=transform) == 1
            rows = red[(red["zone"] == f"z{zone}")].sort_values("time")
            values = reflectance[inside & ~hidden]
            assert rows["valid"].iloc[number] == len(values)
            if len(values):
                assert rows["mean"].iloc[number] == pytest.approx(values.mean(), rel=1e-4)
                compared += 1
    assert compared > 6


def test_the_same_from_safe_products(campaign: Campaign, tmp_path: Path):
    for number in range(2):
        spec = ProductSpec(sensed=SENSED + timedelta(days=5 * number), baseline="05.10")
        write_product(tmp_path / "scenes", spec, arrays(number))
    other = run(tmp_path)
    columns = ["zone", "band", "valid", "total", "mean", "min", "max", "p50"]
    ours, theirs = (results(one).sort_values(["zone", "band", "time"])[columns] for one in (campaign, other))
    assert len(ours) == 2 * 2 * len(SHAPES)
    pd.testing.assert_frame_equal(ours.reset_index(drop=True), theirs.reset_index(drop=True))


def test_a_second_run_has_nothing_to_do(campaign: Campaign):
    planned, _ = plan_campaign(campaign, QUIET)
    assert not planned.plan.pending
