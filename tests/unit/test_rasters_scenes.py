"""Images of one's own as scenes: the contract of sensors, scans and their changes, and images that cannot be used."""

from __future__ import annotations

import json
import os
import re
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from affine import Affine
from rasterio.windows import Window

from hpckit.catalogue import catalogue
from hpckit.catalogue.catalogue import ScanReport
from hpckit.cubes.attributes import grid_mapping
from hpckit.errors import CatalogueError, HpckitError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Scene
from hpckit.sensors.rasters.options import RasterOptions
from hpckit.sensors.registry import searched, sensor_named
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.source import open_band, read_window
from hpckit.testing.sensor import SensorTests
from tests.raster_samples import LEFT, TOP, crops, index, options, write_image, write_pair


def scan(folder: Path, told: RasterOptions, previous: Path | None = None) -> ScanReport:
    return catalogue.scan([folder], previous=previous, among=searched(told.made))


class TestFileOfEachBand(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return options().made

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        write_pair(tmp_path / "scenes", "20240501", 1)
        return tmp_path / "scenes"


class TestLayersOfOneFile(SensorTests):
    """Images of tiles in folders, with a time and a mask of bits."""

    @pytest.fixture
    def sensor(self) -> Sensor:
        bands = {
            "red": {"layer": 1, "kind": "reflectance", "scale": 0.0001, "valid": [0, 1.6]},
            "nir": {"layer": 2, "kind": "reflectance", "scale": 0.0001, "valid": [0, 1.6]},
            "qa": {"layer": 3, "bits": {1: "cloud", 3: "shadow"}},
        }
        mask = {"band": "qa", "exclude": [1, 3], "cloudy": [1]}
        return options(pattern="{tile}/*_{date}T{time:%H%M}.tif", bands=bands, mask=mask).made

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        shape = (1100, 1030)  # four windows
        layers = np.stack([np.abs(index(1, shape)), np.abs(index(2, shape)), crops(3, shape)]).astype("uint16")
        write_image(tmp_path / "scenes" / "north-1" / "L8_20240501T1046.tif", layers)
        return tmp_path / "scenes"


def test_a_scene_has_what_its_files_say(tmp_path):
    write_pair(tmp_path, "2024-05-01", 1)
    (scene,) = scan(tmp_path, options()).scenes
    assert (scene.id, scene.tile, scene.sensor, str(scene.sensed)) == (
        *("20240501", "images", "own-rasters"),
        "2024-05-01 00:00:00+00:00",
    )
    assert scene.frame is not None
    assert (scene.frame.epsg, scene.frame.ulx, scene.frame.uly, dict(scene.frame.shapes)) == (
        *(32631, LEFT, TOP),
        {10: (60, 80)},
    )
    asset = scene.assets["ndvi@10m"]
    assert (asset.dtype, asset.nodata, asset.scale) == ("int16", -9999, 0.0001)
    assert set(scene.assets) == {"ndvi@10m", "crop@10m"}
    assert sensor_named("own-rasters").describe(scene) == ("images", "2024-05-01 00:00", "crop+ndvi")


LANDSAT = """\
pattern: "L*_L2SP_{tile}_{date:%Y%m%d}_*_02_*_{band}.TIF"
pixel: 30
bands:
  red: {file: SR_B3, kind: reflectance, scale: 0.0000275, offset: -0.2}
  nir: {file: SR_B4, kind: reflectance, scale: 0.0000275, offset: -0.2}
  clouds: {file: QA_PIXEL, bits: {1: dilated cloud, 3: cloud, 4: shadow}}
mask: {band: clouds, exclude: [1, 3, 4]}
source: Landsat
"""
"""As `docs/how-to/rasters.md` has it."""


@pytest.mark.realdata
def test_images_of_a_real_item_of_landsat_by_a_mapping(shared_data, tmp_path):
    """Another mission is a few lines in a campaign file: names, scale and offset, bits of clouds."""
    document = (Path(__file__).parents[2] / "docs/how-to/rasters.md").read_text()
    assert textwrap.indent(LANDSAT, "    ") in document
    items = shared_data / "stac-items/static/odc-stac"
    item = json.loads((items / "LE07_L2SP_044033_20210329_20210424_02_T1_SR.json").read_text())
    random, place = np.random.default_rng(3), Affine(*item["properties"]["proj:transform"])
    pixels = {key: random.integers(7273, 43636, (60, 80)).astype("uint16") for key in ("red", "nir08", "qa_pixel")}
    pixels["red"][:5] = 0
    pixels["qa_pixel"] &= 0b11111
    for key, values in pixels.items():
        name = item["assets"][key]["href"].rpartition("/")[2]
        write_image(
            tmp_path / name, values, transform=place, crs="EPSG:32610", nodata=None if key == "qa_pixel" else 0
        )
    told = RasterOptions.model_validate(yaml.safe_load(LANDSAT))
    (scene,) = scan(tmp_path, told).scenes
    assert (scene.tile, str(scene.sensed.date())) == ("044033", item["properties"]["datetime"][:10])
    for name, key in (("red", "red"), ("nir", "nir08")):
        ref = told.made.parse(name, level="OWN")
        numbers, found = pixels[key], read_stored(scene, ref) * ref.band.scale + ref.band.offset
        np.testing.assert_allclose(found[numbers > 0], numbers[numbers > 0] * 2.75e-5 - 0.2, atol=2.75e-5)
        assert (read_stored(scene, ref)[numbers == 0] == 0).all()
    np.testing.assert_array_equal(read_stored(scene, told.made.parse("clouds", level="OWN")), pixels["qa_pixel"])


def read_stored(scene: Scene, ref: BandRef) -> np.ndarray:
    with open_band(scene, ref) as source:
        return read_window(source, scene, ref, Window(0, 0, 80, 60))


def test_corners_between_metres_stay_where_they_are(tmp_path):
    write_image(tmp_path / "20240501_ndvi.tif", index(1), transform=Affine(10, 0, LEFT + 0.125, 0, -10, TOP - 0.25))
    (scene,) = scan(tmp_path, options()).scenes
    assert scene.frame is not None
    told = grid_mapping(scene.frame, 10)["GeoTransform"]
    assert [float(text) for text in told.split()] == [LEFT + 0.125, 10, 0, TOP - 0.25, 0, -10]


def test_every_date_of_a_tree_is_found_once(tmp_path):
    told = options(pattern="{date:%Y}/{date:%m}/{date:%d}_{band}.tif")
    days = ("2024/05/01", "2024/05/11", "2024/06/01", "2023/06/01")
    for seed, day in enumerate(days):
        write_pair(tmp_path, day, seed)
    write_image(tmp_path / "2024" / "05" / "21_ndvi.tif", index(7))
    report = scan(tmp_path, told)
    assert [scene.id for scene in report.scenes] == ["20230601", "20240501", "20240511", "20240521", "20240601"]
    assert not report.failures and [len(scene.assets) for scene in report.scenes] == [2, 2, 2, 1, 2]


def test_of_a_scan_before_only_what_did_not_change_is_taken(tmp_path):
    folder, known = tmp_path / "images", tmp_path / "scenes.parquet"
    for seed, day in enumerate(("20240501", "20240511", "20240521", "20240601")):
        write_pair(folder, day, seed)
    (folder / "20240601_crop.tif").unlink()
    first = {scene.id: scene for scene in scan(folder, options()).scenes}
    catalogue.write(known, first.values())
    assert scan(folder, options(), known).reused == 4
    again = scan(folder, options(source="NDVI of our group"), known)
    assert again.reused == 4, "words of captions change nothing"
    write_image(folder / "20240511_ndvi.tif", index(11), nodata=-9999)  # replaced
    write_image(folder / "20240601_crop.tif", crops(3))  # joined
    os.utime(folder / "20240521_ndvi.tif")  # touched
    later = scan(folder, options(), known)
    now = {scene.id: scene for scene in later.scenes}
    assert later.reused == 1
    assert {name for name in first if first[name].content != now[name].content} == {"20240511", "20240601"}
    other = scan(folder, options(bands={"ndvi": {"scale": 0.001, "valid": [-10, 10]}}), known)
    assert other.reused == 0 and {scene.assets["ndvi@10m"].scale for scene in other.scenes} == {0.001}
    chosen, dropped = options().choose([*other.scenes, *later.scenes])
    assert chosen == later.scenes and "has changed since they were read" in dropped[0].reason


def write_bad(folder: Path, kind: str) -> None:
    """A second date that cannot be used."""
    path = folder / "20240511_ndvi.tif"
    if kind == "cut":
        write_image(path, index(2))
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "text":
        path.write_text("no image")
    elif kind == "vrt":
        path.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    elif kind == "no place":
        write_image(path, index(2), crs=None)
    elif kind == "south up":
        write_image(path, index(2), transform=Affine(10, 0, LEFT, 0, 10, TOP))
    elif kind == "no day":
        write_image(folder / "20241340_ndvi.tif", index(2))
    elif kind == "complex":
        write_image(path, index(2).astype("complex64"))
    elif kind == "own scale":
        write_image(path, index(2))
        import rasterio

        with rasterio.open(path, "r+") as target:
            target.scales = (0.0001,)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "20240511_ndvi.tif cannot be read as GeoTIFF"),
        ("text", "20240511_ndvi.tif cannot be read as GeoTIFF"),
        ("vrt", "20240511_ndvi.tif cannot be read as GeoTIFF"),
        ("no place", "20240511_ndvi.tif has no CRS: `gdal_edit.py -a_srs"),
        ("south up", "20240511_ndvi.tif is not north up"),
        ("no day", "20241340_ndvi.tif: 20241340 is no date"),
        ("complex", "complex numbers"),
        ("own scale", "its values are number \\* 0.0001 \\+ 0: write `scale` and `offset` of band ndvi"),
    ],
)
def test_a_bad_image_costs_its_date(tmp_path, kind, message):
    bands = {"ndvi": {"valid": [-10000, 10000]}}
    write_image(tmp_path / "20240501_ndvi.tif", index(1))
    write_bad(tmp_path, kind)
    report = scan(tmp_path, options(bands=bands))
    assert [scene.id for scene in report.scenes] == ["20240501"]
    (failure,) = report.failures
    assert re.search(message, failure.reason), failure.reason
    assert not failure.passes


@pytest.mark.parametrize(
    ("bands", "dtype", "message"),
    [
        ({"ndvi": {}}, "float32", r"holds fractions \(float32\): write `valid: \[LEAST, GREATEST\]` of band ndvi"),
        ({"ndvi": {"layer": 2}}, "int16", "has 1 layer, and band ndvi is layer 2"),
    ],
)
def test_images_that_the_options_do_not_fit(tmp_path, bands, dtype, message):
    write_image(tmp_path / "20240501_ndvi.tif", index(1).astype(dtype))
    (failure,) = scan(tmp_path, options(bands=bands)).failures
    assert re.search(message, failure.reason), failure.reason


def test_two_images_of_one_date_and_band_are_refused(tmp_path):
    told = options(pattern="{date}_{band}*.tif")
    write_image(tmp_path / "20240501_ndvi_v1.tif", index(1))
    write_image(tmp_path / "20240501_ndvi_v2.tif", index(2))
    (failure,) = scan(tmp_path, told).failures
    assert "20240501_ndvi_v1.tif and 20240501_ndvi_v2.tif are images of one date and band" in failure.reason
    other = tmp_path / "folders"
    for name, seed in (("a", 1), ("b", 2)):
        write_image(other / name / "20240501_ndvi.tif", index(seed))
    with pytest.raises(CatalogueError, match=r"a/20240501_ndvi.tif and .*b/20240501_ndvi.tif are images of one date"):
        catalogue.acquisitions(scan(other, options()).scenes)


def test_a_pattern_that_fits_no_name_says_what_there_is(tmp_path):
    for name in ("NDVI_2024-05-01.tif", "NDVI_2024-05-02.tif"):
        write_image(tmp_path / name, index(1))
    report = scan(tmp_path, options())
    (failure,) = report.failures
    assert not report.scenes
    assert "no image has a name like 20240501_ndvi.tif" in failure.reason
    assert "{band} is ndvi, crop" in failure.reason and "NDVI_2024-05-01.tif, NDVI_2024-05-02.tif" in failure.reason


PLACES = {
    "another zone": ({"crs": "EPSG:32632"}, "EPSG:32632"),
    "another corner": ({"transform": Affine(10, 0, LEFT + 10, 0, -10, TOP)}, "corner 600010 5700000"),
    "another size": ({}, "59 x 80 pixels"),
    "degrees": ({"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 4, 0, -1e-4, 51)}, "degrees wide"),
    "fractions": ({"transform": Affine(2.5, 0, LEFT, 0, -2.5, TOP)}, "2.5 x 2.5 m"),
    "not square": ({"transform": Affine(10, 0, LEFT, 0, -20, TOP)}, "10 x 20 m"),
    "feet": ({"crs": "EPSG:2263"}, "10 x 10 US survey foot"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_images_on_other_pixels_are_refused_by_name_where_pixels_are_kept(tmp_path, kind):
    profile, message = PLACES[kind]
    for seed, day in enumerate(("20240501", "20240511", "20240521")):
        write_image(tmp_path / f"{day}_ndvi.tif", index(seed))
    odd = index(5)[1:] if kind == "another size" else index(5)
    write_image(tmp_path / "20240601_ndvi.tif", odd, **profile)
    told = options()
    scenes = list(scan(tmp_path, told).scenes)
    assert len(scenes) == 4
    with pytest.raises(CatalogueError, match=message) as caught:
        told.made.place(scenes, None, None)
    assert "20240601" in str(caught.value) and "grid: utm:10240@10" in str(caught.value.hint)
    kept, _ = told.made.place([scene for scene in scenes if scene.id != "20240601"], None, None)
    assert [scene.tile for scene in kept] == ["images"] * 3


def test_bands_of_two_pixel_sizes_share_a_frame(tmp_path):
    told = options(bands={"ndvi": {"valid": [-10000, 10000]}, "crop": {"classes": [1, 2], "pixel": 20}})
    coarse = Affine(20, 0, LEFT, 0, -20, TOP)
    write_image(tmp_path / "20240501_ndvi.tif", index(1))
    write_image(tmp_path / "20240501_crop.tif", crops(1)[::2, ::2], transform=coarse)
    write_image(tmp_path / "20240511_ndvi.tif", index(2))
    placed, _ = told.made.place(list(scan(tmp_path, told).scenes), None, None)
    assert [dict(scene.frame.shapes) for scene in placed] == [{10: (60, 80), 20: (30, 40)}] * 2
    with pytest.raises(CatalogueError, match="has pixels of 20 m, and band crop of the campaign 10 m"):
        wrong = options(bands={"ndvi": {"valid": [-1, 1]}, "crop": {"classes": [1]}})
        wrong.made.place(list(scan(tmp_path, wrong).scenes), None, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pattern": "{date}.tif"}, "band ndvi needs its layer"),
        ({"pattern": "{date}.tif", "bands": {"a": {"file": "b"}}}, "band a: file is the text of"),
        ({"mask": {"band": "ndvi", "exclude": [1]}}, "mask.band is ndvi, which is no band with classes"),
        ({"mask": {"band": "crop", "exclude": [9]}}, "mask names 9, which is not among"),
        ({"bands": {"a": {}, "A": {}}}, "upper and lower case only"),
        ({"bands": {"1a": {}}}, "pattern"),
        ({"bands": {}}, "at least 1"),
    ],
)
def test_options_that_are_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        options(**fields)


def test_without_options_nothing_is_an_image(tmp_path):
    write_pair(tmp_path, "20240501", 1)
    general = sensor_named("own-rasters")
    assert not list(general.products_in(tmp_path)) and not general.is_remnant(tmp_path)
    with pytest.raises(HpckitError, match=r"scenes\.rasters"):
        general.read(tmp_path / "20240501_ndvi.tif")


def test_a_file_with_a_mask_layer_needs_to_be_told_its_nodata(tmp_path):
    layers = np.stack([index(1), np.full((60, 80), 255)]).astype("uint8")
    write_image(tmp_path / "20240501_ndvi.tif", layers, photometric="minisblack", alpha="yes")
    (failure,) = scan(tmp_path, options(bands={"ndvi": {}})).failures
    assert "has a mask or alpha layer" in failure.reason
    assert len(scan(tmp_path, options(bands={"ndvi": {"nodata": "none"}})).scenes) == 1


def test_copies_are_dropped(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path / name, "20240501", 1)
    scenes: list[Scene] = list(scan(tmp_path, options()).scenes)
    kept, dropped = options().made.newest(scenes)
    assert len(kept) == len(dropped) == 1 and "is the same as" in dropped[0].reason
    with pytest.raises(CatalogueError, match="of one date and band"):
        options().made.newest([scenes[0], replace(scenes[1], content="other")])
