"""Cubes as other readers see them without being told anything: xarray, rioxarray, zarr-python, GDAL."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (registers the accessor)
import xarray
import zarr

from hpckit.cubes import layout, read
from tests import products
from tests.products import EDGE, stored
from tests.unit.test_cube import B04, B08, B11, SCL, cube_spec, fill

GDAL = tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2])


@pytest.mark.slow
@pytest.mark.parametrize("sharding", [True, False])
def test_xarray_opens_a_tile_without_options_or_warnings(tmp_path, sharding):
    for number in range(3):
        products.write(tmp_path / "s", number, products.arrays(number))
    spec = cube_spec(tmp_path / "c.zarr", sharding=sharding)
    fill(spec, products.acquisitions(tmp_path / "s"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(spec.path / "31UFU/r10m")
        group = zarr.open_group(spec.path, mode="r")
    assert data.B04.dims == ("time", "y", "x") and data.B04.rio.crs.to_epsg() == 32631
    assert data.x.values[0] == 600005 and data.y.values[0] == 5699995
    assert set(data.B04.coords) == {
        *("time", "y", "x", "spatial_ref", "relative_orbit", "processing_baseline", "cloud_cover")
    }
    expected = (products.arrays(2)["B04@10m"].astype(float) - 1000) / 10000
    np.testing.assert_allclose(data.B04.isel(time=2).values, expected, atol=1e-9)
    np.testing.assert_array_equal(group["31UFU/r20m/SCL"][1], products.arrays(1)["SCL@20m"])


def test_the_time_axis_has_one_length_for_every_band_that_is_listed(tmp_path):
    products.write(tmp_path / "s", 0, products.arrays(0))
    found = products.acquisitions(tmp_path / "s")
    first, second = cube_spec(tmp_path / "c.zarr", bands=(B04,)), cube_spec(tmp_path / "c.zarr", bands=(B08,))
    layout.prepare(first, "31UFU", found)
    layout.prepare(second, "31UFU", found)
    assert {"B04", "B08"} <= set(read.open_tile(first.path, "31UFU", 10).data_vars)
    products.write(tmp_path / "s", 1, products.arrays(1))
    layout.prepare(second, "31UFU", products.acquisitions(tmp_path / "s"))
    data = read.open_tile(first.path, "31UFU", 10)
    assert set(data.data_vars) == {"B08"} and data.sizes["time"] == 2
    layout.prepare(first, "31UFU", products.acquisitions(tmp_path / "s"))
    assert {"B04", "B08"} <= set(read.open_tile(first.path, "31UFU", 10).data_vars)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gdal_opens_an_unsharded_cube_at_the_right_place(tmp_path):
    pixels = [products.arrays(number) for number in range(2)]
    for number in range(2):
        products.write(tmp_path / "s", number, pixels[number])
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04, B11, SCL), sharding=False)
    fill(spec, products.acquisitions(tmp_path / "s"))
    cube = spec.path if GDAL >= (3, 11) else _for_draft_readers(spec.path, tmp_path / "draft.zarr")
    for ref in spec.bands:
        group = cube / "31UFU" / ref.group
        with rasterio.open(f'ZARR:"{group}":/{ref.name}:1') as source:
            assert source.crs.to_epsg() == 32631
            assert source.transform[:6] == (ref.resolution_m, 0, 600000, 0, -ref.resolution_m, 5700000)
            assert source.shape == (10 * EDGE // ref.resolution_m,) * 2
            held = pixels[1][ref.key]
            np.testing.assert_array_equal(source.read(1), held if ref is SCL else stored(held, -1000))
            if ref is not SCL:
                assert source.nodata == 0 and source.scales == (0.0001,) and source.offsets == (-0.1,)


def _for_draft_readers(cube: Path, path: Path) -> Path:
    """Copy of a cube for GDAL up to 3.10, which knows the codec `bytes` by the name that it had in the draft."""
    shutil.copytree(cube, path)
    for file in path.rglob("zarr.json"):
        metadata = json.loads(file.read_text())
        for codec in metadata.get("codecs", ()):
            codec["name"] = codec["name"].replace("bytes", "endian")
        metadata.pop("consolidated_metadata", None)
        file.write_text(json.dumps(metadata))
    return path
