"""Resampling against exact coordinates, scipy, GDAL, and itself cut into windows."""

from __future__ import annotations

from functools import lru_cache
from typing import get_args

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling as Gdal
from rasterio.vrt import WarpedVRT
from scipy.ndimage import map_coordinates

from hpckit.space.warp import Resampling, needed, warp
from hpckit.testing.landscape import noise

METHODS = get_args(Resampling)
SOURCE = GeoBox((900, 1000), Affine(10, 0, 600000, 0, -10, 5700000), "EPSG:32631")


@lru_cache
def ground() -> np.ndarray:
    """A smooth landscape with noise, and a hole."""
    random = np.random.default_rng(1)
    field = 5000 + 700 * noise(1000, 1.4, 2)[:900] + random.normal(0, 40, (900, 1000))
    values = np.clip(field, 1, 30000).astype(np.uint16)
    values[300:340, 350:420] = 0
    values.flags.writeable = False
    return values


def target(crs: str, size: float, edge: int = 300) -> GeoBox:
    """A square around the middle of the source, on the lattice of its CRS."""
    x, y = pyproj.Transformer.from_crs("EPSG:32631", crs, always_xy=True).transform(605000, 5695500)
    half = edge // 2
    return GeoBox((edge, edge), Affine(size, 0, (x // size - half) * size, 0, -size, (y // size + half) * size), crs)


TARGETS = [
    target("EPSG:32632", 10),
    target("EPSG:3035", 10),
    target("EPSG:3035", 20, 200),
    target("EPSG:2154", 25, 200),
]


def exact(box: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Source row and column of each target pixel, every one transformed by itself."""
    c, r = np.meshgrid(np.arange(box.shape[1]) + 0.5, np.arange(box.shape[0]) + 0.5)
    x, y = box.transform.c + box.transform.a * c, box.transform.f + box.transform.e * r
    x, y = pyproj.Transformer.from_crs(str(box.crs), "EPSG:32631", always_xy=True).transform(x, y)
    return (5700000 - y) / 10, (x - 600000) / 10


@pytest.mark.parametrize("box", TARGETS[:2], ids=str)
def test_coordinates_are_exact(box: GeoBox) -> None:
    """Ramps resampled bilinearly give the coordinates themselves: two thousandths of a pixel."""
    rows, columns = np.mgrid[0.5 : SOURCE.shape[0], 0.5 : SOURCE.shape[1]].astype(np.float32)
    for ramp, wanted in zip((rows, columns), exact(box), strict=True):
        given_ = warp(ramp, SOURCE, box, "bilinear", nodata=np.nan)
        assert np.nanmax(np.abs(given_ - wanted)) < 2e-3 and np.isfinite(given_).all()


@pytest.mark.parametrize("box", TARGETS, ids=str)
def test_nearest_is_a_look_up(box: GeoBox) -> None:
    rows, columns = exact(box)
    assert (
        warp(ground(), SOURCE, box, "nearest", nodata=0) != ground()[rows.astype(int), columns.astype(int)]
    ).mean() < 1e-4


@pytest.mark.parametrize("box", TARGETS[:2], ids=str)
def test_bilinear_as_scipy(box: GeoBox) -> None:
    values = np.maximum(ground(), 1).astype(np.float32)
    rows, columns = exact(box)
    wanted = map_coordinates(values.astype(np.float64), [rows - 0.5, columns - 0.5], order=1)
    np.testing.assert_allclose(warp(values, SOURCE, box, "bilinear", nodata=-1), wanted, atol=0.05)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("box", TARGETS, ids=str)
def test_as_gdal(tmp_path, method: Resampling, box: GeoBox) -> None:
    """GDAL's warper with its approximations turned off, nodata included."""
    values = ground()
    path = tmp_path / "source.tif"
    profile = {"driver": "GTiff", "height": 900, "width": 1000, "count": 1, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", **profile, crs="EPSG:32631", transform=SOURCE.transform) as file:
        file.write(values, 1)
    scale = min(1.0, 10 / box.transform.a)
    size = {"width": box.shape[1], "height": box.shape[0], "transform": box.transform, "crs": str(box.crs)}
    with (
        rasterio.open(path) as file,
        WarpedVRT(
            file, **size, resampling=Gdal[method], tolerance=1e-4, XSCALE=str(scale), YSCALE=str(scale)
        ) as view,
    ):
        wanted = view.read(1).astype(int)
    ours = warp(values, SOURCE, box, method, nodata=0).astype(int)
    assert ((ours == 0) == (wanted == 0)).all() and (ours == 0).any()
    difference = np.abs(ours - wanted)
    if method == "nearest":
        assert (difference != 0).mean() < 5e-4
    elif scale == 1:
        assert difference.max() <= 1 and (difference != 0).mean() < 0.02
    else:  # GDAL has one scale for the whole raster, we have that of each place
        assert np.quantile(difference, 0.99) <= 5


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(data=st.data())
def test_windows_do_not_matter(method: Resampling, data: st.DataObject) -> None:
    """Any part of a target, made from what it needs of the source alone, is that part of the whole."""
    box = data.draw(st.sampled_from(TARGETS))
    values = ground()
    whole = warp(values, SOURCE, box, method, nodata=0)
    top, left = data.draw(st.integers(0, box.shape[0] - 2)), data.draw(st.integers(0, box.shape[1] - 2))
    bottom, right = data.draw(st.integers(top + 1, box.shape[0])), data.draw(st.integers(left + 1, box.shape[1]))
    part = box[top:bottom, left:right]
    rows, columns = needed(SOURCE, part, method) or (slice(0, 0), slice(0, 0))
    given_ = warp(values[rows, columns], SOURCE[rows, columns], part, method, nodata=0)
    np.testing.assert_array_equal(given_, whole[top:bottom, left:right])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_equal_lattices_are_copied(method: Resampling, dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 200, (900, 1000)).astype(dtype)
    box = GeoBox((400, 400), Affine(10, 0, 598000, 0, -10, 5701000), "EPSG:32631")
    wanted = np.zeros((400, 400), dtype)
    wanted[100:, 200:] = values[:300, :200]
    np.testing.assert_array_equal(warp(values, SOURCE, box, method, nodata=0), wanted)


def test_twenty_metres_onto_ten() -> None:
    values = np.random.default_rng(0).integers(1, 9, (50, 60)).astype(np.uint8)
    coarse = GeoBox((50, 60), Affine(20, 0, 600000, 0, -20, 5700000), "EPSG:32631")
    fine = GeoBox((100, 120), Affine(10, 0, 600000, 0, -10, 5700000), "EPSG:32631")
    np.testing.assert_array_equal(warp(values, coarse, fine, "nearest", nodata=0), values.repeat(2, 0).repeat(2, 1))


def test_average_of_whole_pixels() -> None:
    values = np.random.default_rng(0).random((60, 80)).astype(np.float32)
    values[10:13, 20:23] = np.nan
    fine = GeoBox((60, 80), Affine(10, 0, 600000, 0, -10, 5700000), "EPSG:32631")
    coarse = GeoBox((15, 20), Affine(40, 0, 600000, 0, -40, 5700000), "EPSG:32631")
    wanted = np.nanmean(values.reshape(15, 4, 20, 4), axis=(1, 3))
    ours = warp(values, fine, coarse, "average", nodata=np.nan)
    filled = np.isfinite(ours)
    np.testing.assert_allclose(ours[filled], wanted[filled], rtol=1e-5)
    assert filled.mean() > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_first_source_wins(method: Resampling) -> None:
    """What is there already stays; gaps are filled from the next source."""
    first, second = ground(), np.full((900, 1000), 77, np.uint16)
    box = TARGETS[0]
    one = warp(first, SOURCE, box, method, nodata=0)
    both = warp(second, SOURCE, box, method, nodata=0, out=one.copy())
    np.testing.assert_array_equal(both, np.where(one == 0, 77, one))
    assert (one == 0).any()


@given(values=st.lists(st.integers(1, 65535), min_size=64, max_size=64), method=st.sampled_from(METHODS))
def test_valid_never_turns_to_nodata(values: list[int], method: Resampling) -> None:
    """Cubic convolution overshoots; the range of the dtype, and nodata, are not to be left by it."""
    raster = np.array(values, np.uint16).reshape(8, 8)
    source = GeoBox((8, 8), Affine(10, 0, 0, 0, -10, 80), "EPSG:3035")
    inside = GeoBox((8, 8), Affine(7, 0, 12, 0, -7, 68), "EPSG:3035")
    assert (warp(raster, source, inside, method, nodata=0) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_equal_values_stay_equal(method: Resampling) -> None:
    flat = np.where(ground() == 0, 0, 1234).astype(np.uint16)
    for box in TARGETS:
        assert set(np.unique(warp(flat, SOURCE, box, method, nodata=0))) <= {0, 1234}


def test_apart() -> None:
    far = GeoBox((10, 10), Affine(10, 0, 700000, 0, -10, 5700000), "EPSG:32631")
    beyond = GeoBox((10, 10), Affine(10, 0, 0, 0, -10, 0), "EPSG:3035")
    assert needed(SOURCE, far, "cubic") is None and needed(SOURCE, beyond, "nearest") is None
    assert not warp(ground(), SOURCE, far, "cubic", nodata=0).any()


def test_across_the_antimeridian() -> None:
    """A granule of zone 60 that reaches over 180 degrees, onto a tile of zone 1."""
    (west, north), (east, _) = (
        pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(180.0, 9.0) for epsg in (32660, 32601)
    )
    source = GeoBox(
        (1000, 1000), Affine(10, 0, west // 10 * 10 - 5000, 0, -10, north // 10 * 10 + 5000), "EPSG:32660"
    )
    box = GeoBox((100, 100), Affine(10, 0, east // 10 * 10 - 500, 0, -10, north // 10 * 10 + 500), "EPSG:32601")
    columns = np.tile(np.arange(1, 1001, dtype=np.uint16), (1000, 1))
    window = needed(source, box, "bilinear")
    assert window is not None and window[1].stop - window[1].start < 130
    ours = warp(columns, source, box, "bilinear", nodata=0)
    assert (ours > 0).all() and (np.diff(ours.astype(int), axis=1) >= 0).all()


def test_shape_must_fit() -> None:
    with pytest.raises(ValueError, match="geobox"):
        warp(np.zeros((3, 3), np.uint8), SOURCE, TARGETS[0], "nearest", nodata=0)
