"""The CUDA kernels give the numbers of the CPU kernels, in numba's simulator or on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator import SIMULATED, passes_in_simulator


@pytest.mark.slow
@pytest.mark.skipif(SIMULATED, reason="this is the run in the simulator")
def test_in_the_simulator():
    passes_in_simulator(__file__)


def _cuda():
    from numba import cuda

    if not SIMULATED and not cuda.is_available():
        pytest.skip("no GPU; the simulator runs in a process of its own")
    from hpckit.reduce.kernels import cuda as twin

    return twin


@pytest.mark.parametrize(
    ("dtype", "weighted", "masked"),
    [
        ("uint8", False, True),
        ("uint16", False, False),
        ("uint16", True, True),
        ("float32", False, True),
        ("float32", True, False),
    ],
)
def test_statistics_equal_those_of_the_cpu(dtype, weighted, masked):
    from hpckit.reduce.kernels import cpu
    from tests.unit.kernel_cases import random_case

    percentiles = np.array([0.0, 60.0, 100.0])
    raster, offsets, pixels, weights, excluded = random_case(1, dtype, zones=4, largest=30, with_pixels=not masked)
    arguments = (
        raster,
        offsets,
        pixels,
        weights if weighted else None,
        excluded if masked else None,
        None if dtype == "float32" else 0,
        percentiles,
    )
    expected, found = cpu.signatures(*arguments), _cuda().signatures(*arguments)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_class_counts_equal_those_of_the_cpu():
    from hpckit.reduce.kernels import cpu
    from tests.unit.kernel_cases import random_case

    raster, offsets, pixels, weights, _ = random_case(2, "uint8", zones=4, largest=30)
    for share in (None, weights):
        expected, found = (module.histogram(raster, offsets, pixels, share) for module in (cpu, _cuda()))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_no_zones():
    empty = (np.zeros(4, np.uint16), np.array([0], dtype=np.int64), None, None, None, 0, np.array([50.0]))
    assert _cuda().signatures(*empty).values.shape == (0, 5)
