"""Composites of real pixels: twelve dates of Sentinel-2 with their scene classification."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hpckit.reduce.kernels import composite_cpu as cpu
from hpckit.reduce.kernels.nearness import squared_distance
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
