"""Tiles as lazy arrays of xarray, and medians of them: numpy's own results on the arrays that were written."""

from __future__ import annotations

import pickle
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hpckit
from hpckit.cubes.read import open_tile
from hpckit.errors import CubeError
from tests.unit.look_samples import acquisition, write_cube

SHAPE = (9, 1100, 1060)
"""Three blocks of dates, four windows."""
HALF = (SHAPE[1] // 2, SHAPE[2] // 2)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A cube, and what was written: reflectance with nodata, and classes of 20 m."""
    random = np.random.default_rng(5)
    stored = random.integers(1, 12_000, SHAPE).astype(np.uint16)
    stored[random.random(SHAPE) < 0.3] = 0
    stored[4:8] = 0  # a block of dates without data: no file
    classes = random.integers(0, 12, (SHAPE[0], *HALF)).astype(np.uint8)
    times = [datetime(2024, 4, day, 10, 50, 31, tzinfo=UTC) for day in range(1, 1 + SHAPE[0])]
    made = [acquisition(time, {10: SHAPE[1:], 20: HALF}) for time in times]
    cube = tmp_path_factory.mktemp("lazy") / "cube.zarr"
    write_cube(cube, {"B04@10m": stored, "SCL@20m": classes}, made)
    return cube, stored, classes


def reflectance(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 0, np.nan, stored * 1e-4 - 0.1).astype(np.float32)


def keys(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Slices with any step, numbers and lists of numbers along the axes, few of them far from each other."""

    def of_axis(size: int) -> st.SearchStrategy[Any]:
        number = st.integers(-size, size - 1)
        run = st.builds(lambda start, length: slice(start, start + length), st.integers(0, size), st.integers(0, 9))
        return st.one_of(number, st.slices(size), run, st.lists(number, max_size=5))

    return st.tuples(*map(of_axis, shape))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(key=keys(SHAPE), decode=st.booleans())
def test_any_part_is_what_was_written(
    sample: tuple[Path, np.ndarray, np.ndarray], key: tuple[Any, ...], decode: bool
) -> None:
    cube, stored, _ = sample
    expected = reflectance(stored) if decode else stored
    for axis, part in zip((2, 1, 0), reversed(key), strict=True):  # each axis by itself, as xarray has it
        expected = expected[(slice(None),) * axis + (part,)]
    found = open_tile(cube, "31UFU", 10, None, decode=decode)["B04"][key]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.values, expected)
    backward = open_tile(cube, "31UFU", 10, None, decode=decode)["B04"][:, 5:5:-2, 9:3:-3]
    assert backward.values.shape == (SHAPE[0], 0, 2)


@pytest.mark.slow
def test_points_classes_and_dates_that_are_chosen(sample: tuple[Path, np.ndarray, np.ndarray]) -> None:
    cube, stored, classes = sample
    rows, columns = (xarray.DataArray(np.array(places), dims="point") for places in ([3, 1099, 5], [1059, 0, 700]))
    data = open_tile(cube, "31UFU", 10, None)["B04"]
    points = data.isel(y=rows, x=columns)
    np.testing.assert_array_equal(points.values, reflectance(stored)[:, rows.values, columns.values])
    np.testing.assert_array_equal(data.isel(time=[8, 0, 2]).values, reflectance(stored)[[8, 0, 2]])
    found = open_tile(cube, "31UFU", 20, None)["SCL"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, 3:].values, classes[:, 3:])
    again = pickle.loads(pickle.dumps(open_tile(cube, "31UFU", 10, {"time": 2})))["B04"]  # as it goes to workers
    np.testing.assert_array_equal(again[:, 5, 3:9].values, reflectance(stored)[:, 5, 3:9])
    assert data.encoding["scale_factor"] == 1e-4 and data.encoding["dtype"] == np.uint16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [(2**28, (9, 1024, 1024)), (2**25, (9, 512, 1024)), (9 * 4 * 256**2, (9, 256, 256)), (2**20, (4, 256, 256))],
)
def test_chunks_have_all_dates_as_long_as_memory_holds_some_part_of_a_window(
    sample: tuple[Path, np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    nbytes: int,
    expected: tuple[int, ...],
) -> None:
    monkeypatch.setattr("hpckit.cubes.read._CHUNK_BYTES", nbytes)
    assert open_tile(sample[0], "31UFU", 10)["B04"].data.chunksize == expected


@pytest.mark.slow
def test_a_median_of_a_cube_is_that_of_numpy(sample: tuple[Path, np.ndarray, np.ndarray]) -> None:
    cube, part = sample[0], {"y": slice(1000, 1050)}
    values = reflectance(sample[1][:, part["y"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(values, axis=0)
    bands = open_tile(cube, "31UFU", 10).isel(part)
    lazy = hpckit.median(bands)
    assert dask.is_dask_collection(lazy["B04"].data) and lazy["B04"].dims == ("y", "x")
    assert lazy["B04"].attrs["units"] == "1" and "time" not in lazy.coords
    np.testing.assert_array_equal(lazy["B04"].values, expected)
    plain = open_tile(cube, "31UFU", 10, None).isel(part)["B04"]
    np.testing.assert_array_equal(hpckit.median(plain).values, expected)
    clear = hpckit.median(bands["B04"].where(bands["B04"] < 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left = np.where(values < 0.5, values, np.nan)
        np.testing.assert_array_equal(clear.values, np.nanmedian(left, axis=0))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "uint16"])
def test_medians_equal_those_of_numpy(dtype: str, data: st.DataObject) -> None:
    """Bit by bit, whatever is missing, in any order of dimensions, with and without dask."""
    dates = data.draw(st.integers(1, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = (random.normal(size=(dates, 5, 7)) * 10.0 ** data.draw(st.integers(0, 4))).astype(dtype)
    if values.dtype.kind == "f":
        values[random.random(values.shape) < data.draw(st.sampled_from([0.0, 0.2, 0.9, 1.0]))] = np.nan
        values[random.random(values.shape) < 0.02] = np.inf
    dims = data.draw(st.permutations(["time", "y", "x"]))
    array = xarray.DataArray(values, dims=("time", "y", "x"), name="B").transpose(*dims)
    chunks = data.draw(st.sampled_from([None, {"time": -1, "y": 2}, {"time": 3}]))
    found = hpckit.median(array if chunks is None else array.chunk(chunks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(array.values, axis=dims.index("time"))
    assert found.dims == tuple(dim for dim in dims if dim != "time") and found.dtype == expected.dtype
    np.testing.assert_array_equal(found.values, expected)


@given(values=hnp.arrays(np.float64, (4, 3)))
def test_medians_over_another_dimension(values: np.ndarray) -> None:
    data = xarray.Dataset({"a": (("time", "x"), values), "b": ("x", np.arange(3.0)), "t": ("time", np.zeros(4))})
    found = hpckit.median(data, "x")
    assert found["t"].dims == ("time",) and found["b"] == 1.0 and found["a"].dims == ("time",)
    with pytest.raises(CubeError, match="no dimension 'band'") as error:
        hpckit.median(data, "band")
    assert "time, x" in (error.value.hint or "")
    for other in ("B08", values):
        with pytest.raises(CubeError, match=f"{type(other).__name__} is no array or dataset of xarray"):
            hpckit.median(other)  # type: ignore[type-var]


def test_a_median_of_what_are_no_numbers_is_left_to_xarray() -> None:
    flags = xarray.DataArray([[True, False], [True, True], [False, True]], dims=("time", "x"))
    assert hpckit.median(flags).equals(flags.median("time"))
