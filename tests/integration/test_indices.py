"""Indices over bands of 20 and 60 m on granules, in signatures and composites, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import xarray

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from tests import products
from tests.small_campaign import results, write_zones

pytestmark = pytest.mark.integration

CAMPAIGN = """\
name: t
aoi: [4.4, 51.3, 4.7, 51.5]
period: 2024-04-01/2024-05-20
scenes: {paths: [scenes]}
cube: {bands: [B8A, B04@20m, B01, B09, SCL]}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B8A]
    indices: {ND20: (B8A - B04) / (B8A + B04), ND: (B8A@20m - B04@20m) / (B8A@20m + B04@20m), R60: B01 / B09}
  - name: year
    kind: composite
    bands: [B8A]
    indices: {ND20: (B8A - B04) / (B8A + B04), R60: 100 * B01 / B09, HALF: "minimum(1, abs(B8A - B04))"}
    mask: null
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("indices")
    random = np.random.default_rng(4)
    pixels = {
        "B8A@20m": random.integers(1100, 9000, (120, 120)).astype(np.uint16),
        "B04@20m": random.integers(1100, 9000, (120, 120)).astype(np.uint16),
        "B04@10m": random.integers(1100, 9000, (240, 240)).astype(np.uint16),
        "B01@60m": random.integers(1100, 9000, (40, 40)).astype(np.uint16),
        "B09@60m": random.integers(1100, 9000, (40, 40)).astype(np.uint16),
        "SCL@20m": np.full((120, 120), 4, np.uint8),
    }
    products.write(folder / "scenes", 0, pixels)
    write_zones(folder / "zones.gpkg", [shapely.box(600300, 5698500, 600900, 5699400)], ["z"])
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    assert run_campaign(load_campaign(folder / "campaign.yaml"), Console(quiet=True), workers=1).exit_code == 0
    reflectance = {key: (dn.astype(np.float64) - 1000) / 10000 for key, dn in pixels.items()}
    difference = reflectance["B8A@20m"] - reflectance["B04@20m"]
    expected = {
        "ND20": difference / (reflectance["B8A@20m"] + reflectance["B04@20m"]),
        "R60": reflectance["B01@60m"] / reflectance["B09@60m"],
        "HALF": np.minimum(1, np.abs(difference)),
    }
    return folder, expected


def test_signatures_are_of_the_pixels_of_the_bands(done):
    folder, expected = done
    frame = results(load_campaign(folder / "campaign.yaml")).set_index("band")
    fine, coarse = expected["ND20"][30:75, 15:45], expected["R60"][10:25, 5:15]
    for name, values in (("ND20", fine), ("ND", fine), ("R60", coarse)):
        assert frame.total[name] == values.size
        np.testing.assert_allclose(frame.loc[name, ["mean", "min", "max"]].to_list(),
            [values.mean(), values.min(), values.max()], rtol=1e-4)  # fmt: skip


def test_composites_keep_every_value(done):
    folder, expected = done
    scaled = {"ND20": 1, "R60": 100, "HALF": 1}
    for name, size in (("ND20", 20), ("R60", 60), ("HALF", 20)):
        (path,) = (folder / "composites" / "year").glob(f"*/*/*_median_r{size}m.tif")
        with rasterio.open(path) as file:
            number = file.descriptions.index(name) + 1
            found = file.read(number, masked=True) * file.scales[number - 1] + file.offsets[number - 1]
        (group,) = (folder / "composites" / "year.zarr").glob(f"*/r{size}m")
        decoded = xarray.open_zarr(group)[f"{name}_median"].values[0]
        for values in (found.filled(np.nan), decoded):
            np.testing.assert_allclose(values, expected[name] * scaled[name], rtol=1e-4, atol=1e-4)
    (whole,) = (folder / "composites" / "year").glob("*/*/*_median_r60m.tif")
    with rasterio.open(whole) as file:
        assert file.dtypes == ("float32",)
