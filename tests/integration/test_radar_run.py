"""A whole campaign of Sentinel-1, from products to the store: numbers against numpy, and nothing done twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.space.mgrs import mgrs_tile
from hpckit.store import open_store
from hpckit.testing.radar import RadarSpec, write_card_bs
from tests.small_campaign import write_zones

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)
TILE = mgrs_tile("31UFU")
EDGE = 260
# On the tile's own pixels: what is stored can be said exactly.
SPEC = RadarSpec(ulx=TILE.xmin + 30_000, uly=TILE.ymax - 20_000)
EVENING = replace(
    SPEC, state="ascending", absolute_orbit=53692, datatake=0x68500, start=SPEC.start + timedelta(hours=12)
)
CAMPAIGN = """\
name: radar
aoi: zones.gpkg
period: 2024-05-01/2024-05-31
scenes: {paths: [scenes], collection: sentinel-1-card-bs, tiles: [31UFU]}
cube: {bands: [VV, VH], dates_per_block: 4}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [VV, VH]
    indices: {RATIO: VH / VV}
"""


def pixels(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    arrays = {pol: random.gamma(4.4, level / 4.4, (EDGE, EDGE)) for pol, level in (("VV", 0.1), ("VH", 0.02))}
    return {pol: np.clip(array, 2e-4, 6).astype(np.float32) for pol, array in arrays.items()}


def zones() -> list[shapely.Geometry]:
    random = np.random.default_rng(8)
    x, y = SPEC.ulx + random.uniform(200, 2400, 12), SPEC.uly - random.uniform(200, 2400, 12)
    inner = [shapely.Point(a, b).buffer(r, 6) for a, b, r in zip(x, y, random.uniform(40, 150, 12), strict=True)]
    return [*inner, shapely.box(SPEC.ulx - 300, SPEC.uly - 900, SPEC.ulx + 300, SPEC.uly - 600)]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("radar")
    for spec, seed in ((SPEC, 1), (EVENING, 2)):
        arrays, cut = pixels(seed), 130
        lower = replace(spec, uly=spec.uly - 10 * (cut + 1), start=spec.start + timedelta(seconds=25), unique="B2B2")
        write_card_bs(folder / "scenes", spec, {pol: array[:cut] for pol, array in arrays.items()})
        write_card_bs(folder / "scenes", lower, {pol: array[cut + 1 :] for pol, array in arrays.items()})
    write_zones(folder / "zones.gpkg", zones())
    (folder / "c.yaml").write_text(CAMPAIGN)
    return load_campaign(folder / "c.yaml")


def expected(seed: int, shape: shapely.Geometry) -> dict[str, tuple[int, float, float]]:
    """Valid pixels, mean and median of each band in a zone, from the pixels that were written."""
    power = {pol: np.rint(array * 1e4) / 1e4 for pol, array in pixels(seed).items()}
    transform = Affine(10, 0, SPEC.ulx, 0, -10, SPEC.uly)
    inside = rasterio.features.rasterize([(shape, 1)], (EDGE, EDGE), transform=transform).astype(bool)
    inside[130] = False
    values = {pol: array[inside] for pol, array in power.items()} | {"RATIO": (power["VH"] / power["VV"])[inside]}
    return {name: (len(found), found.mean(), float(np.median(found))) for name, found in values.items()}


def test_numbers_are_those_of_linear_power(campaign: Campaign):
    result = run_campaign(campaign, QUIET, workers=1)
    assert result.exit_code == 0 and not result.failed
    store = open_store(campaign)
    try:
        compared = 0
        for number, shape in enumerate(zones()):
            for band in ("VV", "VH", "RATIO"):
                frame = store.series("fields", f"z{number}", band)
                assert [name[:7] for name in frame["acquisition"]] == ["S1A_DES", "S1A_ASC"]
                assert frame["relative_orbit"].tolist() == [SPEC.relative_orbit, EVENING.relative_orbit]
                for row, seed in zip(frame.itertuples(), (1, 2), strict=True):
                    count, mean, median = expected(seed, shape)[band]
                    assert row.valid == count
                    assert row.mean == pytest.approx(mean, rel=1e-4)
                    assert row.p50 == pytest.approx(median, rel=2e-3)
                    compared += 1
    finally:
        store.close()
    assert compared == 13 * 3 * 2
    assert verify_campaign(campaign, QUIET) == []


def test_a_second_run_has_nothing_to_do(campaign: Campaign):
    run_campaign(campaign, QUIET, workers=1)
    planned, _ = plan_campaign(campaign, QUIET)
    assert not planned.plan.pending


def test_another_treatment_is_other_input(campaign: Campaign):
    """What the pixels depend on is part of what a shard is made from."""
    run_campaign(campaign, QUIET, workers=1)
    text = campaign.path.read_text()
    try:
        campaign.path.write_text(text.replace("tiles: [31UFU]", "tiles: [31UFU], radar: {resampling: cubic}"))
        planned, _ = plan_campaign(load_campaign(campaign.path), QUIET)
        assert {unit.stage for unit in planned.plan.units if unit.id in planned.plan.pending} == {
            "ingest",
            "signatures",
        }
    finally:
        campaign.path.write_text(text)


def test_a_composite_of_one_direction(campaign: Campaign):
    """In linear power, with the coding of the band; of one date it is that date."""
    folder = campaign.folder
    text = CAMPAIGN.replace("tiles: [31UFU]", "tiles: [31UFU], radar: {orbit: descending}").replace(
        "radar\n", "one\n", 1
    )
    head = text[: text.index("reductions:")].replace(
        "dates_per_block: 4", "dates_per_block: 4, extent: granule, path: one.zarr"
    )
    (folder / "one.yaml").write_text(
        head + "reductions: [{name: mean, kind: composite, bands: [VV, VH], methods: [median, geomad]}]\n"
    )
    assert run_campaign(load_campaign(folder / "one.yaml"), QUIET, workers=1).exit_code == 0
    (path,) = (folder / "composites/mean/31UFU").glob("*/*_median_r10m.tif")
    with rasterio.open(path) as file:
        row, column = file.index(SPEC.ulx + 5, SPEC.uly - 5)
        window = rasterio.windows.Window(column, row, EDGE, EDGE)
        bands = dict(zip(file.descriptions, file.read(window=window), strict=True))
        assert file.scales[0] == pytest.approx(1e-4) and file.offsets[0] == 0
    for pol, array in pixels(1).items():
        wanted = np.rint(array * 1e4)
        wanted[130] = 0
        inner = slice(10, -10)
        np.testing.assert_allclose(bands[pol][inner, inner], wanted[inner, inner], atol=1)
