"""Composites of blocks: periods, bad input, and reading parts of arrays."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.campaign.composite import Composite
from hpckit.cubes.arrays import read_array
from hpckit.cubes.objects import objects_at
from hpckit.cubes.region import read_region
from hpckit.errors import CubeError
from hpckit.reduce.composites.compute import Observations, compose, day_scores, distance_scores, index_stack
from hpckit.reduce.composites.periods import periods
from hpckit.reduce.composites.products import codings, groups, index_coding, layers
from hpckit.reduce.kernels import composite_float
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.box import Box
from tests.unit.composite_cases import reflectances

pytestmark = pytest.mark.slow


class _Date:
    def __init__(self, day: int) -> None:
        self.time = dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC) + dt.timedelta(days=day)


STEPPING = ["interpolate", "smooth"]
METHODS = ["median", "p90", "mean", "min", "max", "count", "best", "max_ndvi", "medoid", "geomad", *STEPPING]


def composed(stack: np.ndarray, excluded: np.ndarray | None, period: str = "campaign", days: int = 30):
    composite = Composite.model_validate(
        {
            "name": "c",
            "kind": "composite",
            "bands": ["B04", "B08"],
            "indices": {"NDVI": "(B08 - B04) / (B08 + B04)"},
            "methods": METHODS,
            "period": period,
            "device": "cpu",
        }
    )
    (group,) = groups(composite, SENTINEL2.parse)
    bands = {"B04": stack[0], "B08": stack[1]}
    bands["NDVI"] = index_stack(
        composite.indices["NDVI"], bands, codings(composite, SENTINEL2.parse)["NDVI"], SENTINEL2.parse
    )
    dates = [_Date(5 * number) for number in range(stack.shape[1])]
    steps = periods(dt.date(2024, 5, 1), dt.date(2024, 5, 1) + dt.timedelta(days=days - 1), composite.period)
    found = {
        (name, number): values
        for name, number, values in compose(Observations(bands, excluded, None), composite, group, steps, dates)
    }
    wanted = {layer.name: layer for layer in layers(composite, group)}
    assert {name for name, _ in found} <= set(wanted)
    for (name, _), values in found.items():
        assert values.dtype == wanted[name].dtype, name
    return found, wanted


def test_every_layer_is_there_and_means_what_it_says():
    stack = reflectances(1, 2, 6, 40).reshape(2, 6, 5, 8)
    found, wanted = composed(stack, np.zeros(stack.shape[1:], bool))
    assert {name for name, _ in found} == set(wanted)
    date = found["max_ndvi_date", 0]
    first = (dt.date(2024, 5, 1) - dt.date(1970, 1, 1)).days
    assert set(np.unique(date)) <= {0, *range(first, first + 30, 5)}
    position = (date.astype(int) - first) // 5
    picked = np.take_along_axis(stack[0], position[None], axis=0)[0]
    np.testing.assert_array_equal(found["B04_max_ndvi", 0], np.where(date > 0, picked, 0))


INDICES = {
    "NDVI": "(B08 - B04) / (B08 + B04)",
    "SR": "B08 / B04",
    "CIRE": "B08 / B04 - 1",
    "EVI": "2.5 * (B08 - B04) / (B08 + 6 * B04 + 1)",
    "FINE": "(B08 - B04) / 10000",
    "WIDE": "1000 * (B08 - B04)",
    "HALF": "maximum(-1, minimum(1, (B08 - B04) / (B08 + B04)))",
    "SHIFTED": "5 + minimum(1, abs(B08 - B04))",
}
INTEGERS = {"FINE", "HALF", "SHIFTED"}


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(INDICES)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_indices_of_any_range_are_those_of_numpy(seed, name, dark):
    """Also where reflectances are negative and nearly cancel: nothing is clipped, whatever the method."""
    random = np.random.default_rng(seed)
    stack = random.integers(1, 1200 if dark else 12000, (2, 7, 6, 8)).astype(np.uint16)
    stack[:, random.random((7, 6, 8)) < 0.3] = 0
    methods = ["median", "p90", "mean", "min", "max", "interpolate"]
    spec = {"name": "c", "kind": "composite", "bands": ["B04", "B08"], "indices": {name: INDICES[name]}}
    composite = Composite.model_validate({**spec, "methods": methods, "device": "cpu"})
    (group,) = groups(composite, SENTINEL2.parse)
    coding = codings(composite, SENTINEL2.parse)[name]
    assert (coding.dtype == "uint16") == (name in INTEGERS)
    bands = {"B04": stack[0], "B08": stack[1]}
    observed = Observations({**bands, name: index_stack(INDICES[name], bands, coding, SENTINEL2.parse)}, None, None)
    steps = periods(dt.date(2024, 5, 1), dt.date(2024, 6, 4), "campaign")
    found = {
        layer: values
        for layer, _, values in compose(observed, composite, group, steps, [_Date(5 * n) for n in range(7)])
    }
    wanted = {layer.name: layer for layer in layers(composite, group)}
    reflectance = {
        band: np.where(dn == 0, np.nan, (dn.astype(np.float32) - 1000) * np.float32(1e-4))
        for band, dn in bands.items()
    }
    functions = {"minimum": np.minimum, "maximum": np.maximum, "abs": np.abs}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = eval(INDICES[name], {"__builtins__": {}, **functions}, reflectance).astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        expected = {
            "median": np.nanmedian(values, 0),
            "p90": np.nanpercentile(values, 90, axis=0),
            "mean": np.nanmean(values, 0),
            "min": np.nanmin(values, 0),
            "max": np.nanmax(values, 0),
        }
    for method, array in expected.items():
        layer, stored = wanted[f"{name}_{method}"], found[f"{name}_{method}"]
        assert stored.dtype == layer.dtype
        missing = np.isnan(stored) if layer.dtype == "float32" else stored == 0
        np.testing.assert_array_equal(missing, np.isnan(array))
        physical = np.where(missing, np.nan, stored.astype(np.float64) * layer.scale + layer.offset)
        tolerance = 1.1e-4 if layer.dtype == "uint16" else 0
        np.testing.assert_allclose(
            physical, array, rtol=1e-4, atol=tolerance + 1e-5 * np.nanmax(np.abs(array), initial=0)
        )


@given(st.integers(1, 75), st.integers(1, 600), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_float_kernels_are_numpys(dates, pixels, missing, seed):
    random = np.random.default_rng(seed)
    stack = (random.normal(0, 1, (dates, pixels)) * 10 ** random.uniform(-6, 6, (dates, pixels))).astype(np.float32)
    stack[random.random(stack.shape) < missing] = np.nan
    mask = random.random(stack.shape) < 0.1
    known = np.where(mask, np.nan, stack).astype(np.float64)
    wanted = np.array([0.0, 10, 50, 97.5, 100])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanpercentile(known, wanted, axis=0)
        summary = (np.nanmean(known, 0), np.nanmin(known, 0), np.nanmax(known, 0))
    np.testing.assert_allclose(composite_float.percentiles(stack, wanted, mask), expected, rtol=1e-5, atol=1e-30)
    found = composite_float.summary(stack, mask)
    np.testing.assert_array_equal(found.observations, np.isfinite(known).sum(0))
    for ours, theirs in zip(found[1:], summary, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * np.nanmax(np.abs(known), initial=0))


def test_a_smooth_curve_of_an_index_is_that_of_its_band():
    """Index of one band, times 1000: both kinds of kernels draw the same curve, whatever they count in."""
    stack = reflectances(5, 1, 6, 40)[0].reshape(6, 5, 8)
    spec = {"name": "c", "kind": "composite", "bands": ["B04"], "indices": {"BIG": "1000 * B04"}, "device": "cpu"}
    composite = Composite.model_validate({**spec, "methods": ["smooth", "interpolate", "best", "max", "count"]})
    (group,) = groups(composite, SENTINEL2.parse)
    big = index_stack("1000 * B04", {"B04": stack}, codings(composite, SENTINEL2.parse)["BIG"], SENTINEL2.parse)
    steps = periods(dt.date(2024, 5, 1), dt.date(2024, 5, 30), "dekad")
    excluded = np.random.default_rng(1).random(stack.shape) < 0.2
    dates = [_Date(5 * number) for number in range(6)]
    observed = Observations({"B04": stack, "BIG": big}, excluded, None)
    found = {(layer, n): values for layer, n, values in compose(observed, composite, group, steps, dates)}
    for method in ("smooth", "interpolate", "best", "max"):
        for number in range(3):
            band, index = found[f"B04_{method}", number], found[f"BIG_{method}", number]
            np.testing.assert_array_equal(band == 0, np.isnan(index))
            seen = (band > 1) & (band < 65535)
            np.testing.assert_allclose(index[seen], (band[seen] * 1e-4 - 0.1) * 1000, atol=0.06)


def test_numbers_of_bounded_indices():
    assert (
        index_coding(INDICES["HALF"], SENTINEL2.parse).offset == -3.2768
        and index_coding(INDICES["HALF"], SENTINEL2.parse).scale == 1e-4
    )
    coding = index_coding(INDICES["SHIFTED"], SENTINEL2.parse)
    assert coding.dtype == "uint16" and coding.offset < 5 and coding.offset + 65535 * coding.scale > 6
    assert index_coding(INDICES["HALF"], SENTINEL2.parse, overshooting=True).dtype == "float32"


def test_all_masked_gives_nodata_and_no_fault():
    stack = reflectances(1, 2, 6, 40).reshape(2, 6, 5, 8)
    found, wanted = composed(stack, np.ones(stack.shape[1:], bool))
    for (name, _), values in found.items():
        nodata = wanted[name].nodata or 0
        assert np.isnan(values).all() if nodata != nodata else (values == nodata).all(), name


def test_one_observation_is_the_composite():
    stack = reflectances(2, 2, 6, 40, clouds=0).reshape(2, 6, 5, 8)
    stack[stack == 0] = 1200
    excluded = np.ones(stack.shape[1:], bool)
    excluded[3] = False
    found, _ = composed(stack, excluded)
    for method in ("median", "p90", "mean", "min", "max", "best", "medoid", "geomad"):
        np.testing.assert_array_equal(found[f"B04_{method}", 0], stack[0, 3], err_msg=method)
    assert (found["count", 0] == 1).all() and (found["geomad_emad", 0] < 1e-5).all()


@pytest.mark.parametrize("value", [1, 65535])
def test_values_at_the_ends_stay_there(value):
    stack = np.full((2, 5, 4, 4), value, dtype=np.uint16)
    stack[:, 0] = 0
    found, _ = composed(stack, None)
    for method in ("median", "p90", "mean", "min", "max", "medoid", "geomad"):
        assert (found[f"B08_{method}", 0] == value).all(), method
    assert (found["count", 0] == 4).all()


def test_a_period_without_dates_has_nothing_but_what_comes_from_all_dates():
    stack = reflectances(3, 2, 2, 20, clouds=0).reshape(2, 2, 4, 5)
    found, _ = composed(stack, None, period="dekad", days=60)
    assert {number for name, number in found if not name.endswith(tuple(STEPPING))} == {0}
    for number, method in ((0, "interpolate"), (1, "smooth")):
        assert (found[f"B08_{method}", number] > 0).any(), "the curve goes on for half a month"


def test_scores_like_the_day_and_distance_that_they_are_told_to():
    composite = Composite.model_validate(
        {"name": "c", "kind": "composite", "bands": ["B04"], "score": {"day": 130, "cloud_distance": "600m"}}
    )
    (period,) = periods(dt.date(2024, 1, 1), dt.date(2024, 12, 31), "campaign")
    days = [(dt.date(2024, 1, 1) - dt.date(1970, 1, 1)).days + number for number in range(366)]
    assert int(day_scores(composite, days, period).argmax()) == 129
    scores = distance_scores(composite)
    assert scores[0] < 0.01 and scores[30] > 0.99 and (np.diff(scores) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_regions_are_parts_of_the_array(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "region.zarr" / "t" / "r10m" / "B04"
    if not folder.exists():
        random = np.random.default_rng(0)
        values = random.integers(0, 9, (7, 70, 50), dtype=np.uint16)
        values[:, :16, :16] = 0
        array = zarr.create_array(
            folder,
            shape=values.shape,
            dtype="uint16",
            shards=(4, 32, 32),
            chunks=(1, 16, 16),
            compressors=zarr.codecs.BloscCodec(cname="zstd", shuffle="bitshuffle"),
            fill_value=0,
        )
        array[:] = values
    values = zarr.open_array(folder, mode="r")[:]
    top, left = data.draw(st.integers(-5, 69)), data.draw(st.integers(-5, 49))
    box = Box(top, left, top + data.draw(st.integers(1, 80)), left + data.draw(st.integers(1, 60)))
    first = data.draw(st.integers(0, 6))
    dates = range(first, data.draw(st.integers(first + 1, 7)))
    found = read_region(
        read_array(objects_at(folder.parents[2]), "t/r10m/B04"),
        box,
        dates,
        threads=data.draw(st.sampled_from([1, 3])),
    )
    padded = np.pad(values, ((0, 0), (100, 100), (100, 100)))
    expected = padded[dates.start : dates.stop, box.top + 100 : box.bottom + 100, box.left + 100 : box.right + 100]
    np.testing.assert_array_equal(found, expected)


def test_a_damaged_shard_is_named(tmp_path):
    array = zarr.create_array(
        tmp_path / "a", shape=(1, 32, 32), dtype="uint16", shards=(1, 32, 32), chunks=(1, 16, 16)
    )
    array[:] = 1
    shard = tmp_path / "a" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(CubeError, match="c/0/0/0"):
        read_region(read_array(objects_at(tmp_path), "a"), Box(0, 0, 32, 32))
