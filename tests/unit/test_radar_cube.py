"""Sentinel-1 on the pixels of a tile: resampling against GDAL, coding, edges, frames, and pictures in dB."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import Resampling, reproject
from scipy.ndimage import map_coordinates

from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.cubes.ingest import IngestUnit, ingest
from hpckit.cubes.layout import CubeSpec, prepare
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.read import open_tile, read_plane
from hpckit.errors import CampaignError, CatalogueError, SceneError
from hpckit.look.radar import decibels, directions, in_decibels
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Scene
from hpckit.sensors.native import MGRS
from hpckit.sensors.sentinel1 import windows as radar
from hpckit.sensors.sentinel1.options import RadarOptions
from hpckit.sensors.sentinel1.placing import place, place_all
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel1.windows import encode
from hpckit.sensors.sentinel2.bands import WINDOW
from hpckit.space.frame import Frame
from hpckit.space.mgrs import mgrs_tile
from hpckit.space.tile import Tile
from hpckit.testing.landscape import noise
from hpckit.testing.radar import RadarSpec, write_card_bs, write_series
from tests.products import read_product

pytestmark = pytest.mark.slow

TILE = mgrs_tile("31UFT")
SPEC = RadarSpec(ulx=TILE.xmin + 1003.494, uly=TILE.ymax - 996.518)
VV = SENTINEL1.parse("VV@10m")


def smooth(edge: int = 320, seed: int = 3) -> np.ndarray:
    """Backscatter that varies as land does."""
    return np.asarray(0.05 * np.exp(0.5 * noise(edge, 1.5, seed)), dtype=np.float32)


def scene_of(folder: Path, array: np.ndarray, spec: RadarSpec = SPEC, tile: Tile = TILE) -> Scene:
    return place(read_product(write_card_bs(folder, spec, {"VV": array})), tile)


def frame_of(scene: Scene) -> Frame:
    return replace(scene.frame, edges=WINDOW)


def read_strip(reading: RadarReading, scene: Scene, ref: BandRef, row: int, columns: list[int]) -> dict:
    return radar.read_strip(reading, scene, ref, frame_of(scene), row, columns)


def touched(scene: Scene, resolution_m: int) -> np.ndarray:
    frame = frame_of(scene)
    rows = range(frame.windows(resolution_m)[0])
    return np.stack([radar.reached(scene, frame, resolution_m, row) for row in rows])


def by_gdal(scene: Scene, ref: BandRef, shape: tuple[int, int], resampling: Resampling) -> np.ndarray:
    target = np.zeros(shape, np.float32)
    with rasterio.open(scene.assets[ref.key].uri) as source:
        reproject(
            rasterio.band(source, 1),
            target,
            src_nodata=0,
            dst_nodata=0,
            dst_transform=scene.frame.transform(ref.resolution_m),
            dst_crs=f"EPSG:{scene.frame.epsg}",
            resampling=resampling,
            tolerance=0,
        )
    return target


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_as_gdal_warps(tmp_path, resampling):
    array = smooth()
    array[100:103] = 0
    scene = scene_of(tmp_path, array)
    stored = read_strip(RadarReading(resampling=resampling, erode_px=0), scene, VV, 0, [0])[0]
    wanted = by_gdal(scene, VV, (1024, 1024), Resampling[resampling])
    assert (wanted > 0).sum() > 60_000
    both = (stored > 0) & (wanted > 0)
    # GDAL may count the half pixels at an edge otherwise: a rim, no more.
    assert ((stored > 0) != (wanted > 0)).sum() < 2500
    difference = np.abs(stored[both] * 1e-4 - wanted[both])
    assert np.quantile(difference, 0.999) < (2e-4 if resampling != "nearest" else 1e-4)
    assert np.median(difference) <= 5e-5


@pytest.mark.parametrize(("resampling", "order"), [("nearest", 0), ("bilinear", 1)])
def test_from_the_next_zone(tmp_path, resampling, order):
    """Against every pixel's place computed exactly."""
    to_product = pyproj.Transformer.from_crs(32631, 32632, always_xy=True)
    x, y = to_product.transform(SPEC.ulx + 1000, SPEC.uly - 1000)
    array = smooth()
    scene = scene_of(tmp_path, array, replace(SPEC, epsg=32632, ulx=x, uly=y))
    stored = read_strip(RadarReading(resampling=resampling, erode_px=0), scene, VV, 0, [0])[0]
    centres = 10 * (np.arange(1024) + 0.5)
    east, north = to_product.transform(*np.meshgrid(TILE.xmin + centres, TILE.ymax - centres))
    columns, rows = (east - x) / 10 - 0.5, (y - north) / 10 - 0.5
    wanted = map_coordinates(array, [rows, columns], order=order)
    inside = (rows > 1) & (columns > 1) & (rows < 318) & (columns < 318)
    assert inside.sum() > 90_000
    difference = np.abs(stored[inside] * 1e-4 - wanted[inside])
    # With nearest, places within a thousandth of a pixel's edge may fall to either side.
    assert (difference > 5.1e-5).mean() < (0.002 if order == 0 else 1e-9)


def test_coarser_pixels_keep_the_mean(tmp_path):
    """20 m pixels from 10 m ones: of pure speckle, means stay and deviations fall."""
    array = np.random.default_rng(5).gamma(4.4, 0.1 / 4.4, (320, 320)).astype(np.float32)
    scene = scene_of(tmp_path, array)
    fine = read_strip(RadarReading(), scene, VV, 0, [0])[0] * 1e-4
    coarse = read_strip(RadarReading(), scene, SENTINEL1.parse("VV@20m"), 0, [0])[0] * 1e-4
    assert coarse[coarse > 0].mean() == pytest.approx(fine[fine > 0].mean(), rel=0.01)
    assert coarse[coarse > 0].std() < 0.75 * array.std()


def test_a_window_is_the_same_however_it_is_cut(tmp_path):
    scene = scene_of(tmp_path, smooth(400), replace(SPEC, ulx=TILE.xmin + 8_403.2, uly=TILE.ymax - 8_402.1))
    reading = RadarReading()
    strip = read_strip(reading, scene, VV, 0, [0, 1])
    alone = [read_strip(reading, scene, VV, 0, [column])[column] for column in (0, 1)]
    assert strip[0].any() and strip[1].any()
    for column in (0, 1):
        np.testing.assert_array_equal(strip[column], alone[column])
    assert read_strip(reading, scene, VV, 5, [7])[7].max() == 0


@given(st.lists(st.floats(1e-8, 6.5), min_size=1, max_size=50))
def test_coding_loses_half_a_step_and_never_a_pixel(values):
    power = np.array(values, np.float32)
    stored = encode(power, VV)
    assert (stored >= 1).all()
    assert (np.abs(stored * 1e-4 - power) <= np.maximum(5.1e-5, 1.00001e-4 - power)).all()
    assert (np.diff(stored[np.argsort(power)].astype(int)) >= 0).all()


def test_coding_of_the_extremes():
    power = np.array([0, 1e-12, 7, 1e6], np.float32)
    assert encode(power, VV).tolist() == [0, 1, 65535, 65535]


@pytest.mark.parametrize("nodata", [-32768.0, math.nan])
def test_other_nodata_of_geotiff(tmp_path, nodata):
    array = smooth(100)
    array[:20] = nodata
    path = write_series(tmp_path, SPEC, {"VV": array})
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as target:
        target.nodata = nodata
    scene = place(read_product(path), TILE)
    stored = read_strip(RadarReading(erode_px=0), scene, VV, 0, [0])[0]
    rows = np.flatnonzero(stored.any(axis=1))
    assert len(rows) == pytest.approx(80, abs=1)
    assert stored[stored > 0].min() > 50


def test_old_products_lose_their_border(tmp_path):
    array = smooth(200)
    array[:, :10] = 0
    array[:, 10:40] = 1e-3
    array[100:120, 100:120] = 1e-3
    old = scene_of(tmp_path / "old", array, replace(SPEC, version="2.60"))
    new = scene_of(tmp_path / "new", array, SPEC)
    reading = RadarReading(resampling="nearest", erode_px=0)
    without, with_border = (read_strip(reading, scene, VV, 0, [0])[0] for scene in (old, new))
    assert (with_border == 10).sum() > 200 * 29
    assert (without == 10).sum() == pytest.approx(400, abs=50)  # the pond within stays


def test_a_missing_band_and_a_changed_file(tmp_path):
    scene = scene_of(tmp_path, smooth(60))
    with pytest.raises(SceneError, match="no band VH"):
        read_strip(RadarReading(), scene, SENTINEL1.parse("VH@10m"), 0, [0])
    wrong = replace(scene, assets={key: replace(raster, shape=(61, 60)) for key, raster in scene.assets.items()})
    with pytest.raises(SceneError, match="another size"):
        read_strip(RadarReading(), wrong, VV, 0, [0])


def spec_of(folder: Path) -> CubeSpec:
    return CubeSpec(
        folder / "cube", (VV,), 4, True, 3, None, False, SENTINEL1.grid, options=RadarReading(), sensor=SENTINEL1
    )


def test_frames_of_a_pass_fill_one_date(tmp_path):
    """Two frames with an empty line between, and a second pass: one date each, both frames in the first."""
    array = smooth(300)
    lower = replace(SPEC, uly=SPEC.uly - 10 * 151, start=SPEC.start + timedelta(seconds=25), unique="B2B2")
    other = replace(SPEC, state="ascending", datatake=99, start=SPEC.start + timedelta(hours=12))
    for spec, part in ((SPEC, array[:150]), (lower, array[151:]), (other, array)):
        write_card_bs(tmp_path / "scenes", spec, {"VV": part})
    found, dropped = catalogue.acquisitions([place(s, TILE) for s in catalogue.scan([tmp_path / "scenes"]).scenes])
    assert not dropped and [len(item.scenes) for item in found] == [2, 1]
    spec = spec_of(tmp_path)
    prepare(spec, TILE.tile, found)
    result = ingest(spec, IngestUnit(TILE.tile, VV, 0, 0, (0,)), found, Manifest.load(spec.path), "w")
    assert not result.failures
    first, second = (read_plane(spec.path, TILE.tile, VV, date)[:1024, :1024] for date in (0, 1))
    gap = (second > 0) & (first == 0)
    rows = np.flatnonzero(gap.any(axis=1))
    assert 1 <= len(rows) <= 4 and (np.diff(rows) == 1).all()
    both = (first > 0) & (second > 0)
    assert both.sum() > 80_000
    both[[rows[0] - 1, rows[-1] + 1]] = False  # beside the gap, neighbours are missing
    np.testing.assert_array_equal(first[both], second[both])
    data = open_tile(spec.path, TILE.tile, 10)
    assert data.orbit_state.values.tolist() == [1, 0]
    assert data.relative_orbit.values.tolist() == [SPEC.relative_orbit] * 2
    assert data.incidence_angle.values == pytest.approx([38.3, 38.3], abs=0.1)
    assert float(data.VV[0, 200, 200]) == pytest.approx(first[200, 200] * 1e-4)


def test_windows_beyond_the_product_are_never_read(tmp_path):
    scene = scene_of(tmp_path, smooth(100))
    windows = touched(scene, 10)
    assert windows.sum() < 6 * 6 and windows[0, 0] and not windows[10, 10]


def test_both_sides_of_the_antimeridian(tmp_path):
    """A raster of zone 60 is found, placed and read on a tile of zone 1."""
    spec = replace(SPEC, epsg=32660, ulx=650_000, uly=5_620_000, pixel_m=500)
    product = read_product(write_card_bs(tmp_path, spec, {"VV": smooth(180)}))
    tiles = {scene.tile: scene for scene in place_all([product], MGRS, None, None)[0]}
    assert {name[:2] for name in tiles} == {"60", "01"}
    for name, scene in tiles.items():
        assert touched(scene, 20).any(), name
    counts = {
        zone: sum(
            int((window > 0).sum())
            for name, scene in tiles.items()
            if name.startswith(zone)
            for row in range(9)
            if touched(scene, 20)[row].any()
            for window in read_strip(RadarReading(), scene, SENTINEL1.parse("VV@20m"), row, list(range(9))).values()
        )
        for zone in ("60", "01")
    }
    assert min(counts.values()) > 10_000


CAMPAIGN = """\
name: radar
aoi: [5.0, 51.1, 5.2, 51.2]
period: 2024-01-01/2024-12-31
scenes:
  paths: [scenes]
  collection: {collection}
{radar}
cube: {{bands: [{bands}]}}
reductions:
  - {{name: fields, zones: z.gpkg, id: name, bands: [{bands}]}}
"""


def write_campaign(folder: Path, collection: str, radar: str = "", bands: str = "VV, VH") -> Path:
    path = folder / "c.yaml"
    path.write_text(CAMPAIGN.format(collection=collection, radar=radar, bands=bands))
    return path


def test_reductions_of_radar_mask_no_clouds(tmp_path):
    campaign = load_campaign(write_campaign(tmp_path, "sentinel-1-card-bs"))
    assert campaign.reductions[0].mask is None and campaign.scenes.level == "CARD-BS"
    assert {str(ref) for ref in campaign.cube_bands()} == {"VV", "VH"}


@pytest.mark.parametrize(
    ("collection", "radar", "bands", "what"),
    [
        ("sentinel-1-grd", "", "VV", "radar geometry"),
        ("sentinel-1-grd", "  radar: {dem: d.tif}", "VV", "geoid"),
        ("sentinel-1-grd", "  radar: {dem: d.tif, geoid: 0, terrain: ellipsoid}", "VV", "either dem or"),
        ("sentinel-2-l2a", "  radar: {orbit: ascending}", "B04", "Sentinel-1 only"),
        ("sentinel-1-rtc", "", "B04", "no Sentinel-1 RTC band"),
        ("sentinel-2-l2a", "", "VV", "no Sentinel-2 band"),
        ("sentinel-1-card-coh6", "", "VV", "COH_VV"),
    ],
)
def test_campaigns_that_cannot_be_right(tmp_path, collection, radar, bands, what):
    with pytest.raises(CampaignError, match=what):
        load_campaign(write_campaign(tmp_path, collection, radar, bands))


@pytest.mark.parametrize(
    "radar",
    ["  radar: {terrain: ellipsoid}", "  radar: {dem: d.tif, geoid: 45}", "  radar: {dem: d.tif, geoid: g.tif}"],
)
def test_raw_grd_with_heights_or_knowingly_without(tmp_path, radar):
    campaign = load_campaign(write_campaign(tmp_path, "sentinel-1-grd", radar))
    reading = CubeSpec.of(campaign).options
    assert reading is not None and reading.ellipsoid == ("ellipsoid" in radar)
    assert reading.dem is None or reading.dem == str(tmp_path / "d.tif")


def test_tracks_are_chosen_and_kinds_not_mixed(tmp_path):
    arrays = {"VV": smooth(60)}
    write_card_bs(tmp_path, SPEC, arrays)
    write_card_bs(tmp_path, replace(SPEC, state="ascending", absolute_orbit=53692, datatake=5), arrays)
    scenes = catalogue.scan([tmp_path]).scenes
    chosen, dropped = RadarOptions(orbit="ascending").choose(scenes)
    assert len(chosen) == 1 and dropped[0].reason == "another direction of flight"
    chosen, dropped = RadarOptions(relative_orbits=[SPEC.relative_orbit]).choose(scenes)
    assert [s.relative_orbit for s in chosen] == [SPEC.relative_orbit] and "relative orbit" in dropped[0].reason
    write_card_bs(tmp_path / "s", replace(SPEC, datatake=6), arrays, what="Sigma0")
    with pytest.raises(CatalogueError, match="gamma0, sigma0"):
        RadarOptions().choose(catalogue.scan([tmp_path]).scenes)


def test_placing_keeps_to_area_and_tiles(tmp_path):
    product = read_product(write_card_bs(tmp_path, replace(SPEC, pixel_m=500), {"VV": smooth(300)}))
    names = {scene.tile for scene in place_all([product], MGRS, None, None)[0]}
    assert "31UFT" in names and len(names) > 3
    assert [scene.tile for scene in place_all([product], MGRS, None, ["31UFT"])[0]] == ["31UFT"]
    placed = place(product, TILE)
    assert place_all([placed], MGRS, None, None)[0] == [placed]
    assert placed.frame.transform(10) == Affine(10, 0, TILE.xmin, 0, -10, TILE.ymax)


@given(st.lists(st.floats(1e-4, 10), min_size=3, max_size=20))
def test_decibels_keep_order_and_come_after_the_mean(values):
    power = np.array(values)
    frame = pd.DataFrame(
        {
            "mean": [power.mean()],
            "std": [power.std()],
            "p50": [np.median(power)],
            "acquisition": ["S1A_ASC_0684F1"],
        }
    )
    shown = in_decibels(frame)
    assert shown["mean"][0] == pytest.approx(10 * math.log10(power.mean()))
    assert shown["mean"][0] >= decibels(power.astype(np.float32)).mean() - 1e-4  # Jensen
    assert [name for name, _, _ in directions(frame)] == ["ascending"]
