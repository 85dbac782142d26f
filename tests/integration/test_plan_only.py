"""A plan leaves the cube alone and plans what products really have; a second campaign leaves the first one alone."""

from __future__ import annotations

import numpy as np
import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes import read
from hpckit.errors import CatalogueError, CubeError
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests import products, small_campaign

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
COMPOSITE = "  - {name: all, kind: composite, bands: [B11], methods: [count], outputs: {mosaic: none, cog: false}}\n"


def write(folder, pixels, **changes):
    for number, arrays in enumerate(pixels):
        products.write(folder / "scenes", number, arrays)
    small_campaign.write_zones(folder / "zones.gpkg", small_campaign.zones(5))
    return small_campaign.write_campaign(folder, extra=COMPOSITE, **changes)


def test_a_plan_leaves_nothing_in_the_cube_whatever_was_planned(made, tmp_path):
    path = small_campaign.copy(made, tmp_path / "c")
    for bands in ("[B04, B08, B11, SCL]", "[B04, B08, B11, SCL@60m, SCL]"):
        path.write_text(path.read_text().replace("[B04, B08, B11, SCL]", bands, 1))
        planned, _ = plan_campaign(load_campaign(path), QUIET)
        assert planned.plan.pending
        assert sorted(p.name for p in path.parent.iterdir()) == ["campaign.yaml", "scenes", "test.run", "zones.gpkg"]


def test_a_band_in_no_product_is_refused_and_nothing_is_made(made, tmp_path):
    path = small_campaign.copy(made, tmp_path / "c")
    path.write_text(path.read_text().replace("SCL], dates", "SCL, B12], dates"))
    for attempt in (plan_campaign, run_campaign):
        with pytest.raises(CatalogueError, match="of 4 products none has band B12"):
            attempt(load_campaign(path), QUIET)
    assert not (path.parent / "cube.zarr").exists()


def test_dates_of_products_made_without_a_band_have_no_data_in_it(tmp_path):
    pixels = [small_campaign.pixels_of(number) for number in range(2)]
    del pixels[0]["B11@20m"]
    campaign = load_campaign(write(tmp_path, pixels))
    assert run_campaign(campaign, QUIET, workers=1).exit_code == 0
    assert verify_campaign(campaign, QUIET) == []
    b11 = SENTINEL2.parse("B11@20m")
    assert not read.read_plane(campaign.cube_path, "31UFU", b11, 0).any()
    second = read.read_plane(campaign.cube_path, "31UFU", b11, 1)
    np.testing.assert_array_equal(second, products.stored(pixels[1]["B11@20m"], -1000))
    found = small_campaign.results(campaign)
    of_b11 = found[found.band == "B11"].sort_values("time")
    assert set(of_b11[of_b11.time == of_b11.time.min()].valid) == {0}
    assert of_b11[of_b11.time == of_b11.time.max()].valid.max() > 0
    _second_campaign_is_refused(tmp_path, campaign)


def _second_campaign_is_refused(folder, first):
    """With another period its time axis would be another one."""
    text = (folder / "campaign.yaml").read_text()
    (folder / "b.yaml").write_text(text.replace("name: test", "name: b").replace("2024-04-01", "2024-05-03"))
    second = load_campaign(folder / "b.yaml")
    before = {path: path.stat().st_mtime_ns for path in first.cube_path.rglob("*")}
    for attempt in (plan_campaign, run_campaign, verify_campaign):
        with pytest.raises(CubeError, match="belongs to campaign 'test'"):
            attempt(second, QUIET)
    assert {path: path.stat().st_mtime_ns for path in first.cube_path.rglob("*")} == before
    assert not second.run_dir.exists() and not second.store_path.exists()
