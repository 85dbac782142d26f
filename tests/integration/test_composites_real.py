"""Composites of real pixels: twelve dates of Sentinel-2 with their scene classification."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hpckit.reduce.kernels import composite_cpu as cpu
from hpckit.reduce.kernels.nearness import squared_distance
from hpckit.reduce.kernels.smooth_cpu import smooth
from tests.unit.composite_cases import weiszfeld

pytestmark = [pytest.mark.integration, pytest.mark.realdata]
BANDS = ("B02", "B03", "B04", "B08")
CLOUDY = (0, 1, 3, 8, 9, 10, 11)


@pytest.fixture(scope="module")
def sample(shared_data):
    import zarr

    path = shared_data / "s2-openeo-zarr-sample" / "data" / "stac" / "S2_L2A_sample.zarr"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    group = zarr.open_group(path, mode="r")
    bands = {name: np.nan_to_num(np.asarray(group[name][:])).astype(np.uint16) for name in BANDS}
    classes = np.nan_to_num(np.asarray(group["SCL"][:])).astype(np.uint8)
    return np.stack(list(bands.values())), np.isin(classes, CLOUDY)


def test_percentiles_and_counts_are_those_of_numpy(sample):
    stack, cloudy = sample
    for band in stack:
        part, left_out = band[:, ::3, ::3], cloudy[:, ::3, ::3]
        values = np.where(left_out | (part == 0), np.nan, part.astype(float))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.nanmedian(values, axis=0)
            mean = np.nanmean(values, axis=0)
        np.testing.assert_allclose(cpu.median(part, left_out), expected, rtol=1e-6)
        found = cpu.summary(part, left_out)
        np.testing.assert_array_equal(found.observations, np.isfinite(values).sum(axis=0))
        np.testing.assert_allclose(found.mean, mean, rtol=1e-6)


def test_geometric_median_and_medoid_of_real_seasons(sample):
    stack, cloudy = sample
    part, left_out = np.ascontiguousarray(stack[:, :, ::16, ::16]), np.ascontiguousarray(cloudy[:, ::16, ::16])
    found, chosen = cpu.geomad(part, 1e-4, 0.0, left_out), cpu.medoid(part, left_out)
    valid = (part != 0).all(axis=0) & ~left_out
    for row, column in list(np.argwhere(valid.sum(axis=0) > 2))[::5]:
        dates = np.flatnonzero(valid[:, row, column])
        points = part[:, dates, row, column].T.astype(float)
        sums = [
            np.sqrt(((points - centre) ** 2).sum(axis=1)).sum()
            for centre in (found.median[:, row, column], weiszfeld(points))
        ]
        assert sums[0] <= sums[1] * (1 + 1e-4) + 0.5
        of_each = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2)).sum(axis=1)
        assert of_each[dates.tolist().index(chosen[row, column])] <= of_each.min() * (1 + 1e-5)


def test_dilation_is_that_of_scipy(sample):
    from scipy import ndimage

    _, cloudy = sample
    flags = np.ascontiguousarray(cloudy[:, :200, :200])
    squared = squared_distance(flags, 5)
    for date, found in zip(flags, squared, strict=True):
        exact = ndimage.distance_transform_edt(~date) if date.any() else np.full(date.shape, 99.0)
        np.testing.assert_array_equal(found <= 25, exact <= 5)
        np.testing.assert_allclose(np.sqrt(found)[exact <= 5], exact[exact <= 5], rtol=1e-6)


PATCH = "s1s2-worldcereal-training-patches/worldcerealtraining/00002806639B424A"
MAIZE, GRASS = 1200, 9120


@pytest.fixture(scope="module")
def season(shared_data):
    """118 dates of a labelled patch in Belgium: red and infrared, what is left out, days, and crops."""
    import h5py

    folder = shared_data / PATCH
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    with h5py.File(next(folder.glob("S2_L2A_10m*.nc"))) as file:
        stack = np.stack([file[name][:] for name in ("B04", "B08")])
        first = str(file["timestamp"].attrs["units"]).split("since ")[1][:10]
        days = np.datetime64(first, "D") + (file["timestamp"][:] // 86_400)
    with h5py.File(next(folder.glob("S2_L2A_20m*.nc"))) as file:
        cloudy = np.isin(file["SCL"][:], CLOUDY).repeat(2, axis=1).repeat(2, axis=2)
    with h5py.File(next(folder.glob("OUTPUT*.nc"))) as file:
        crops = file["CT"][:]
    return stack, cloudy, days.astype(np.int64), crops


def ndvi(red, infrared):
    with np.errstate(invalid="ignore", divide="ignore"):
        return (infrared - red) / (infrared + red)


def test_smooth_curves_of_a_real_year_solve_their_equation(season):
    """Against the dense matrix of all days, on irregular dates with real clouds."""
    stack, cloudy, days, _ = season
    part, left_out = stack[1][:, ::13, ::13], np.ascontiguousarray(cloudy[:, ::13, ::13])
    wanted = np.arange(days[0], days[-1] + 1, 10)
    found = smooth(np.ascontiguousarray(part), days, wanted, 500.0, mask=left_out)
    every = np.arange(days[0], days[-1] + 1)
    bend = np.diff(np.eye(len(every)), 2, axis=0)
    stiff, compared = 500.0 * bend.T @ bend, 0
    for row, column in np.ndindex(part.shape[1:]):
        valid = (part[:, row, column] > 0) & ~left_out[:, row, column]
        weights, values = np.zeros(len(every)), np.zeros(len(every))
        weights[days[valid] - days[0]], values[days[valid] - days[0]] = 1, part[valid, row, column]
        curve = np.linalg.solve(stiff + np.diag(weights), values * weights)
        held = (wanted >= days[valid][0]) & (wanted <= days[valid][-1])
        np.testing.assert_allclose(found[held, row, column], curve[wanted[held] - days[0]], rtol=1e-4, atol=0.1)
        assert np.isnan(found[~held, row, column]).all()
        compared += held.sum()
    assert compared > 500


def test_smooth_dekads_tell_the_seasons_of_crops(season):
    stack, cloudy, days, crops = season
    wanted = np.arange(np.datetime64("2018-03-01"), np.datetime64("2018-10-01"), 10).astype(np.int64)
    red, infrared = (smooth(band, days, wanted, 500.0, mask=cloudy) for band in stack)
    greenness = ndvi(red, infrared)
    maize, grass = (np.nanmedian(greenness[:, crops == code], axis=1) for code in (MAIZE, GRASS))
    month = wanted.astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12 + 1
    assert month[maize.argmax()] in (7, 8) and maize.max() > 0.7
    assert maize[month == 5].min() < 0.35
    assert month[grass.argmax()] in (4, 5) and grass[(month > 3) & (month < 6)].min() > 0.6
    # No gaps, where months of clear dates alone have some.
    assert np.isfinite(greenness).mean() > 0.999


def test_monthly_medians_of_a_real_year_are_those_of_numpy(season):
    stack, cloudy, days, _ = season
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    for month in np.unique(months):
        dates = np.flatnonzero(months == month)
        part, left_out = np.ascontiguousarray(stack[0][dates]), np.ascontiguousarray(cloudy[dates])
        values = np.where(left_out | (part == 0), np.nan, part.astype(float))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.nanmedian(values, axis=0)
        np.testing.assert_allclose(cpu.median(part, left_out), expected, rtol=1e-6)
