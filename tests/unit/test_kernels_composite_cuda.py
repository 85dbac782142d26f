"""The CUDA kernels of composites give the numbers of the CPU kernels, in numba's simulator or on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator import SIMULATED, passes_in_simulator
from tests.unit.composite_cases import reflectances


@pytest.mark.slow
@pytest.mark.skipif(SIMULATED, reason="this is the run in the simulator")
def test_in_the_simulator():
    passes_in_simulator(__file__)


@pytest.fixture(scope="module")
def twins():
    from numba import cuda

    if not SIMULATED and not cuda.is_available():
        pytest.skip("no GPU; the simulator runs in a process of its own")
    from hpckit.reduce.kernels import composite_cpu, composite_cuda

    return composite_cpu, composite_cuda


def case(dates: int = 7, shape: tuple[int, ...] = (3, 4)):
    random = np.random.default_rng(dates)
    stack = random.choice(np.array([0, 1, 900, 1000, 1001, 4000, 65534, 65535], np.uint16), (dates, *shape))
    mask = random.random(stack.shape) < 0.3
    mask[:, 0, 0] = True
    return stack, mask


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("dates", [1, 7])
def test_one_band(twins, masked, dates):
    cpu, gpu = twins
    stack, mask = case(dates)
    left_out = mask if masked else None
    wanted = np.array([0.0, 30.0, 50.0, 100.0])
    np.testing.assert_allclose(gpu.percentiles(stack, wanted, left_out), cpu.percentiles(stack, wanted, left_out))
    for found, expected in zip(gpu.summary(stack, left_out), cpu.summary(stack, left_out), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    days, steps = np.arange(dates) * 5.0, np.array([-1.0, 0.0, 3.0, 11.0, 30.0])
    np.testing.assert_allclose(
        gpu.interpolate(stack, days, steps, left_out), cpu.interpolate(stack, days, steps, left_out), rtol=1e-6
    )


@pytest.mark.parametrize(("lam", "envelope"), [(0.0, 0.5), (300.0, 0.5), (300.0, 0.9)])
def test_smooth_curves(twins, lam, envelope):
    cpu, gpu = twins
    stack, mask = case(9, (3, 5))
    mask[1:, 0, 1] = True  # one observation
    mask[2:, 0, 2] = True  # two
    days, steps = np.array([0, 5, 5, 9, 10, 22, 30, 31, 60]), np.arange(-9, 70, 6)
    for left_out in (mask, None):
        expected = cpu.smooth(stack, days, steps, lam, envelope, 4, left_out)
        found = gpu.smooth(stack, days, steps, lam, envelope, 4, left_out)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


def test_chosen_dates(twins):
    cpu, gpu = twins
    stack, mask = case()
    random = np.random.default_rng(3)
    nir = random.integers(0, 9000, stack.shape, dtype=np.uint16)
    np.testing.assert_array_equal(gpu.max_ndvi(stack, nir, 1000, mask), cpu.max_ndvi(stack, nir, 1000, mask))
    scores, table = random.random(7).astype(np.float32), random.random(256).astype(np.float32)
    distance = random.integers(0, 256, stack.shape, dtype=np.uint8)
    arguments = (stack, scores, distance, table, mask)
    np.testing.assert_array_equal(gpu.best_score(*arguments), cpu.best_score(*arguments))
    bands = reflectances(1, 3, 6, 12)
    np.testing.assert_array_equal(gpu.medoid(bands), cpu.medoid(bands))


@pytest.mark.parametrize("masked", [True, False])
def test_geometric_median(twins, masked):
    cpu, gpu = twins
    stack = reflectances(2, 3, 6, 10)
    mask = np.random.default_rng(2).random((6, 10)) < 0.3 if masked else None
    for found, expected in zip(gpu.geomad(stack, 1e-4, -0.1, mask), cpu.geomad(stack, 1e-4, -0.1, mask), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)


def test_too_many_bands(twins):
    _, gpu = twins
    with pytest.raises(ValueError, match="use device: cpu"):
        gpu.geomad(np.ones((17, 1, 1), np.uint16))
