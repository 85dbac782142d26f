"""The CPU kernels against numpy and exactextract."""

from __future__ import annotations

import warnings

import exactextract
import numpy as np
import pytest
import shapely
from affine import Affine
from exactextract.raster import NumPyRasterSource
from hypothesis import given
from hypothesis import strategies as st

from hpckit.reduce import kernels
from hpckit.reduce.kernels import cpu
from hpckit.reduce.signatures.index import build_index
from tests.unit.kernel_cases import PERCENTILES, random_case, reference, valid_values, weighted_quantile

seeds = st.integers(0, 2**31)


@given(seeds, st.sampled_from(["uint8", "uint16", "float32"]), st.booleans(), st.booleans())
def test_plain_statistics_equal_numpy(seed, dtype, masked, with_pixels):
    case = random_case(seed, dtype, with_pixels=with_pixels)
    raster, offsets, pixels, _, excluded = case
    nodata = None if dtype == "float32" else 0
    found = cpu.signatures(raster, offsets, pixels, None, excluded if masked else None, nodata, PERCENTILES)
    for zone in range(len(offsets) - 1):
        values, _ = valid_values(case, zone, nodata, masked=masked)
        assert found.valid[zone] == len(values)
        assert found.total[zone] == offsets[zone + 1] - offsets[zone]
        np.testing.assert_allclose(found.values[zone], reference(values), rtol=1e-9, atol=1e-9)


@given(seeds, st.sampled_from(["uint16", "float32"]), st.booleans())
def test_weighted_statistics_follow_their_definition(seed, dtype, masked):
    case = random_case(seed, dtype)
    raster, offsets, pixels, weights, excluded = case
    nodata = None if dtype == "float32" else 0
    found = cpu.signatures(raster, offsets, pixels, weights, excluded if masked else None, nodata, PERCENTILES)
    for zone in range(len(offsets) - 1):
        values, share = valid_values(case, zone, nodata, masked=masked)
        assert found.valid[zone] == pytest.approx(share.sum())
        if not len(values):
            assert np.isnan(found.values[zone]).all()
            continue
        mean = np.average(values, weights=share)
        spread = np.sqrt(np.average((values - mean) ** 2, weights=share))
        np.testing.assert_allclose(found.values[zone, :2], (mean, spread), rtol=1e-9, atol=1e-9)
        expected = [weighted_quantile(values, share, p / 100) for p in PERCENTILES]
        np.testing.assert_allclose(found.values[zone, 4:], expected, rtol=1e-9, atol=1e-9)


def test_weights_of_one_give_the_plain_mean_deviation_and_extremes():
    raster, offsets, pixels, _, _ = random_case(3, "uint16")
    plain = cpu.signatures(raster, offsets, pixels, None, None, 0, PERCENTILES)
    ones = np.ones(offsets[-1], np.float32)
    weighted = cpu.signatures(raster, offsets, pixels, ones, None, 0, PERCENTILES)
    np.testing.assert_allclose(weighted.values[:, :4], plain.values[:, :4], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_fraction_mode_equals_exactextract(dtype):
    random = np.random.default_rng(5)
    shape, transform = (60, 70), Affine(10, 0, 600000, 0, -10, 5300040)
    # Integers of a narrow range: many pixels are equal.
    raster = random.normal(0.4, 0.2, shape).astype(np.float32)
    if dtype == "uint16":
        raster = random.integers(1000, 1040, shape).astype(np.uint16)
    zones = [
        shapely.Point(x, y).buffer(radius)
        for x, y, radius in zip(
            random.uniform(600050, 600650, 40),
            random.uniform(5299500, 5300000, 40),
            random.uniform(8, 200, 40),
            strict=True,
        )
    ]
    index = build_index(np.array(zones), np.arange(40, dtype=np.int32), transform, shape, "fraction")
    found = cpu.signatures(raster.ravel(), index.offsets, index.pixels, index.weights, None, None, PERCENTILES)
    # As floats: of integers exactextract gives quantiles cut to integers.
    source = NumPyRasterSource(raster.astype(float), xmin=600000, ymin=5299440, xmax=600700, ymax=5300040)
    features = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(z)} for z in zones]
    operations = {"count": "count", "mean": "mean", "stdev": "stdev"}
    operations |= {f"quantile_{p:.0f}": f"quantile(q={p / 100})" for p in PERCENTILES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = exactextract.exact_extract(source, features, list(operations.values()))
    for zone, result in enumerate(results):
        numbers = [result["properties"][name] for name in operations]
        assert found.total[zone] == pytest.approx(numbers[0], rel=1e-6)
        np.testing.assert_allclose(found.values[zone, [0, 1]], numbers[1:3], rtol=1e-6)
        np.testing.assert_allclose(found.values[zone, 4:], numbers[3:], rtol=1e-6, atol=1e-6)


def test_large_values_do_not_overflow_or_cancel():
    raster = np.full(3_000_000, 65535, np.uint16)
    raster[0] = 65534
    offsets = np.array([0, 3_000_000])
    found = cpu.signatures(raster, offsets, None, None, None, 0, PERCENTILES)
    np.testing.assert_allclose(found.values[0, :2], (raster.mean(dtype=float), raster.std(dtype=float)), rtol=1e-9)


def test_outliers_do_not_spoil_percentiles():
    raster = np.concatenate([np.arange(1000, 2000), [65535, 1]]).astype(np.uint16)
    found = cpu.signatures(raster, np.array([0, 1002]), None, None, None, 0, PERCENTILES)
    np.testing.assert_allclose(found.values[0], reference(raster.astype(float)))


@given(seeds, st.booleans())
def test_class_counts(seed, weighted):
    raster, offsets, pixels, weights, _ = random_case(seed, "uint8")
    counts = cpu.histogram(raster, offsets, pixels, weights if weighted else None)
    for zone in range(len(offsets) - 1):
        entries = slice(offsets[zone], offsets[zone + 1])
        share = weights[entries].astype(float) if weighted else None
        expected = np.bincount(raster[pixels[entries]], weights=share, minlength=256)
        np.testing.assert_allclose(counts[zone], expected, atol=1e-9)


def test_no_zones():
    found = cpu.signatures(np.zeros(4, np.uint16), np.array([0]), None, None, None, 0, PERCENTILES)
    assert found.values.shape == (0, 4 + len(PERCENTILES))


def test_asking_for_a_gpu_where_there_is_none_says_so():
    from numba import cuda

    if cuda.is_available():
        pytest.skip("there is a GPU")
    assert kernels.select("auto") is cpu
    with pytest.raises(RuntimeError, match="device: auto"):
        kernels.select("cuda")
