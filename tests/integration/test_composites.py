"""Composites of whole campaigns: numbers of numpy, files that others read, and nothing done twice."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray
from rasterio.enums import ColorInterp

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.stage import Planning
from hpckit.cubes.tiles import read_tiles
from hpckit.errors import PlanError
from hpckit.production.driver import run_campaign
from hpckit.reduce.composites.sizes import size
from hpckit.reduce.composites.stac import read_items
from hpckit.reduce.composites.stage import stages
from hpckit.runs.run import find_run
from hpckit.runs.status import read_status
from tests import products, small_campaign
from tests.small_campaign import DATES
from tests.unit.test_kernels_smooth import whittaker

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)
CLOUDY = (0, 1, 3, 8, 9, 10, 11)
CAMPAIGN = """\
name: test
aoi: [4.4, 51.3, 4.7, 51.5]
period: 2024-05-01/2024-05-20
scenes: {paths: [scenes]}
cube: {bands: [B02, B03, B04, B08, B11, SCL], dates_per_block: 3}
reductions:
  - name: all
    kind: composite
    bands: [B04, B08, B11]
    indices: {NDVI: (B08 - B04) / (B08 + B04)}
    methods: [median, p25, mean, min, max, count]
  - name: best
    kind: composite
    bands: [B02, B03, B04, B08]
    methods: [best, max_ndvi, medoid, geomad]
    mask: {dilate: 60m}
  - name: steps
    kind: composite
    bands: [B11]
    methods: [interpolate, smooth]
    period: {window: 10, step: 5}
"""


def pixels_of(number: int) -> dict[str, np.ndarray]:
    """Bands of a date; blue and green are like red."""
    pixels = small_campaign.pixels_of(number)
    red = pixels["B04@10m"]
    return pixels | {"B02@10m": red // 2 + 800, "B03@10m": red // 3 + 1200}


def write_scenes(folder: Path) -> None:
    for number in range(DATES):
        baseline = "03.01" if number == 0 else "05.10"
        products.write(folder / "scenes", number, pixels_of(number), baseline=baseline)
    (folder / "campaign.yaml").write_text(CAMPAIGN)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("composites")
    write_scenes(folder)
    result = run_campaign(load_campaign(folder / "campaign.yaml"), QUIET, workers=2)
    assert not result.failed and result.exit_code == 0
    return folder


def stack(band: str) -> np.ndarray:
    """Stored numbers of all dates, NaN where they are left out."""
    found = []
    for number in range(DATES):
        pixels = pixels_of(number)
        values = products.stored(pixels[band], 0 if number == 0 else -1000).astype(float)
        clear = ~np.isin(pixels["SCL@20m"], CLOUDY)
        clear = clear if band.endswith("20m") else np.kron(clear, np.ones((2, 2), bool))
        found.append(np.where(clear & (values > 0), values, np.nan))
    return np.array(found)


def test_statistics_are_those_of_numpy(done):
    store = done / "composites" / "all.zarr"
    (tile,) = [path.name for path in store.iterdir() if path.name[0].isdigit()]
    for band, metres in (("B04", 10), ("B11", 20)):
        data = xarray.open_zarr(store / tile / f"r{metres}m", mask_and_scale=False)
        values = stack(f"{band}@{metres}m")[:, ::40]  # numpy's percentiles are slow
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = {
                "median": np.nanmedian(values, 0),
                "p25": np.nanpercentile(values, 25, axis=0),
                "mean": np.nanmean(values, 0),
                "min": np.nanmin(values, 0),
                "max": np.nanmax(values, 0),
            }
        for method, array in expected.items():
            found = data[f"{band}_{method}"].values[0, ::40].astype(float)
            np.testing.assert_array_equal(found == 0, np.isnan(array))
            assert np.nanmax(np.abs(np.where(found == 0, np.nan, found) - array)) <= 0.5001, method
        if metres == 20:
            np.testing.assert_array_equal(data["count"].values[0, ::40], np.isfinite(values).sum(0))


def test_index_is_evaluated_per_date(done):
    (group,) = (done / "composites" / "all.zarr").glob("*/r10m")
    data = xarray.open_zarr(group)
    red, nir = (stack(f"{band}@10m") * 1e-4 - 0.1 for band in ("B04", "B08"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian((nir - red) / (nir + red), axis=0)
    np.testing.assert_allclose(data["NDVI_median"].values[0], expected, rtol=1e-4, atol=1e-6)


def test_a_file_with_an_index_in_float32_keeps_the_numbers_of_its_bands(done):
    """And scale and offset, so that readers get the same reflectance as from a file of integers."""
    (group,) = (done / "composites" / "all.zarr").glob("*/r10m")
    data = xarray.open_zarr(group, mask_and_scale=False)
    (path,) = (done / "composites" / "all").glob("*/*/*_median_r10m.tif")
    with rasterio.open(path) as source:
        assert source.dtypes == ("float32",) * 3 and np.isnan(source.nodata)
        for number, band in enumerate(source.descriptions, 1):
            scale, offset = source.scales[number - 1], source.offsets[number - 1]
            assert (scale, offset) == ((1, 0) if band == "NDVI" else (1e-4, -0.1))
            stored = data[f"{band}_median"].values[0].astype(np.float32)
            expected = stored if band == "NDVI" else np.where(stored == 0, np.nan, stored)
            np.testing.assert_array_equal(source.read(number), expected)
    (item,) = (done / "composites" / "all").glob("*/*/*.json")
    bands = json.loads(item.read_text())["assets"]["median_r10m"]["bands"]
    assert {band["data_type"] for band in bands} == {"float32"} and bands[0]["nodata"] == "nan"


def test_smooth_steps_are_those_of_the_sparse_matrix(done):
    """Cube, class mask, GeoTIFF: some pixels, against the textbook's matrix of days."""
    (group,) = (done / "composites" / "steps.zarr").glob("*/r20m")
    found = xarray.open_zarr(group, mask_and_scale=False)["B11_smooth"].values
    files = sorted((done / "composites" / "steps").glob("*/*/*_smooth_r20m.tif"))
    assert len(files) == len(found) == 3
    for path, values in zip(files, found, strict=True):
        with rasterio.open(path) as source:
            np.testing.assert_array_equal(source.read(1), values)
    days, wanted = np.array([1, 6, 11, 16]), np.array([5, 10, 15])  # of May; the middles of 1-10, 6-15, 11-20
    values = stack("B11@20m")
    compared = set()
    for row, column in np.argwhere(np.ones(values.shape[1:], bool))[::2011]:
        known = np.isfinite(values[:, row, column])
        seen = values[known, row, column]
        compared.add(len(seen))
        expected = np.zeros(3)
        if len(seen) == 1:
            expected[:] = seen[0]
        elif len(seen) > 1:
            expected = np.clip(whittaker(days[known], seen, 1000.0, 0.5, wanted), 1, 65535)
        np.testing.assert_allclose(found[:, row, column], expected, atol=0.51)
    assert compared >= {1, 2, 3, 4}


def test_the_estimate_of_the_disk_is_near_what_is_written(done, monkeypatch):
    tiles = read_tiles(find_run(done / "campaign.yaml"))
    planning = Planning(tiles, [])
    everything = [unit for stage in stages(tiles.campaign) for unit, _ in stage.units(planning)]
    kept = written = 0
    for composite in tiles.campaign.composites:
        found = size(tiles, composite, everything, 2)
        kept += found.kept
        files = [path.stat().st_size for path in (done / "composites" / composite.name).rglob("*.tif")]
        shards = (done / "composites" / f"{composite.name}.zarr").glob("*/*/*/c/*/*/*")
        written += sum(files) + sum(path.stat().st_size for path in shards)
        assert found.passing > max(files)
        assert size(tiles, composite, [], 2).total == 0
    assert 0.7 < kept / written < 2
    few = SimpleNamespace(f_bavail=100, f_frsize=4096, f_favail=10**6)
    path = done / "campaign.yaml"
    path.write_text(CAMPAIGN.replace("{dilate: 60m}", "{dilate: 20m}"))
    try:
        with monkeypatch.context() as patched, pytest.raises(PlanError, match=r"need .* 400.* are free"):
            patched.setattr("hpckit.base.disks.os.statvfs", lambda _: few)
            run_campaign(load_campaign(path), QUIET, workers=2)
    finally:
        path.write_text(CAMPAIGN)


def test_geotiffs_are_cloud_optimised_and_say_what_they_hold(done):
    paths = sorted((done / "composites").glob("*/*/*/*.tif"))
    assert len(paths) > 10
    for path in paths:
        with rasterio.open(path) as source:
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert source.overviews(1) and all(source.descriptions)
    (best,) = [path for path in paths if path.name.endswith("geomad_r10m.tif")]
    with rasterio.open(best) as source:
        assert source.descriptions == ("B04", "B03", "B02", "B08")
        assert source.colorinterp[:3] == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert source.nodata == 0 and source.scales == (1e-4,) * 4 and source.offsets == (-0.1,) * 4
        (group,) = (done / "composites" / "best.zarr").glob("*/r10m")
        data = xarray.open_zarr(group, mask_and_scale=False)
        np.testing.assert_array_equal(source.read(1), data["B04_geomad"].values[0])


def test_stac_validates_and_leads_to_the_files(done):
    import pystac
    from pystac.validation.local_validator import LocalValidator

    for path in sorted((done / "composites").glob("*/collection.json")):
        collection = pystac.Collection.from_file(str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            validator = LocalValidator()
        assert not list(validator.collection_validator().iter_errors(json.loads(path.read_text())))
        items = list(collection.get_items())
        assert items
        for item in items:
            content = json.loads(Path(item.get_self_href()).read_text())
            assert not list(validator.item_validator().iter_errors(content))
            for asset in item.assets.values():
                href = Path(asset.get_absolute_href())
                with rasterio.open(href) as source:
                    assert list(source.shape) == asset.extra_fields["proj:shape"]


def test_items_lead_to_the_products_that_they_are_made_from(done):
    """By processing extension 1.2.0: fields, and links to what can be read there."""
    import pystac

    campaign = load_campaign(done / "campaign.yaml")
    scenes = {scene["id"]: scene for scene in api.items(campaign.path)}
    paths = [path for path, _ in read_items(done / "composites" / "best")]
    assert paths
    for path in paths:
        item = pystac.Item.from_file(str(path))
        links = [link for link in item.links if link.rel == "derived_from"]
        assert len(links) >= item.properties["hpckit:acquisitions"] > 0
        assert any(address.endswith("/processing/v1.2.0/schema.json") for address in item.stac_extensions)
        assert item.properties["processing:level"] == "L3" and "geomad" in item.properties["processing:lineage"]
        assert set(item.properties["processing:software"]) == {"hpckit"}
        for link in links:
            file, _, identifier = str(link.target).rpartition("/")[2].partition("#")
            content = (path.parents[1] / file).read_text()
            assert str(done) not in content  # no path of this machine
            features = {feature["id"]: feature for feature in json.loads(content)["features"]}
            product = pystac.Item.from_dict(features[identifier])
            assert product.datetime == pystac.Item.from_dict(scenes[identifier]).datetime
            assert product.properties["hpckit:content"] == link.extra_fields["hpckit:content"]


def test_nothing_is_done_twice_and_changes_are_found(done):
    campaign = load_campaign(done / "campaign.yaml")
    assert run_campaign(campaign, QUIET, workers=2).done == {}
    path = done / "campaign.yaml"
    path.write_text(CAMPAIGN.replace("{dilate: 60m}", "{dilate: 40m}"))
    result = run_campaign(load_campaign(path), QUIET, workers=2)
    assert set(result.done) == {"composites", "export"} and not result.failed
    assert result.done["export"] == 1
    path.write_text(CAMPAIGN)
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    stages = {stage.stage: stage for stage in read_status(find_run(path)).stages}
    assert stages["composites"].waiting == 0 and stages["export"].waiting == 0


def test_quicklooks_of_composites(done, tmp_path):
    from click.testing import CliRunner

    from hpckit.cli import cli

    def draw(*options):
        picture = tmp_path / "picture.png"
        picture.unlink(missing_ok=True)
        arguments = [str(done / "campaign.yaml"), *options, "-o", str(picture)]
        result = CliRunner().invoke(cli, ["quicklook", *arguments])
        return result, picture.exists() and picture.stat().st_size > 10_000

    assert draw("--composite", "best", "--method", "medoid")[1]
    assert draw("--composite", "best", "--method", "geomad", "--index", "smad")[1]
    assert draw("--composite", "all", "--index", "NDVI", "--method", "p25")[1]
    result, drawn = draw("--composite", "all", "--period", "2030-01")
    assert not drawn and result.exit_code != 0
    assert draw("--composite", "all", "--date", "2024-05-01")[0].exit_code == 2


def test_a_mosaic_in_another_crs_is_one_geotiff(done):
    path = done / "campaign.yaml"
    wanted = 'outputs: {mosaic: {crs: "EPSG:3035", resolution: 20}}'
    path.write_text(CAMPAIGN.replace("    mask: {dilate: 60m}\n", f"    mask: {{dilate: 60m}}\n    {wanted}\n"))
    try:
        result = run_campaign(load_campaign(path), QUIET, workers=2)
        assert result.done == {}  # the tiles' files are as they were
        mosaic = done / "composites" / "best" / "mosaic" / "best_2024-05-01_2024-05-20_geomad_r10m.tif"
        with rasterio.open(mosaic) as source:
            assert source.crs.to_epsg() == 3035 and source.res == (20, 20) and source.nodata == 0
            assert source.bounds.left % 20 == 0 and source.read(1).any()
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    finally:
        path.write_text(CAMPAIGN)


def test_vrts_show_what_the_files_hold(done):
    (vrt,) = (done / "composites" / "all" / "mosaic").glob("*median_r10m_EPSG32631.vrt")
    (tif,) = (done / "composites" / "all").glob("*/*/*_median_r10m.tif")
    with rasterio.open(vrt) as one, rasterio.open(tif) as other:
        assert one.descriptions == other.descriptions
        np.testing.assert_equal(one.nodata, other.nodata)
        assert one.scales == other.scales and one.transform == other.transform
        np.testing.assert_array_equal(one.read(), other.read())


def test_a_date_that_is_not_there_costs_only_itself(done, tmp_path):
    """A product that cannot be decoded: composites are made of the others, and made anew when it is mended."""
    write_scenes(tmp_path)
    few = CAMPAIGN.split("  - name: best")[0].replace("[median, p25, mean, min, max, count]", "[median]")
    (tmp_path / "campaign.yaml").write_text(few)
    (victim,) = (tmp_path / "scenes").glob("*20240511*/GRANULE/*/IMG_DATA/R10m/*_B04_10m.jp2")
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    result = run_campaign(load_campaign(tmp_path / "campaign.yaml"), QUIET, workers=2)
    reasons = " ".join(entry.reason or "" for entry in result.failed)
    assert "without 1 date that is not ingested" in reasons and "not made yet, or without dates" in reasons
    (group,) = (tmp_path / "composites" / "all.zarr").glob("*/r10m")
    assert xarray.open_zarr(group)["B04_median"].values.any()
    victim.write_bytes(whole)
    result = run_campaign(load_campaign(tmp_path / "campaign.yaml"), QUIET, workers=2)
    assert result.exit_code == 0 and result.done["export"] == 1
    for path in (tmp_path / "composites" / "all.zarr").glob("*/r10m/B04_median/c/0/*/*"):
        assert path.read_bytes() == (done / path.relative_to(tmp_path)).read_bytes()
