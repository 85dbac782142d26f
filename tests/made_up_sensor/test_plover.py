"""A sensor in one folder, found by its entry point: the contract, and a whole campaign by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import hpckit
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.read import open_tile, read_plane
from hpckit.errors import CampaignError
from hpckit.sensors.registry import sensor_named
from hpckit.sensors.sensor import Sensor
from hpckit.store import open_store
from hpckit.testing.sensor import SensorTests
from tests.small_campaign import write_zones

pytestmark = [pytest.mark.integration]

HERE = Path(__file__).parent
EDGE, PIXEL_M, EPSG = 200, 30, 3035
TILES = ("h18v04", "h19v04")
DATES = [datetime(2024, 5, 3, 10, 30, tzinfo=UTC) + timedelta(days=8 * number) for number in range(4)]
CLOUD, SHADOW, WATER, FILL = 1 << 1, 1 << 2, 1 << 4, 1 << 0
Pixels = dict[str, np.ndarray]

CAMPAIGN = """\
name: plover
aoi: zones.gpkg
period: 2024-05-01/2024-06-30
scenes: {paths: [scenes], collection: plover-surface, tiles: [H18V04, h19v04]}
cube: {bands: [Blue, Green, Red, near, Warm, Marks], dates_per_block: 3}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [Red, Warm, Marks]
    indices: {NDVI: (Near - Red) / (Near + Red)}
    percentiles: [50]
  - name: spring
    kind: composite
    bands: [Red, Near, Green, Blue]
    methods: [median, max_ndvi]
    mask: {dilate: 0m}
"""


def corner(tile: str) -> tuple[float, float]:
    return 4_002_000.0 + int(tile[1:3]) * EDGE * PIXEL_M, 3_198_000.0 - int(tile[4:]) * EDGE * PIXEL_M


def pixels_of(number: int, tile: str) -> Pixels:
    """Stored numbers of version 2, of which any bits may be marked; the left fifth of the first date has no data."""
    random = np.random.default_rng([number, int(tile[1:3])])
    shape = (EDGE, EDGE)
    made = {name: random.integers(1100, 6000, shape).astype(np.uint16) for name in ("Blue", "Green", "Red", "Near")}
    made["Warm"] = random.integers(18000, 20000, shape).astype(np.uint16)
    chances = {CLOUD: 0.3, SHADOW: 0.2, WATER: 0.5}
    made["Marks"] = sum(bit * (random.random(shape) < chance) for bit, chance in chances.items()).astype(np.uint8)
    if number == 0:
        for array in made.values():
            array[:, : EDGE // 5] = 0
        made["Marks"][:, : EDGE // 5] = FILL
    return made


def write_product(folder: Path, number: int, tile: str, pixels: Pixels, version: str = "2") -> Path:
    sensed, (ulx, uly) = DATES[number], corner(tile)
    path = folder / f"PLV_{sensed:%Y%m%dT%H%M%S}_{tile}_{version}"
    path.mkdir(parents=True)
    for name, array in pixels.items():
        if version == "1" and name not in ("Warm", "Marks"):
            array = np.where(array == 0, 0, array - 1000).astype(np.uint16)
        profile = {"driver": "GTiff", "height": EDGE, "width": EDGE, "count": 1, "dtype": array.dtype}
        place = {"crs": f"EPSG:{EPSG}", "transform": Affine(PIXEL_M, 0, ulx, 0, -PIXEL_M, uly)}
        blocks = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
        with rasterio.open(path / f"{name}.tif", "w", **profile, **place, **blocks) as target:
            target.write(array, 1)
    told = {"satellite": "PLV-A", "sensed": sensed.isoformat(), "tile": tile, "version": version, "orbit": 7}
    (path / "plover.json").write_text(json.dumps({**told, "cloud_cover": 30.0, "bands": list(pixels)}))
    return path


@pytest.fixture
def plover(monkeypatch: pytest.MonkeyPatch) -> Sensor:
    """Installed, for this process and those that it starts."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(HERE)
    return sensor_named("plover")


class TestPlover(SensorTests):
    @pytest.fixture
    def sensor(self, plover: Sensor) -> Sensor:
        return plover

    @pytest.fixture
    def products(self, tmp_path: Path, plover: Sensor) -> Path:
        write_product(tmp_path / "scenes", 1, TILES[0], pixels_of(1, TILES[0]))
        return tmp_path / "scenes"


ZONES = {
    "whole": (0, 20, 30, 50, 70),
    "small": (0, 101, 102, 103, 104),
    "across": (0, 60, 190, 90, 210),
    "unseen": (0, 10, 5, 20, 25),
    "east": (1, 100, 60, 160, 140),
}
"""Tile, first row and column, last row and column and one more: whole pixels; `across` lies on two tiles."""


def zone_box(zone: str) -> shapely.Geometry:
    tile, top, left, bottom, right = ZONES[zone]
    ulx, uly = corner(TILES[tile])
    return shapely.box(ulx + left * PIXEL_M, uly - bottom * PIXEL_M, ulx + right * PIXEL_M, uly - top * PIXEL_M)


def zone_pixels(zone: str, date: int, band: str) -> np.ndarray:
    """Stored numbers in a zone, of both tiles side by side."""
    tile, top, left, bottom, right = ZONES[zone]
    both = np.concatenate([pixels_of(date, name)[band] for name in TILES], axis=1)
    return both[top:bottom, tile * EDGE + left : tile * EDGE + right].ravel()


def run(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hpckit", *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def campaign(tmp_path: Path, plover: Sensor) -> Path:
    """Four dates of two tiles, the second date of version 1, the third of both versions."""
    for number in range(len(DATES)):
        for tile in TILES:
            write_product(tmp_path / "scenes", number, tile, pixels_of(number, tile), "1" if number == 1 else "2")
    write_product(tmp_path / "scenes", 2, TILES[0], pixels_of(3, TILES[0]), "1")
    write_zones(tmp_path / "zones.gpkg", [zone_box(zone) for zone in ZONES], list(ZONES), crs=f"EPSG:{EPSG}")
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path


def test_a_campaign(campaign: Path, plover: Sensor) -> None:
    campaign.write_text(CAMPAIGN.replace("cube: {", "cube: {extent: granule, "))
    run("check", campaign)
    run("run", campaign, "--workers", "2")
    loaded = load_campaign(campaign)
    assert loaded.sensor is plover and loaded.scenes.tiles == list(TILES)
    for tile in TILES:
        check_cube(loaded.cube_path, tile, plover)
        check_composite(campaign.parent / "composites" / "spring.zarr", tile, plover)
    check_store(campaign)
    check_pictures(campaign)
    assert run("scenes", "list", loaded.run_dir / "scenes.parquet").count("version 2") == 6


def check_cube(cube: Path, tile: str, plover: Sensor) -> None:
    for band in plover.bands:
        for date in range(len(DATES)):
            plane = read_plane(cube, tile, plover.parse(band), date)
            wanted = pixels_of(date, tile)[band]
            if band == "Marks" and date == 0:  # a window without data is left out
                wanted = np.where(wanted == FILL, plane, wanted)
            np.testing.assert_array_equal(plane, wanted, err_msg=f"{tile} {band} {date}")
    data = open_tile(cube, tile, PIXEL_M)
    assert data.attrs["proj:code"] == f"EPSG:{EPSG}" and data.processing_baseline.values.tolist() == [
        200,
        100,
        200,
        200,
    ]
    assert data.Marks.attrs["flag_masks"] == [1, 2, 4, 8, 16]
    stored = pixels_of(3, tile)
    np.testing.assert_allclose(data.Red.values[3], stored["Red"] / 5000 - 0.2, rtol=1e-5)
    np.testing.assert_allclose(data.Warm.values[3], stored["Warm"] * 0.01 + 100, rtol=1e-5)
    group = json.loads((cube / tile / "zarr.json").read_text())["attributes"]
    assert group == {"title": f"Plover tile {tile}", "grid:code": f"PLOVER-{tile}"}


def clear(marks: np.ndarray) -> np.ndarray:
    return (marks & (FILL | CLOUD | SHADOW)) == 0


def check_composite(path: Path, tile: str, plover: Sensor) -> None:
    stacks = {band: np.stack([pixels_of(date, tile)[band] for date in range(len(DATES))]) for band in plover.bands}
    seen = clear(stacks["Marks"]) & (stacks["Red"] > 0)
    for band in ("Red", "Near"):
        values = np.where(seen, stacks[band], np.nan)
        with np.errstate(all="ignore"):
            median = np.nanmedian(np.where(seen.any(axis=0), values, 0), axis=0)
        found = _layer(path, tile, f"{band}_median").astype(float)
        assert np.abs(found - median).max() <= 0.5, "rounded to whole numbers"
    red, near = (stacks[band] / 5000 - 0.2 for band in ("Red", "Near"))
    ndvi = np.where(seen, (near - red) / (near + red), -np.inf)
    best = np.where(seen.any(axis=0), np.take_along_axis(stacks["Red"], ndvi.argmax(axis=0)[None], 0)[0], 0)
    assert (_layer(path, tile, "Red_max_ndvi") == best).mean() > 0.999, "but for equal ones"


def _layer(path: Path, tile: str, name: str) -> np.ndarray:
    import zarr

    return np.asarray(zarr.open_array(path / tile / "r30m" / name, mode="r")[0])


def check_store(campaign: Path) -> None:
    store = open_store(load_campaign(campaign))
    try:
        for zone in ZONES:
            red, warm, ndvi = (store.series("fields", zone, band) for band in ("Red", "Warm", "NDVI"))
            marks = store.class_counts("fields", zone, "Marks")
            assert len(red) == len(DATES)
            for date in range(len(DATES)):
                stored = {band: zone_pixels(zone, date, band) for band in ("Red", "Near", "Warm", "Marks")}
                good = clear(stored["Marks"]) & (stored["Red"] > 0)
                assert red["valid"][date] == good.sum() and red["total"][date] == len(good)
                for bit in (1, 2, 4):
                    assert marks[str(bit)][date] == (stored["Marks"] >> bit & 1).sum()
                if good.any():
                    values = {name: array[good].astype(float) for name, array in stored.items()}
                    low, high = values["Red"] / 5000 - 0.2, values["Near"] / 5000 - 0.2
                    expected = (
                        (red, low),
                        (warm, values["Warm"] * 0.01 + 100),
                        (ndvi, (high - low) / (high + low)),
                    )
                    for frame, numbers in expected:
                        check_statistics(frame.iloc[date], numbers)
    finally:
        store.close()


def check_statistics(row: object, numbers: np.ndarray) -> None:
    found = [float(row[name]) for name in ("mean", "min", "max", "p50")]  # type: ignore[index]
    wanted = [numbers.mean(), numbers.min(), numbers.max(), np.median(numbers)]
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)


def check_pictures(campaign: Path) -> None:
    view = hpckit.open_campaign(campaign)
    picture = view.quicklook(TILES[0], when=1, clouds=True)
    words = " ".join(text.get_text() for text in picture.figure.texts)
    assert "True colour" in words and "Plover" in words and picture.png.startswith(b"\x89PNG")
    assert view.plot_series("whole", "Warm").figure.axes[0].get_ylabel() == "Warm, K"
    assert view.plot_series("whole").png and view.plot_series(["whole", "across"], "Warm").png
    assert view.series("unseen", "Red")["valid"].tolist()[0] == 0
    folder = campaign.parent
    run("quicklook", campaign, "--tile", TILES[1], "-o", folder / "look.png")
    run("series", campaign, "--zone", "across", "--plot", folder / "series.png")
    run("quicklook", campaign, "--composite", "spring", "--tile", TILES[0], "-o", folder / "spring.png")
    run("report", campaign, "-o", folder / "report.html")
    assert "h18v04" in (folder / "report.html").read_text() and (folder / "look.png").stat().st_size > 10_000


@pytest.mark.parametrize("resampling", ["nearest"])
def test_a_campaign_on_a_grid(campaign: Path, resampling: str) -> None:
    """Squares that hold parts of both tiles, with the pixels of the products."""
    text = CAMPAIGN.replace("cube: {", f"grid: EPSG:3035:12000@30\ncube: {{resampling: {resampling}, ")
    campaign.write_text(text)
    run("run", campaign, "--workers", "2")
    check_store(campaign)


def test_what_a_campaign_gets_wrong_is_told_in_words_of_the_sensor(tmp_path: Path, plover: Sensor) -> None:
    path = tmp_path / "campaign.yaml"
    for wrong, right, message in _faults():
        path.write_text(CAMPAIGN.replace(right, wrong))
        with pytest.raises(CampaignError, match=message):
            load_campaign(path)


def _faults() -> Sequence[tuple[str, str, str]]:
    return (
        ("[31UFU]", "[H18V04, h19v04]", "no tile of Plover; write it like h18v04"),
        ("[B04, ", "[Blue, ", "'B04' is no Plover band; bands are Blue, Green, Red, Near, Warm, Marks"),
        ("bands: [Red, Marks]", "bands: [Red, Near, Green, Blue]", "Marks holds classes"),
        ("plover-raw", "plover-surface", "sentinel-2-l2a.*plover-surface"),
        ("tiles: [h18v04], radar: {erode: 2}", "tiles: [H18V04, h19v04]", "radar is of Sentinel-1 only"),
    )


def test_without_its_package_the_collection_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    with pytest.raises(CampaignError, match="no collection 'plover-surface'"):
        load_campaign(path)
