"""What communities run with openEO's Python client, on products that are made up: C-SCALE's example, JRC's viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely

from tests import graph_examples
from tests.integration.openeo_samples import door_settings, openeo_door
from tests.integration.openeo_scenes import (
    COVERS,
    DAYS,
    EDGE,
    LEFT,
    RADAR,
    RADAR_DAYS,
    RADAR_EDGE,
    TOP,
    backscatter,
    reflectance,
)
from tests.integration.test_openeo_jobs import lab
from tests.servers.openeo_clients import require_clients, run_client
from tests.servers.slurm import SlurmCluster

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]


@pytest.fixture(autouse=True)
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of this machine of the test's own."""
    require_clients()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


VIENNA = """
import sys
import openeo

connection = openeo.connect(sys.argv[1]).authenticate_basic("anna", "annas password")
datacube = connection.load_collection(
    "SENTINEL1_GRD",
    spatial_extent={"west": 16.06, "south": 48.06, "east": 16.65, "north": 48.35},
    temporal_extent=["2017-03-01", "2017-06-01"],
    bands=["VV"],
)
march = datacube.filter_temporal("2017-03-01", "2017-04-01")
april = datacube.filter_temporal("2017-04-01", "2017-05-01")
may = datacube.filter_temporal("2017-05-01", "2017-06-01")
mean_march = march.mean_time()
mean_april = april.mean_time()
mean_may = may.mean_time()
red = mean_march.rename_labels(dimension="bands", target=["R"])
green = mean_april.rename_labels(dimension="bands", target=["G"])
blue = mean_may.rename_labels(dimension="bands", target=["B"])
rgb = red.merge_cubes(green).merge_cubes(blue).save_result(format="GTiff")
job = rgb.create_job(title="Vienna")
job.start_and_wait(connection_retry_interval=2)
job.get_results().download_files("vienna")
"""


def test_vienna_in_spring(slurm: SlurmCluster, radar: Path, tmp_path: Path):
    """The example of C-SCALE's documentation for users: means of three months as red, green and blue."""
    settings = door_settings(tmp_path, {"SENTINEL1_GRD": radar}, openeo={"site": str(lab(tmp_path))})
    with openeo_door(settings) as url:
        run_client(VIENNA, url, folder=tmp_path)
    (path,) = (tmp_path / "vienna").glob("*.tif*")
    days = {month: [n for n, (found, _) in enumerate(RADAR_DAYS) if found == month] for month in (3, 4, 5)}
    with rasterio.open(path) as source:
        assert source.crs.to_epsg() == 32633 and source.descriptions == ("R", "G", "B")
        found = source.read()
        row, column = source.index(RADAR.ulx + 5, RADAR.uly - 5)
    part = found[:, row : row + RADAR_EDGE, column : column + RADAR_EDGE]
    for band, numbers in zip(part, days.values(), strict=True):
        np.testing.assert_allclose(band, np.mean([backscatter(n) for n in numbers], axis=0), rtol=1e-6)
    assert np.isfinite(found).sum() == 3 * RADAR_EDGE**2, "nothing beyond the products"


PARCELS = {"17": (679_503, 5_151_010, 679_697, 5_151_193), "a/b": (680_201, 5_150_902, 680_388, 5_151_077)}
"""In EPSG:32632: west, south, east, north."""
CLOUDY = (0, 1, 3, 8, 9, 11)

VIEWER = """
import json, os, sys
import geopandas, shapely
import openeo
from openeo.extra.spectral_indices import append_indices

connection = openeo.connect(sys.argv[1]).authenticate_basic("anna", "annas password")
parcels = json.loads(sys.argv[2])
frame = geopandas.GeoDataFrame(
    {"parcel": list(parcels)}, geometry=[shapely.box(*box) for box in parcels.values()], crs="EPSG:32632"
)
around = frame.to_crs("EPSG:3035")
around["geometry"] = around.buffer(50).apply(lambda shape: shapely.box(*shape.bounds))
west, south, east, north = around.total_bounds
bands = connection.load_collection(
    "SENTINEL2_L2A",
    temporal_extent=["2022-06-01", "2022-07-01"],
    spatial_extent={"west": west, "south": south, "east": east, "north": north, "crs": around.crs.to_string()},
    bands=["B02", "B03", "B04", "B08", "B11", "SCL"],
    max_cloud_cover=50,
)
scl = bands.band("SCL")
cloudy = (scl == 0) | (scl == 1) | (scl == 3) | (scl == 8) | (scl == 9) | (scl == 11)
clear = bands.mask(cloudy.resample_cube_spatial(bands))
features = around.to_crs("EPSG:4326").to_json()
indices = append_indices(clear.filter_spatial(json.loads(features)), indices=["NDVI"], platform="SENTINEL2")
job = indices.create_job(
    title="S2 bands and NDVI",
    description="Sentinel-2 L2A bands and NDVI",
    out_format="netCDF",
    filename_prefix="S2_extract_2022-06-01_2022-07-01_parcelid",
    feature_id_property="parcel",
    sample_by_feature=True,
)
job.start_and_wait(connection_retry_interval=2)
job.get_results().download_files("parcels")

import xarray

for name in sorted(os.listdir("parcels")):
    if name.endswith(".nc"):
        with xarray.open_dataset(os.path.join("parcels", name)) as found:
            assert "32632" in found.crs.attrs["crs_wkt"], found.crs.attrs
            assert found.B04.dims == ("t", "y", "x"), found.B04.dims
            print(name, *found.t.dt.strftime("%Y-%m-%d").values)
with open("features.json", "w") as file:
    file.write(features)
"""


def test_parcels_of_jrc(optical: Path, tmp_path: Path):
    """The download of JRC's Sentinel Parcel Viewer: bands, and an index, of the surroundings of parcels."""
    with openeo_door(door_settings(tmp_path, {"SENTINEL2_L2A": optical})) as url:
        told = run_client(VIEWER, url, json.dumps(PARCELS), folder=tmp_path)
    days = [(n, day) for n, (day, cover) in enumerate(zip(DAYS, COVERS, strict=True)) if cover <= 50]
    names = [f"S2_extract_2022-06-01_2022-07-01_parcelid_{name}.nc" for name in ("17", "a_b")]
    listed = " ".join(f"2022-06-{day:02d}" for _, day in days)
    assert told.strip().splitlines()[-2:] == [f"{name} {listed}" for name in names]
    features = json.loads((tmp_path / "features.json").read_text())["features"]
    for name, feature in zip(names, features, strict=True):
        for band in ("B02", "B04", "B11", "SCL", "NDVI"):
            with rasterio.open(f"netcdf:{tmp_path / 'parcels' / name}:{band}") as source:
                found, bounds = source.read(masked=True).filled(np.nan), source.bounds
            inside = _inside(feature["geometry"])
            rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
            top, left = round((TOP - bounds.top) / 10), round((bounds.left - LEFT) / 10)
            assert top <= rows[0] and top + found.shape[1] > rows[-1]
            assert left <= columns[0] and left + found.shape[2] > columns[-1]
            window = np.s_[top : top + found.shape[1], left : left + found.shape[2]]
            for plane, (number, _) in zip(found, days, strict=True):
                expected = np.where(inside, _clear(band, number), np.nan)[window]
                np.testing.assert_allclose(plane, expected, atol=1e-6, err_msg=f"{name} {band} {number}")


def _inside(polygon: dict[str, Any]) -> np.ndarray:
    """Pixels whose centres lie in a polygon in degrees."""
    onto = pyproj.Transformer.from_crs(4326, 32632, always_xy=True)
    shape = shapely.transform(
        shapely.geometry.shape(polygon), lambda xy: np.column_stack(onto.transform(xy[:, 0], xy[:, 1]))
    )
    centres = (np.arange(EDGE) + 0.5) * 10
    x, y = np.meshgrid(LEFT + centres, TOP - centres)
    return shapely.contains_xy(shape, x, y)


def _clear(band: str, number: int) -> np.ndarray:
    """A band of a day at 10 m without clouds, or the NDVI, by numpy from what was written."""
    made = reflectance(number)
    classes = made["SCL"].repeat(2, 0).repeat(2, 1)
    stored = {name: np.rint(values * 10_000) / 10_000 for name, values in made.items() if name != "SCL"}
    stored["B11"] = stored["B11"].repeat(2, 0).repeat(2, 1)
    stored["SCL"] = classes.astype(float)
    stored["NDVI"] = (stored["B08"] - stored["B04"]) / (stored["B08"] + stored["B04"])
    return np.where(np.isin(classes, CLOUDY), np.nan, stored[band])


BESIDE = """
import sys, time
import openeo

connection = openeo.connect(sys.argv[1]).authenticate_basic("anna", "annas password")

def clear_median(**extent):
    cube = connection.load_collection("S2", bands=["B04", "B08"], **extent)
    scl = connection.load_collection("S2", bands=["SCL"], **extent).band("SCL")
    return cube.mask(scl >= 8).reduce_dimension(dimension="t", reducer="median")

small = dict(west=604000, south=5694500, east=605200, north=5695500, crs="EPSG:32631")
begun = time.monotonic()
clear_median(spatial_extent=small).download("small.tif")
print("SECONDS", time.monotonic() - begun)
clear_median().execute_batch("whole.tif", title="the same of everything", connection_retry_interval=2)
"""


def test_a_small_area_at_once_and_then_everything(ingested: Path, tmp_path: Path):
    """One script: the small area answers in seconds, the batch job has the same pixels."""
    with openeo_door(door_settings(tmp_path, {"S2": ingested})) as url:
        told = run_client(BESIDE, url, folder=tmp_path)
    assert float(told.partition("SECONDS ")[2].split()[0]) < 30, told
    with rasterio.open(tmp_path / "small.tif") as source, rasterio.open(tmp_path / "whole.tif") as whole:
        assert source.shape == (100, 120)
        found, window = source.read(), whole.window(*source.bounds)
        np.testing.assert_array_equal(found, whole.read(window=window))
        np.testing.assert_allclose(whole.read(), graph_examples.expected_median(ingested), atol=1e-6)
