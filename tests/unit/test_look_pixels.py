from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.cubes.read import geometry
from hpckit.errors import CubeError
from hpckit.look import pixels
from hpckit.look.pixels import clearest, find_band, find_date, plan_extent, read_snapshot
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests.unit.look_samples import EPSG, ULX, ULY, acquisition, write_cube

pytestmark = pytest.mark.slow

B04, B11, B01, SCL = (
    SENTINEL2.parse("B04@10m"),
    SENTINEL2.parse("B11@20m"),
    SENTINEL2.parse("B01@60m"),
    SENTINEL2.parse("SCL@20m"),
)
# More than one window of 1024 (640, 192) pixels each way, and no multiple of anything.
SHAPES = {10: (1290, 1164), 20: (645, 582), 60: (215, 194)}
TIMES = [datetime(2024, 5, day, 10, 50, tzinfo=UTC) for day in (1, 11, 21)]


def make_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for key, resolution in (("B04@10m", 10), ("B11@20m", 20), ("B01@60m", 60)):
        values = rng.integers(1000, 6000, (3, *SHAPES[resolution])).astype(np.uint16)
        values[rng.random(values.shape) < 0.2] = 0
        values[:, : 300 // resolution * 5, :40] = 0
        arrays[key] = values
    arrays["SCL@20m"] = rng.integers(0, 12, (3, *SHAPES[20])).astype(np.uint8)
    arrays["SCL@20m"][1] = np.where(rng.random(SHAPES[20]) < 0.9, 4, 9)
    return arrays


ARRAYS = make_arrays()


@pytest.fixture(scope="module")
def cube(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("look") / "a cube.zarr"
    acquisitions = [acquisition(t, SHAPES, cloud_cover=c) for t, c in zip(TIMES, (1.0, 20.0, None), strict=True)]
    write_cube(path, ARRAYS, acquisitions)
    return path


def block_means(values: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Mean reflectance of the valid pixels of each block, one block at a time."""
    result = np.full(shape, np.nan, np.float32)
    for row in range(shape[0]):
        for column in range(shape[1]):
            block = values[row * step : (row + 1) * step, column * step : (column + 1) * step].astype(float)
            known = block[block > 0]
            if known.size:
                result[row, column] = known.mean() * 1e-4 - 0.1
    return result


@pytest.mark.parametrize("max_edge", [2000, 700, 100, 37, 1])
@pytest.mark.parametrize(("ref", "edge"), [(B04, 10), (B11, 20), (B01, 60)])
def test_whole_tile_equals_block_means(cube, monkeypatch, ref, edge, max_edge):
    monkeypatch.setattr(pixels, "MAX_EDGE", max_edge)
    extent = plan_extent(cube, "31UFU", [ref], None, max_edge=max_edge)
    assert max(extent.shape) <= max_edge
    step = extent.pixel_m // edge
    found = pixels._read_layer(cube, "31UFU", ref, 1, extent)
    wanted = block_means(ARRAYS[ref.key][1], step, extent.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@settings(max_examples=40)
@given(
    left=st.floats(-500, 11_000),
    top=st.floats(-500, 12_000),
    width=st.floats(1, 13_000),
    height=st.floats(1, 13_000),
    max_edge=st.integers(1, 400),
)
def test_windows_equal_block_means(cube, left, top, width, height, max_edge):
    window = (ULX + left, ULY - top - height, ULX + left + width, ULY - top)
    try:
        extent = plan_extent(cube, "31UFU", [B04, B11], window, max_edge=max_edge)
    except CubeError:
        assert left >= 11_640 or top >= 12_900 or left + width <= 0 or top + height <= 0
        return
    assert extent.pixel_m % 20 == 0 or extent.pixel_m == 10
    assert (extent.west - ULX) % 20 == 0
    assert (ULY - extent.north) % 20 == 0
    for ref, edge in ((B04, 10), (B11, 20)):
        found = pixels._read_layer(cube, "31UFU", ref, 2, extent)
        assert found.shape == extent.shape
        row, column = round((ULY - extent.north) / edge), round((extent.west - ULX) / edge)
        part = ARRAYS[ref.key][2, row:, column:]
        if extent.pixel_m < edge:
            part = part.repeat(2, 0).repeat(2, 1)
        step = max(1, extent.pixel_m // edge)
        # The window's last pixels may be cut: those within count.
        rows, columns = extent.shape
        np.testing.assert_allclose(found[:-1, :-1], block_means(part, step, (rows, columns))[:-1, :-1], atol=1e-6)


def test_bands_of_three_resolutions_lie_on_one_another(cube):
    snapshot = read_snapshot(cube, "31UFU", 0, [B04, B11, B01], SENTINEL2, with_classes=True)
    assert snapshot.extent.pixel_m == 10
    assert {layer.shape for layer in snapshot.layers.values()} == {SHAPES[10]}
    assert snapshot.classes is not None
    np.testing.assert_array_equal(snapshot.classes, ARRAYS["SCL@20m"][0].repeat(2, 0).repeat(2, 1))
    fine = snapshot.layers["B01"]
    np.testing.assert_array_equal(fine[600:606, 600:606], fine[600, 600])


@pytest.mark.parametrize("max_edge", [645, 300, 50, 7])
def test_classes_are_picked_never_mixed(cube, max_edge):
    extent = plan_extent(cube, "31UFU", [SCL], None, max_edge=max_edge)
    step = extent.pixel_m // 20
    rows, columns = extent.shape
    wanted = ARRAYS["SCL@20m"][0][step // 2 :: step, step // 2 :: step][:rows, :columns]
    found = pixels.read_classes(cube, "31UFU", SCL, 0, extent)
    np.testing.assert_array_equal(found[: wanted.shape[0], : wanted.shape[1]], wanted)


def test_degrees_are_understood(cube):
    to_degrees = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)
    window = to_degrees.transform_bounds(ULX + 2000, ULY - 5000, ULX + 4000, ULY - 3000)
    extent = plan_extent(cube, "31UFU", [B04], window)
    west, south, east, north = extent.bounds
    assert (west, south, east, north) == pytest.approx((ULX + 2000, ULY - 5000, ULX + 4000, ULY - 3000), abs=80)


@pytest.mark.parametrize("window", [(0, 0, 400, 400), (5.9, 10.0, 6.0, 11.0), (ULX - 900, ULY, ULX, ULY + 100)])
def test_window_beside_the_tile(cube, window):
    with pytest.raises(CubeError, match="misses tile 31UFU") as error:
        plan_extent(cube, "31UFU", [B04], window)
    assert "EPSG:32631" in (error.value.hint or "")


def test_clearest_looks_at_the_classes_not_only_at_the_metadata(cube):
    # By metadata the first date is clearest; by its pixels the second one.
    assert clearest(cube, "31UFU", SENTINEL2) == 1


def test_of_equally_clear_dates_the_latest(tmp_path):
    classes = np.full((3, 48, 48), 4, np.uint8)
    classes[2, 0, 0] = 9
    times = [acquisition(t, {20: (48, 48)}, cloud_cover=0.0) for t in TIMES]
    write_cube(tmp_path / "cube.zarr", {"SCL@20m": classes}, times)
    assert clearest(tmp_path / "cube.zarr", "31UFU", SENTINEL2) == 1


def test_clearest_without_classes_takes_the_fullest(tmp_path):
    values = np.zeros((3, 96, 96), np.uint16)
    values[2], values[1, :40] = 2000, 2000
    times = [acquisition(t, {10: (96, 96)}, cloud_cover=c) for t, c in zip(TIMES, (0.0, 0.0, 80.0), strict=True)]
    write_cube(tmp_path / "cube.zarr", {"B04@10m": values}, times)
    assert clearest(tmp_path / "cube.zarr", "31UFU", SENTINEL2) == 2


def test_unsharded_cubes_and_missing_shards(tmp_path):
    values = ARRAYS["B04@10m"]
    path = tmp_path / "cube.zarr"
    write_cube(path, {"B04@10m": values}, [acquisition(t, SHAPES) for t in TIMES], sharding=False)
    (path / "31UFU" / "r10m" / "B04" / "c" / "0" / "0" / "0").unlink()
    layer = read_snapshot(path, "31UFU", 0, [B04], SENTINEL2).layers["B04"]
    assert np.isnan(layer[:1024, :1024]).all()
    np.testing.assert_array_equal(np.isnan(layer[:, 1024:]), values[0, :, 1024:] == 0)


def test_damaged_shard_is_named(tmp_path):
    path = tmp_path / "cube.zarr"
    write_cube(path, {"B04@10m": ARRAYS["B04@10m"]}, [acquisition(t, SHAPES) for t in TIMES])
    shard = path / "31UFU" / "r10m" / "B04" / "c" / "0" / "1" / "0"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(CubeError, match="B04/c/0/1/0"):
        read_snapshot(path, "31UFU", 0, [B04], SENTINEL2)


def test_dates(cube):
    where = geometry(cube, "31UFU", 10)
    assert find_date(where, date(2024, 5, 11)) == 1
    with pytest.raises(CubeError, match="no acquisition on 2024-05-12") as error:
        find_date(where, date(2024, 5, 12))
    assert error.value.hint == "the nearest are 2024-05-01, 2024-05-11, 2024-05-21"


@pytest.mark.parametrize(("index", "day"), [(0, 1), (2, 21), (-1, 21), (-3, 1)])
def test_dates_by_number(cube, index, day):
    assert read_snapshot(cube, "31UFU", index, [SCL], SENTINEL2).time.day == day


@pytest.mark.parametrize("index", [3, -4])
def test_no_such_date(cube, index):
    with pytest.raises(CubeError, match=f"no date number {index}; tile 31UFU has 3"):
        read_snapshot(cube, "31UFU", index, [SCL], SENTINEL2)


@pytest.mark.parametrize(("text", "ref"), [("B04", B04), ("b04", B04), (" SCL", SCL), ("B11@20m", B11)])
def test_bands_by_name(cube, text, ref):
    assert find_band(cube, "31UFU", text) == ref


@pytest.mark.parametrize("text", ["B02", "B04@60m", "NDVI", ""])
def test_unknown_band(cube, text):
    with pytest.raises(CubeError, match="no band") as error:
        find_band(cube, "31UFU", text)
    assert "B04" in (error.value.hint or "")
