"""Smoothing: Whittaker's smoother as its matrices say, whatever the dates, masks and weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import diags
from scipy.sparse.linalg import spsolve

from hpckit.reduce.kernels import composite_cpu as cpu
from hpckit.reduce.kernels.smooth_cpu import LANES, MOST_TURNS
from tests.unit.composite_cases import as_floats, stacks

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
LAMBDAS = st.sampled_from([0.01, 1.0, 30.0, 1000.0, 1e5])
SHARES = st.sampled_from([0.5, 0.9, 0.2])


def whittaker(days: np.ndarray, values: np.ndarray, lam: float, share: float, wanted: np.ndarray) -> np.ndarray:
    """One series by the textbook: a sparse matrix with a row for each day, solved by SuperLU."""
    first = min(days.min(), wanted.min())
    count = max(days.max(), wanted.max()) - first + 1
    second = diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(max(count - 2, 0), count))
    knots, owner, seen = np.unique(days, return_inverse=True, return_counts=True)
    means = np.bincount(owner, values) / seen
    asymmetry, curve = np.ones(len(knots)), None
    for _ in range(MOST_TURNS + 1):
        weights, right = np.zeros(count), np.zeros(count)
        weights[knots - first] = seen * asymmetry
        right[knots - first] = seen * asymmetry * means
        curve = spsolve((diags(weights) + lam * (second.T @ second)).tocsc(), right)
        new = np.where(means > curve[knots - first], 2 * share, 2 * (1 - share))
        if share == 0.5 or (new == asymmetry).all():
            break
        asymmetry = new
    return curve[wanted - first]


@st.composite
def dated_stacks(draw, most_dates: int = 14):
    """A stack, its mask, and ascending days: near and far from each other, some the same."""
    stack, mask = draw(stacks(most_dates=most_dates, most_pixels=2 * LANES + 3))
    gaps = draw(st.lists(st.integers(0, 30), min_size=len(stack), max_size=len(stack)))
    return stack, mask, 19_000 + np.cumsum(gaps)


@SETTINGS
@given(dated_stacks(), LAMBDAS, SHARES)
def test_curves_are_those_of_the_sparse_matrix(case, lam, share):
    stack, mask, days = case
    wanted = np.arange(days[0] - 12, days[-1] + 12, 3)
    found = cpu.smooth(stack, days, wanted, lam, share, 1000, mask)
    values = as_floats(stack, mask)
    for pixel in range(0, stack.shape[1], 5):
        known = np.isfinite(values[:, pixel])
        if len(np.unique(days[known])) < 2:
            continue  # singular there; see the tests of few observations
        expected = whittaker(days[known], values[known, pixel], lam, share, wanted)
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-4, atol=0.05 + 1e-6 * np.abs(expected).max())


@SETTINGS
@given(dated_stacks(), LAMBDAS, SHARES, st.sampled_from([(0, 7), (2, 900), (0, 65535), (-3, 60000)]))
def test_lines_stay_lines(case, lam, share, line):
    stack, mask, days = case
    straight = line[0] * (days - days[0]) + line[1]
    stack = np.where(stack == 0, 0, straight[:, None]).astype(np.uint16)
    wanted = np.arange(days[0] - 5, days[-1] + 5)
    found = cpu.smooth(stack, days, wanted, lam, share, 1000, mask)
    several = (np.isfinite(as_floats(stack, mask)).sum(0) > 1) & (len(np.unique(days)) == len(days))
    expected = line[0] * (wanted - days[0]) + line[1]
    np.testing.assert_allclose(
        found[:, several], np.repeat(expected[:, None], several.sum(), 1), rtol=1e-5, atol=0.01
    )


@SETTINGS
@given(dated_stacks())
def test_without_lambda_it_goes_through_the_observations(case):
    stack, mask, days = case
    days = days + np.arange(len(days))  # no two on one day
    found = cpu.smooth(stack, days, days, 0.0, 0.5, 0, mask)
    values = as_floats(stack, mask)
    known = np.isfinite(values)
    np.testing.assert_allclose(found[known], values[known], rtol=1e-6)


@SETTINGS
@given(dated_stacks(), LAMBDAS, st.integers(0, 20))
def test_values_are_there_as_far_as_the_curve_goes_on(case, lam, extend):
    stack, mask, days = case
    wanted = np.arange(days[0] - 30, days[-1] + 30)
    found = cpu.smooth(stack, days, wanted, lam, 0.5, extend, mask)
    for pixel, values in enumerate(as_floats(stack, mask).T):
        seen = days[np.isfinite(values)]
        inside = np.zeros(len(wanted), bool)
        if len(seen):
            inside = (wanted >= seen[0] - extend) & (wanted <= seen[-1] + extend)
        np.testing.assert_array_equal(np.isfinite(found[:, pixel]), inside)


@SETTINGS
@given(dated_stacks(), LAMBDAS, SHARES)
def test_a_pixel_does_not_depend_on_its_neighbours(case, lam, share):
    stack, mask, days = case
    wanted = np.arange(days[0], days[-1] + 1, 4)
    whole = cpu.smooth(stack, days, wanted, lam, share, 9, mask)
    for pixel in (0, stack.shape[1] // 2, stack.shape[1] - 1):
        left_out = None if mask is None else mask[:, pixel : pixel + 1]
        alone = cpu.smooth(stack[:, pixel : pixel + 1], days, wanted, lam, share, 9, left_out)
        np.testing.assert_array_equal(whole[:, pixel], alone[:, 0])


@pytest.mark.parametrize("value", [1, 65535])
def test_few_observations(value):
    days, wanted = np.array([100, 105, 105, 130]), np.arange(90, 150)
    stack = np.zeros((4, 4), np.uint16)  # none, one, two on one day, two
    stack[1, 1] = stack[1, 2] = stack[2, 2] = stack[0, 3] = stack[3, 3] = value
    found = cpu.smooth(stack, days, wanted, 1000.0, 0.9, 3)
    assert np.isnan(found[:, 0]).all()
    for pixel, first, last in ((1, 105, 105), (2, 105, 105), (3, 100, 130)):
        inside = (wanted >= first - 3) & (wanted <= last + 3)
        np.testing.assert_array_equal(np.isfinite(found[:, pixel]), inside)
        np.testing.assert_allclose(found[inside, pixel], value, rtol=1e-6)


def test_no_more_than_can_be_stored():
    """A curve may pass the ends of the numbers; what is stored does not."""
    days = np.arange(0, 60, 6)
    stack = np.array([1, 65535, 65535, 1, 65535, 1, 1, 65535, 65535, 1], np.uint16)[:, None]
    found = cpu.smooth(stack, days, np.arange(-10, 70), 0.0, 0.5, 30)
    assert found.max() > 65535 and found.min() < 1
    stored = cpu.rounded(found)
    assert stored.max() == 65535 and stored.min() == 1


def test_an_envelope_passes_over_what_clouds_have_lowered():
    """NDVI of a season with a third of the dates lowered by clouds that the mask has missed."""
    random = np.random.default_rng(4)
    days, wanted = np.arange(0, 240, 5), np.arange(10, 230, 10)
    truth = 36_000 + 5_000 * np.sin(np.pi * days / 240)
    lowered = (random.random((len(days), 60)) < 0.3) * random.uniform(500, 5000, (len(days), 60))
    stack = (truth[:, None] - lowered + random.normal(0, 60, (len(days), 60))).astype(np.uint16)
    expected = np.interp(wanted, days, truth)[:, None]
    plain = np.abs(cpu.smooth(stack, days, wanted, 1000.0) - expected).mean()
    upper = np.abs(cpu.smooth(stack, days, wanted, 1000.0, 0.95) - expected).mean()
    assert upper < plain / 3


def test_more_pixels_than_a_block_in_rows_and_columns():
    random = np.random.default_rng(6)
    stack = random.integers(0, 9000, (9, 45, 50), dtype=np.uint16)
    days, wanted = np.arange(9) * 7, np.array([3, 30])
    found = cpu.smooth(stack, days, wanted, 100.0)
    assert found.shape == (2, 45, 50) and found.dtype == np.float32
    row = cpu.smooth(np.ascontiguousarray(stack[:, 44, :]), days, wanted, 100.0)
    np.testing.assert_array_equal(found[:, 44, :], row)
