"""Raster processes against numpy, xarray, scipy and GDAL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import rasterio.warp
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpckit.processgraph.calendars import CALENDARS
from hpckit.processgraph.cube import Band, Cube, Dimension, Grid
from hpckit.processgraph.cubes.callbacks import labels
from hpckit.processgraph.graph import FromParameter
from hpckit.testing.graphs import GRID, bands, calling, child, raster, result_of, step, times

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
MEAN = calling("mean", "data")
DAYS = st.lists(st.dates(date(1999, 1, 1), date(2031, 12, 31)), min_size=1, max_size=9, unique=True).map(sorted)


def pixels(*shape: int, seed: int = 0, gaps: float = 0.2) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.uniform(-50, 50, shape).round(1)
    values[random.uniform(size=shape) < gaps] = np.nan
    return values


def as_xarray(cube: Cube) -> xr.DataArray:
    coordinates = {}
    for dim in cube.dims:
        known = labels(cube, dim.name)
        is_time = dim.kind == "temporal" and all("-" in str(label) for label in known)
        coordinates[dim.name] = [np.datetime64(str(label).rstrip("Z")) for label in known] if is_time else list(known)
    return xr.DataArray(cube.values, coordinates, cube.names)


@pytest.mark.parametrize(
    ("border", "mode"),
    [
        ("replicate", "nearest"),
        ("reflect", "reflect"),
        ("reflect_pixel", "mirror"),
        ("wrap", "wrap"),
        (2.5, "constant"),
    ],
)
@quick
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    size=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
def test_kernels_are_those_of_scipy(border, mode, rows, columns, size, seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    values = pixels(2, rows, columns, seed=seed)
    kernel = np.random.default_rng(seed).integers(-3, 4, [2 * each + 1 for each in size]).astype(float)
    found = result_of(
        "apply_kernel",
        data=raster(values, times("2024-01-01", "2024-01-02")),
        kernel=kernel.tolist(),
        factor=0.5,
        border=border,
        replace_invalid=7,
    )
    filled = np.where(np.isfinite(values), values, 7)
    expected = [0.5 * ndimage.correlate(plane, kernel, mode=mode, cval=2.5) for plane in filled]
    np.testing.assert_allclose(found.values, expected, atol=1e-9)


def test_a_separable_kernel_sums_as_exactly_as_another():
    values = np.random.default_rng(1).integers(0, 9, (40, 50)).astype(np.float32)
    found = result_of("apply_kernel", data=raster(values), kernel=np.ones((5, 7)).tolist())
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, ((2, 2), (3, 3))), (5, 7))
    np.testing.assert_array_equal(found.values, windows.sum((2, 3)))
    assert found.values.dtype == np.float32


@quick
@given(days=DAYS, seed=st.integers(0, 99))
def test_months_and_years_are_those_of_xarray(days, seed):
    cube = raster(pixels(len(days), 2, 3, seed=seed), times(*(day.isoformat() for day in days)))
    series = as_xarray(cube)
    for period, rule, form in (("month", "MS", "%Y-%m"), ("year", "YS", "%Y"), ("day", "D", "%Y-%j")):
        found = result_of("aggregate_temporal_period", data=cube, period=period, reducer=MEAN)
        expected = series.resample(t=rule).mean()
        assert list(found.dims[0].labels) == expected.t.dt.strftime(form).values.tolist()
        np.testing.assert_allclose(found.values, expected.values)


def season_of(day: date) -> str:
    names = {12: "djf", 1: "djf", 2: "djf", 3: "mam", 4: "mam", 5: "mam", 6: "jja", 7: "jja", 8: "jja"}
    return f"{day.year - (day.month < 3)}-{names.get(day.month, 'son')}"


PERIODS = {
    "week": lambda day: f"{day.isocalendar().year:04}-{day.isocalendar().week:02}",
    "dekad": lambda day: (
        f"{day.year:04}-{(day.month - 1) * 3 + (1 if day.day <= 10 else 2 if day.day <= 20 else 3):02}"
    ),
    "season": season_of,
    "tropical-season": lambda day: f"{day.year - (day.month < 5)}-{'mjjaso' if 5 <= day.month <= 10 else 'ndjfma'}",
    "decade": lambda day: f"{day.year // 10 * 10}",
    "decade-ad": lambda day: f"{(day.year - 1) // 10 * 10 + 1}",
}


@pytest.mark.parametrize("period", PERIODS)
@quick
@given(days=DAYS)
def test_periods_are_those_of_all_days_between(period, days):
    cube = raster(np.arange(len(days), dtype=float)[:, None, None], times(*(day.isoformat() for day in days)))
    found = result_of("aggregate_temporal_period", data=cube, period=period, reducer=MEAN)
    between = (days[0] + timedelta(days=number) for number in range((days[-1] - days[0]).days + 1))
    expected = list(dict.fromkeys(PERIODS[period](day) for day in between))
    assert list(found.dims[0].labels) == expected
    for label, value in zip(expected, found.values[:, 0, 0], strict=True):
        members = [number for number, day in enumerate(days) if PERIODS[period](day) == label]
        np.testing.assert_allclose(value, np.mean(members) if members else np.nan)


@pytest.mark.parametrize("period", CALENDARS)
@given(at=st.datetimes(datetime(1, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_labels_of_periods_are_read_back(period, at):
    calendar = CALENDARS[period]
    place = calendar.place(at)
    assert calendar.place_of(calendar.label(place)) == place
    assert calendar.label(place).endswith(calendar.part(place))
    assert calendar.after(place) > place


def test_intervals_of_the_day_run_over_midnight():
    cube = raster(np.arange(4.0)[:, None, None], times(*(f"2024-01-01T{hour:02}:00:00Z" for hour in (2, 6, 12, 18))))
    found = result_of(
        "aggregate_temporal",
        data=cube,
        intervals=[["06:00:00", "18:00:00"], ["18:00:00", "06:00:00"]],
        reducer=calling("sum", "data"),
    )
    assert found.values.ravel().tolist() == [3, 3]


AT = st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True)


@quick
@given(
    times1=AT,
    times2=AT,
    bands1=AT,
    bands2=AT,
    shift=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    size1=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size2=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    missing=st.sampled_from(["", "t", "bands"]),
    swapped=st.booleans(),
)
def test_merged_cubes_have_the_values_of_both(times1, times2, bands1, bands2, shift, size1, size2, missing, swapped):
    """Against a reference that goes through all labels and pixels one by one."""
    made = []
    for number, (at, named, size) in enumerate(((sorted(times1), bands1, size1), (sorted(times2), bands2, size2))):
        dims = [times(*(f"2024-01-{day + 1:02}" for day in at)), bands(**{f"B{each}": Band() for each in named})]
        if number and missing:
            dims = [dim for dim in dims if dim.name != missing]
        grid = replace(GRID, left=GRID.left + 10 * shift[0] * number, top=GRID.top - 10 * shift[1] * number)
        values = 1.0 + np.arange(np.prod([len(dim.labels) for dim in dims]) * size[0] * size[1])
        shape = [len(dim.labels) for dim in dims]
        made.append(raster(values.reshape(*shape, *size) * (100 if number else 1), *dims, grid=grid))
    cube1, cube2 = made[::-1] if swapped else made
    resolver = child(call=step("subtract", x=FromParameter("x"), y=FromParameter("y")))
    found = as_xarray(result_of("merge_cubes", cube1=cube1, cube2=cube2, overlap_resolver=resolver))
    one, other = as_xarray(cube1), as_xarray(cube2)
    assert found.t.to_index().is_monotonic_increasing and found.y.to_index().is_monotonic_decreasing
    every = (
        [*one.bands.values.tolist(), *other.bands.values.tolist()]
        if "bands" in one.dims and "bands" in other.dims
        else None
    )
    if every is not None:
        assert found.bands.values.tolist() == list(dict.fromkeys(every))
    for item in np.ndindex(found.shape):
        place = {dim: found[dim].values[n] for dim, n in zip(found.dims, item, strict=True)}
        first, second = (value_at(array, place) for array in (one, other))
        expected = first - second if first is not None and second is not None else first or second or np.nan
        np.testing.assert_equal(found.values[item], expected)


def value_at(array: xr.DataArray, place: dict[str, object]) -> float | None:
    try:
        return float(array.sel({dim: place[dim] for dim in array.dims}).item())
    except KeyError:
        return None


@quick
@given(
    values=hnp.arrays(np.float32, (2, 3, 4)),
    hidden=hnp.arrays(np.bool_, (3, 4)),
    replacement=st.none() | st.integers(-9, 9),
)
def test_masks_are_those_of_numpy(values, hidden, replacement):
    found = result_of(
        "mask", data=raster(values, times("2024-01-01", "2024-01-02")), mask=raster(hidden), replacement=replacement
    )
    np.testing.assert_array_equal(
        found.values, np.where(hidden, np.float32(np.nan if replacement is None else replacement), values)
    )
    assert found.values.dtype == np.float32


def test_a_mask_by_bands_and_with_null_hides_what_is_true():
    data = raster(np.ones((2, 1, 3), np.float32), bands(a=Band(), b=Band()))
    hidden = raster(np.array([[[1, 0, np.nan]], [[0, 2, np.nan]]]), bands(a=Band(), b=Band()))
    np.testing.assert_array_equal(
        result_of("mask", data=data, mask=hidden).values, np.float32([[[np.nan, 1, 1]], [[1, np.nan, 1]]])
    )


STATISTICS = {
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
    "average": np.mean,
    "rms": lambda values, axis: np.sqrt((values**2).mean(axis)),
}


@pytest.mark.parametrize("method", STATISTICS)
def test_larger_pixels_have_the_statistics_of_smaller_ones(method):
    values = pixels(12, 16, gaps=0)
    found = result_of("resample_spatial", data=raster(values), resolution=[40, 30], method=method)
    blocks = values.reshape(4, 3, 4, 4).swapaxes(1, 2).reshape(4, 4, 12)
    np.testing.assert_allclose(found.values, STATISTICS[method](blocks, 2))
    assert (found.grid.dx, found.grid.dy, found.grid.left, found.grid.top) == (40, -30, GRID.left, GRID.top)


GDAL = {
    "near": "nearest",
    "bilinear": "bilinear",
    "cubic": "cubic",
    "cubicspline": "cubic_spline",
    "lanczos": "lanczos",
    "average": "average",
    "mode": "mode",
    "max": "max",
    "min": "min",
    "med": "med",
    "q1": "q1",
    "q3": "q3",
    "sum": "sum",
    "rms": "rms",
}


@pytest.mark.parametrize("ratio", [(2, 2), (3, 5), (4, 1)])
@pytest.mark.parametrize("method", GDAL)
def test_resampling_is_that_of_gdal(method, ratio):
    """In the middle of a raster: at its edges GDAL weighs otherwise; and its kernel of Lanczos does not widen for
    odd ratios (seen with 3.10)."""
    if method == "lanczos" and ratio == (3, 5):
        ratio = (4, 6)
    random = np.random.default_rng(5)
    values = random.integers(0, 6 if method == "mode" else 999, (120, 120)).astype(np.float32)
    down, along = ratio
    found = result_of("resample_spatial", data=raster(values), resolution=[10 * along, 10 * down], method=method)
    expected = np.zeros(found.values.shape, np.float32)
    here = Affine(10, 0, GRID.left, 0, -10, GRID.top)
    rasterio.warp.reproject(
        values,
        expected,
        src_transform=here,
        dst_transform=here @ Affine.scale(along, down),
        src_crs=GRID.crs,
        dst_crs=GRID.crs,
        resampling=rasterio.warp.Resampling[GDAL[method]],
    )
    inner = (slice(8, -8), slice(8, -8))
    if method == "mode":  # of several modes either may be chosen
        blocks = values.reshape(120 // down, down, 120 // along, along).swapaxes(1, 2).reshape(*expected.shape, -1)
        count = lambda chosen: (blocks == chosen[..., None]).sum(-1)  # noqa: E731
        np.testing.assert_array_equal(count(found.values), count(expected))
    else:
        np.testing.assert_allclose(found.values[inner], expected[inner], rtol=2e-5)


def test_the_extent_of_another_crs_is_covered():
    found = result_of("resample_spatial", data=raster(pixels(20, 30)), projection=4326)
    west, south, east, north = rasterio.warp.transform_bounds(
        GRID.crs, "EPSG:4326", GRID.left, GRID.top - 200, GRID.left + 300, GRID.top
    )
    bounds = found.grid.bounds
    assert (
        bounds[0] <= west + 1e-7
        and bounds[1] <= south + 1e-7
        and bounds[2] >= east - 1e-7
        and bounds[3] >= north - 1e-7
    )
    assert np.isfinite(found.values).sum() > 200


@quick
@given(size=st.tuples(st.integers(1, 6), st.integers(1, 6)), overlap=st.integers(0, 3), seed=st.integers(0, 9))
def test_neighborhoods_are_windows_of_a_padded_array(size, overlap, seed):
    values = pixels(7, 9, seed=seed)
    found = result_of(
        "apply_neighborhood",
        data=raster(values),
        size=[{"dimension": "y", "value": size[0], "unit": "px"}, {"dimension": "x", "value": size[1], "unit": "px"}],
        overlap=[
            {"dimension": "y", "value": overlap, "unit": "px"},
            {"dimension": "x", "value": overlap, "unit": "px"},
        ],
        process=child(
            run=step("apply_kernel", data=FromParameter("data"), kernel=[[1, 2, 3]] * 3, border="replicate")
        ),
    )
    for top in range(0, 7, size[0]):
        for left in range(0, 9, size[1]):
            padded = np.pad(values, 16, constant_values=np.nan)
            window = padded[
                top + 16 - overlap : top + 16 + size[0] + overlap, left + 16 - overlap : left + 16 + size[1] + overlap
            ]
            filled = np.pad(np.nan_to_num(window), 1, mode="edge")
            smooth = sum(
                (along + 1) * filled[down : down + window.shape[0], along : along + window.shape[1]]
                for down in range(3)
                for along in range(3)
            )
            inner = smooth[overlap : overlap + size[0], overlap : overlap + size[1]]
            there = found.values[top : top + size[0], left : left + size[1]]
            np.testing.assert_allclose(there, inner[: there.shape[0], : there.shape[1]])


def test_normals_are_means_by_xarray_and_anomalies_differ_from_them():
    days = [date(1999, 11, 5) + timedelta(days=17 * number) for number in range(100)]
    cube = raster(pixels(100, 2, 3), times(*(day.isoformat() for day in days)))
    series = as_xarray(cube).sel(t=slice("2000-01-01", "2003-12-31"))
    found = result_of("climatological_normal", data=cube, period="month", climatology_period=[2000, 2003])
    assert found.dims[0].labels == tuple(f"{month:02}" for month in range(1, 13))
    np.testing.assert_allclose(found.values, series.groupby("t.month").mean().values)
    differences = result_of("anomaly", data=cube, normals=found, period="month")
    expected = as_xarray(cube).groupby("t.month") - series.groupby("t.month").mean()
    np.testing.assert_allclose(differences.values, expected.values)


def test_a_season_over_new_year_belongs_to_the_year_in_which_it_ends():
    labels = ("1999-12-15", "2000-01-15", "2000-12-15", "2001-01-15", "2001-12-15")
    cube = raster(np.array([1.0, 2, 30, 40, 500])[:, None, None], times(*labels))
    found = result_of("climatological_normal", data=cube, period="season", climatology_period=[2000, 2001])
    assert found.dims[0].labels == ("djf", "mam", "jja", "son")
    np.testing.assert_array_equal(found.values.ravel(), [73 / 4, np.nan, np.nan, np.nan])
    whole = result_of(
        "climatological_normal", data=cube, period="climatology-period", climatology_period=[2000, 2001]
    )
    assert whole.values.ravel().tolist() == [572 / 4]
    months = result_of("aggregate_temporal_period", data=cube, period="month", reducer=MEAN)
    again = result_of("climatological_normal", data=months, period="month", climatology_period=[2000, 2001])
    np.testing.assert_array_equal(again.values.ravel()[[0, 11]], [21, 265])


@quick
@given(days=DAYS, wanted=DAYS, within=st.none() | st.integers(1, 900), seed=st.integers(0, 9))
def test_the_nearest_time_is_taken(days, wanted, within, seed):
    values = pixels(len(days), 1, 4, seed=seed)
    data = raster(values, times(*(day.isoformat() for day in days)))
    target = raster(np.zeros((len(wanted), 1, 1)), times(*(day.isoformat() for day in wanted)))
    found = result_of("resample_cube_temporal", data=data, target=target, valid_within=within)
    assert found.dims[0].labels == target.dims[0].labels
    for place, day in enumerate(wanted):
        order = sorted(range(len(days)), key=lambda n: (abs((days[n] - day).days), days[n]))
        for column in range(4):
            if within is None:
                expected = values[order[0], 0, column]
            else:
                near = (values[n, 0, column] for n in order if abs((days[n] - day).days) < within)
                expected = next((value for value in near if not np.isnan(value)), np.nan)
            np.testing.assert_equal(found.values[place, 0, column], expected)


@quick
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    order=st.permutations(["t", "bands", "run"]).map(lambda names: names[:2]),
)
def test_flattened_dimensions_are_those_of_xarray_and_are_split_again(sizes, order):
    dims = [
        times(*(f"2024-01-0{n + 1}" for n in range(sizes[0]))),
        bands(**{f"B{n}": Band() for n in range(sizes[1])}),
        Dimension("run", "other", tuple(float(n) for n in range(sizes[2]))),
    ]
    cube = raster(pixels(*sizes, 2, 3), *dims)
    flat = result_of("flatten_dimensions", data=cube, dimensions=order, target_dimension="both", label_separator="|")
    stacked = xr.DataArray(cube.values, dims=cube.names).stack(both=order).transpose(*flat.names)
    np.testing.assert_array_equal(flat.values, stacked.values)
    again = result_of(
        "unflatten_dimension", data=flat, dimension="both", target_dimensions=order, label_separator="|"
    )
    np.testing.assert_array_equal(
        xr.DataArray(again.values, dims=again.names).transpose(*cube.names).values, cube.values
    )


def test_all_pixels_are_reduced():
    values = pixels(3, 5, 4)
    found = result_of(
        "reduce_spatial", data=raster(values, times("2024-01-01", "2024-01-02", "2024-01-03")), reducer=MEAN
    )
    assert found.names == ("t",) and found.grid is None
    np.testing.assert_allclose(found.values, np.nanmean(values, (1, 2)))


def test_a_reduced_axis_leaves_labels_of_the_other():
    values = pixels(3, 5)
    found = result_of("reduce_dimension", data=raster(values), dimension="x", reducer=calling("max", "data"))
    np.testing.assert_allclose(found.values, np.nanmax(values, 1))
    assert found.dims[0].labels == (GRID.top - 5, GRID.top - 15, GRID.top - 25) and found.grid is None
    series = result_of(
        "merge_cubes",
        cube1=raster(values),
        cube2=found,
        overlap_resolver=child(call=step("subtract", x=FromParameter("x"), y=FromParameter("y"))),
    )
    np.testing.assert_allclose(series.values, values - np.nanmax(values, 1)[:, None])


def test_edges_without_data_are_trimmed():
    values = np.full((3, 2, 6, 8), np.nan, np.float32)
    values[1, 0, 2, 3] = values[1, 0, 4, 6] = 1
    found = result_of(
        "trim_cube", data=raster(values, times("2024-01-01", "2024-01-02", "2024-01-03"), bands(a=Band(), b=Band()))
    )
    np.testing.assert_array_equal(found.values, values[1:2, :1, 2:5, 3:7])
    assert found.dims[0].labels == ("2024-01-02",) and found.dims[1].labels == ("a",)
    assert found.grid.shape == (3, 4) and found.grid.left == GRID.left + 30 and found.grid.top == GRID.top - 20


def test_rows_may_rise_to_the_north():
    grid = Grid(GRID.crs, GRID.left, GRID.top, 10, 10, 4, 5)
    values = pixels(4, 5)
    cube = raster(values, grid=grid)
    found = result_of(
        "filter_bbox",
        data=cube,
        extent={
            "west": GRID.left,
            "east": GRID.left + 29,
            "south": GRID.top + 10,
            "north": GRID.top + 30,
            "crs": 32632,
        },
    )
    np.testing.assert_array_equal(found.values, values[1:3, :3])
    cube = raster(pixels(4, 5, gaps=0), grid=grid)
    expected = cube.values[:, :4].reshape(2, 2, 2, 2).sum((1, 3))
    larger = result_of("resample_spatial", data=cube, resolution=20, method="sum", align="lower-left")
    assert larger.grid.dy == 20 and larger.grid.top == GRID.top
    np.testing.assert_allclose(larger.values[:, :2], expected)
