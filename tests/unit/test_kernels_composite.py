"""Composites of pixels over time: every number is numpy's, whatever the values, masks and shapes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpckit.reduce.kernels import composite_cpu as cpu
from hpckit.reduce.kernels import geomad_cpu
from tests.unit.composite_cases import as_floats, reflectances, stacks, weiszfeld

warnings.filterwarnings("ignore", message="All-NaN|Mean of empty|Degrees of freedom")
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(stacks(), st.lists(st.floats(0, 100), min_size=1, max_size=3))
def test_percentiles_are_those_of_numpy(case, wanted):
    stack, mask = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanpercentile(as_floats(stack, mask), wanted, axis=0)
    np.testing.assert_allclose(cpu.percentiles(stack, np.array(wanted), mask), expected, rtol=1e-6)


@SETTINGS
@given(stacks())
def test_summary_is_that_of_numpy(case):
    stack, mask = case
    values = as_floats(stack, mask)
    found = cpu.summary(stack, mask)
    np.testing.assert_array_equal(found.observations, np.isfinite(values).sum(axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(found.mean, np.nanmean(values, axis=0), rtol=1e-6)
        np.testing.assert_array_equal(found.minimum, np.nan_to_num(np.nanmin(values, axis=0)))
        np.testing.assert_array_equal(found.maximum, np.nan_to_num(np.nanmax(values, axis=0)))


def test_more_pixels_than_a_block_and_dates_in_rows_and_columns():
    random = np.random.default_rng(5)
    stack = random.integers(0, 4000, (61, 33, 50), dtype=np.uint16)
    mask = random.random(stack.shape) < 0.5
    found = cpu.median(stack, mask)
    assert found.shape == (33, 50) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.nanmedian(as_floats(stack, mask), axis=0), rtol=1e-6)


def test_as_many_dates_as_there_may_be():
    stack = np.full((65535, 3), 65535, dtype=np.uint16)
    stack[:, 1] = np.arange(1, 65536)
    stack[:, 2] = 0
    np.testing.assert_array_equal(cpu.median(stack), [65535, 32768, np.nan])
    np.testing.assert_array_equal(cpu.summary(stack).mean, [65535, 32768, np.nan])


@SETTINGS
@given(stacks(), st.integers(0, 2**32 - 1))
def test_greatest_ndvi(case, seed):
    red, mask = case
    nir = np.random.default_rng(seed).integers(0, 9000, red.shape, dtype=np.uint16)
    low, high = as_floats(red, mask) - 1000, as_floats(nir, mask) - 1000
    with np.errstate(all="ignore"):
        ndvi = np.where(low + high > 0, (high - low) / (high + low), np.nan)
    found = cpu.max_ndvi(red, nir, 1000, mask)
    some = np.isfinite(ndvi).any(axis=0)
    np.testing.assert_array_equal(found >= 0, some)
    chosen = ndvi[found[some], np.flatnonzero(some)]
    np.testing.assert_allclose(chosen, np.nanmax(ndvi[:, some], axis=0), rtol=1e-4, atol=1e-6)


@SETTINGS
@given(stacks(), st.integers(0, 2**32 - 1))
def test_best_score_and_take(case, seed):
    stack, mask = case
    random = np.random.default_rng(seed)
    days, table = random.random(len(stack)).astype(np.float32), random.random(256).astype(np.float32)
    distance = random.integers(0, 256, stack.shape, dtype=np.uint8)
    score = np.where(np.isnan(as_floats(stack, mask)), -1.0, days[:, None] + table[distance])
    expected = np.where(score.max(axis=0) >= 0, score.argmax(axis=0), -1)
    found = cpu.best_score(stack, days, distance, table, mask)
    np.testing.assert_array_equal(found, expected)
    values = np.where(expected >= 0, stack[expected, np.arange(stack.shape[1])], 0)
    np.testing.assert_array_equal(cpu.take(stack, found), values)


@SETTINGS
@given(stacks(), st.lists(st.floats(-50, 400), min_size=1, max_size=9))
def test_interpolation_is_that_of_numpy(case, wanted):
    stack, mask = case
    days, wanted = np.cumsum(1 + np.arange(len(stack)) % 7).astype(float), np.sort(np.array(wanted))
    found = cpu.interpolate(stack, days, wanted, mask)
    for pixel, values in enumerate(as_floats(stack, mask).T):
        known = np.isfinite(values)
        expected = np.full(len(wanted), np.nan)
        if known.any():
            expected = np.interp(wanted, days[known], values[known], left=np.nan, right=np.nan)
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-5)


@pytest.mark.parametrize(("bands", "dates", "clouds"), [(1, 9, 0.3), (4, 25, 0.2), (10, 3, 0.0), (6, 1, 0.0)])
def test_geometric_median_is_that_of_a_slow_one(bands, dates, clouds):
    stack = reflectances(bands, bands, dates, 70, clouds)
    mask = np.random.default_rng(1).random((dates, 70)) < 0.3
    found = geomad_cpu.geomad(stack, 1e-4, -0.1, mask)
    valid = (stack != 0).all(axis=0) & ~mask
    np.testing.assert_array_equal(found.observations, valid.sum(axis=0))
    for pixel in range(70):
        points = stack[:, valid[:, pixel], pixel].T * 1e-4 - 0.1
        if not len(points):
            assert np.isnan(found.median[:, pixel]).all() and np.isnan(found.emad[pixel])
            continue
        centre = found.median[:, pixel] * 1e-4 - 0.1
        exact = weiszfeld(points)
        sums = [np.sqrt(((points - c) ** 2).sum(axis=1)).sum() for c in (centre, exact)]
        assert sums[0] <= sums[1] * (1 + 1e-4) + 1e-6  # of three, the optimum may be one of them
        away = np.sqrt(((points - centre) ** 2).sum(axis=1))
        with np.errstate(invalid="ignore"):
            cosine = 1 - points @ centre / np.sqrt((points**2).sum(axis=1) * (centre**2).sum())
            bray = np.abs(points - centre).sum(axis=1) / np.abs(points + centre).sum(axis=1)
        np.testing.assert_allclose(found.emad[pixel], np.median(away), rtol=1e-3, atol=2e-6)
        np.testing.assert_allclose(found.smad[pixel], np.median(cosine), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.bcmad[pixel], np.median(bray), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("value", [1, 65535])
def test_geometric_median_of_equal_observations_is_the_observation(value):
    stack = np.full((3, 5, 2), value, dtype=np.uint16)
    stack[:, :, 1] = 0
    found = geomad_cpu.geomad(stack, 1e-4, -0.1)
    np.testing.assert_allclose(found.median[:, 0], value, rtol=1e-6)
    np.testing.assert_allclose([found.emad[0], found.smad[0], found.bcmad[0]], 0, atol=1e-6)
    assert np.isnan(found.median[:, 1]).all() and found.observations.tolist() == [5, 0]


def test_medoid_has_the_least_sum_of_distances():
    stack = reflectances(3, 4, 12, 130)
    mask = np.random.default_rng(2).random((12, 130)) < 0.4
    mask[:, 7] = True
    found = geomad_cpu.medoid(stack, mask)
    valid = (stack != 0).all(axis=0) & ~mask
    for pixel in range(130):
        dates = np.flatnonzero(valid[:, pixel])
        points = stack[:, dates, pixel].T.astype(float)
        if not len(points):
            assert found[pixel] == -1
            continue
        sums = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2)).sum(axis=1)
        assert sums[dates.tolist().index(found[pixel])] <= sums.min() * (1 + 1e-5)
    assert found[7] == -1
