"""Composites of blocks: periods, bad input, and reading parts of arrays."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.composites.compute import Observations, compose, day_scores, distance_scores, index_stack
from hpckit.composites.periods import periods
from hpckit.composites.products import groups, layers
from hpckit.composites.settings import Composite
from hpckit.cube.read import read_info
from hpckit.cube.region import Box, read_region
from hpckit.errors import CubeError
from hpckit.scenes.bands import BandRef
from tests.unit.composite_cases import reflectances


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
    (group,) = groups(composite, BandRef.parse)
    bands = {"B04": stack[0], "B08": stack[1]}
    bands["NDVI"] = index_stack(composite.indices["NDVI"], bands)
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
    folder = tmp_path_factory.getbasetemp() / "region.zarr"
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
    found = read_region(read_info(folder), box, dates, threads=data.draw(st.sampled_from([1, 3])))
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
        read_region(read_info(tmp_path / "a"), Box(0, 0, 32, 32))
