"""Processes of arrays against numpy, pandas, Python's statistics and dateutil; lists and pixels agree."""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Band
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import FromParameter
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.parts import parts
from hpckit.processgraph.process import processes
from hpckit.testing.graphs import MemoryEnvironment, child, graph, step

STATISTICS = ("sum", "product", "mean", "median", "variance", "sd", "min", "max", "first", "last")
CUMULATED = ("cumsum", "cumproduct", "cummin", "cummax")
values = st.one_of(st.floats(-100, 100, width=32), st.just(math.nan), st.sampled_from([0.0, 1.0, 1.0, -2.5]))
stacks = st.sampled_from(["float32", "float64"]).flatmap(
    lambda dtype: arrays.arrays(dtype, st.tuples(st.integers(0, 30), st.integers(1, 40)), elements=values)
)


def run(name, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return processes()[name].run(**arguments)


def nulls(column):
    """An array of one pixel as a list of JSON."""
    return [None if np.isnan(item) else float(item) for item in column]


def plain(value):
    return math.nan if value is None else value


def callback(called):
    return Evaluation(graph(around=step("pi")), MemoryEnvironment()).value(called)


@pytest.mark.parametrize("name", STATISTICS)
@given(stacks, st.booleans())
def test_statistics_of_pixels_are_those_of_lists(name, stack, ignore):
    found = run(name, data=Labelled(stack), ignore_nodata=ignore)
    assert found.dtype == stack.dtype and found.shape == stack.shape[1:]
    expected = [plain(run(name, data=nulls(column), ignore_nodata=ignore)) for column in stack.T]
    with np.errstate(over="ignore"):
        expected = np.array(expected).astype(stack.dtype)
    # Where all elements are nearly one, the deviation is what rounding leaves of it.
    np.testing.assert_allclose(found, expected, rtol=1e-5 if stack.dtype == np.float32 else 1e-9, atol=1e-5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_statistics_of_lists_are_those_of_python(data):
    references = {
        "sum": math.fsum, "mean": statistics.fmean, "median": statistics.median,
        "variance": statistics.variance, "sd": statistics.stdev, "min": min, "max": max,
    }  # fmt: skip
    for name, reference in references.items():
        assert run(name, data=[None, *data]) == pytest.approx(reference(data), rel=1e-9, abs=1e-9)


@given(stacks, st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_quantiles(stack, shares):
    shares = sorted(shares)
    found = run("quantiles", data=Labelled(stack), probabilities=shares)
    assert found.values.shape == (len(shares), *stack.shape[1:])
    for column, made in zip(stack.T, found.values.T, strict=True):
        known = column[~np.isnan(column)].astype(np.float64)
        expected = np.quantile(known, shares) if len(known) else np.full(len(shares), np.nan)
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)
        of_list = run("quantiles", data=nulls(column), probabilities=shares)
        np.testing.assert_allclose(list(map(plain, of_list)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("elements", [1, 2, 3, 24, 31, 365, 1000])
def test_long_arrays_are_sorted(elements):
    random = np.random.default_rng(elements)
    stack = random.integers(-50, 50, (elements, 300)).astype(np.float32)
    stack[random.random(stack.shape) < 0.2] = np.nan
    stack[0, 0] = np.inf
    np.testing.assert_array_equal(run("sort", data=Labelled(stack), nodata=True).values, np.sort(stack, axis=0))
    np.testing.assert_array_equal(
        run("order", data=Labelled(stack), nodata=True).values, np.argsort(stack, axis=0, kind="stable")
    )


@given(stacks, st.booleans(), st.sampled_from([None, True, False]))
def test_order_and_sort_of_pixels_are_those_of_lists(stack, asc, nodata):
    ordered = run("order", data=Labelled(stack), asc=asc, nodata=nodata).values
    made = run("sort", data=Labelled(stack), asc=asc, nodata=nodata).values
    again = run("rearrange", data=Labelled(stack), order=Labelled(ordered)).values
    for place, column in enumerate(stack.T):
        places = run("order", data=nulls(column), asc=asc, nodata=nodata)
        items = run("sort", data=nulls(column), asc=asc, nodata=nodata)
        left = [math.nan] * (len(column) - len(places))
        np.testing.assert_array_equal(ordered[:, place], places + left)
        np.testing.assert_array_equal(made[:, place], [*map(plain, items), *left])
        np.testing.assert_array_equal(again[:, place], made[:, place])


def test_dates_are_ordered_by_their_instants():
    dates = ["2024-01-02T00:00:00+12:00", None, "2024-01-01T23:00:00Z", "2024-01-01"]
    assert run("order", data=dates) == [3, 0, 2]
    assert run("sort", data=dates, asc=False, nodata=False) == [None, dates[2], dates[0], dates[3]]


@pytest.mark.parametrize("name", CUMULATED)
@given(stacks, st.booleans())
def test_cumulated_arrays(name, stack, ignore):
    found = run(name, data=Labelled(stack), ignore_nodata=ignore).values
    for made, column in zip(found.T, stack.T, strict=True):
        series = pd.Series(column.astype(np.float64))
        expected = getattr(series, {"cumproduct": "cumprod"}.get(name, name))(skipna=ignore).to_numpy()
        of_list = list(map(plain, run(name, data=nulls(column), ignore_nodata=ignore)))
        np.testing.assert_allclose(of_list, expected, rtol=1e-9, atol=1e-9)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(made, expected.astype(stack.dtype), rtol=1e-5, atol=1e-4)


@given(stacks, st.integers(1, 5))
def test_interpolation(stack, days):
    labels = tuple(
        f"2024-01-{1 + number * (1 if number < 9 else days // 5 or 1) % 28:02d}" for number in range(len(stack))
    )
    labels = tuple(sorted(set(labels)))
    stack = stack[: len(labels)]
    found = run("array_interpolate_linear", data=Labelled(stack, labels, "temporal")).values
    index = pd.DatetimeIndex(labels)
    for made, column in zip(found.T, stack.T, strict=True):
        series = pd.Series(column.astype(np.float64), index=index)
        known = series.notna().sum() > 1
        expected = series.interpolate("time", limit_area="inside") if known else series
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


@given(stacks)
def test_counts(stack):
    data = Labelled(stack)
    np.testing.assert_array_equal(run("count", data=data), np.isfinite(stack).sum(axis=0))
    assert run("count", data=data, condition=True) == len(stack)
    above = callback(child(gt=step("gt", x=FromParameter("x"), y=FromParameter("context"))))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(run("count", data=data, condition=above, context=1), (stack > 1).sum(axis=0))


@given(stacks, st.sampled_from([1.0, 0.0, -2.5]))
def test_elements_are_found(stack, value):
    found = run("array_find", data=Labelled(stack), value=value)
    last = run("array_find", data=Labelled(stack), value=value, reverse=True)
    contained = run("array_contains", data=Labelled(stack), value=value)
    for place, column in enumerate(stack.T if len(stack) else ()):
        places = np.flatnonzero(column == np.float32(value))
        assert contained[place] == bool(len(places))
        expected = (places[0], places[-1]) if len(places) else (math.nan, math.nan)
        np.testing.assert_array_equal((found[place], last[place]), expected)
    assert (found is None) == (not len(stack))


def test_elements_are_named_by_labels_and_common_names():
    data = Labelled(
        np.arange(6.0).reshape(3, 2), ("B04", "B08", "B8A"), "bands", (Band("red"), Band("nir"), Band("nir08"))
    )
    np.testing.assert_array_equal(run("array_element", data=data, label="B8A"), [4, 5])
    np.testing.assert_array_equal(run("array_element", data=data, label="nir"), [2, 3])
    np.testing.assert_array_equal(run("array_element", data=data, index=2.0), [4, 5])
    np.testing.assert_array_equal(run("array_element", data=data, index=7, return_nodata=True), [np.nan] * 2)
    with pytest.raises(GraphError, match="B09") as fault:
        run("array_element", data=data, label="B09")
    assert fault.value.fault == "ArrayElementNotAvailable" and "B04, B08, B8A" in str(fault.value.hint)


def test_filters_keep_elements_by_label_and_blank_them_by_pixel():
    data = Labelled(np.array([[1, 5], [7, 2], [3, 3.0]], np.float32), ("a", "b", "c"))
    by_label = callback(child(neq=step("neq", x=FromParameter("label"), y="b")))
    found = run("array_filter", data=data, condition=by_label)
    assert found.labels == ("a", "c")
    np.testing.assert_array_equal(found.values, [[1, 5], [3, 3]])
    by_pixel = callback(child(lt=step("lt", x=FromParameter("x"), y=4)))
    found = run("array_filter", data=data, condition=by_pixel)
    np.testing.assert_array_equal(run("max", data=found), [3, 3])
    assert found.values.dtype == np.float32


def test_each_element_goes_through_a_process():
    data = Labelled(np.arange(6, dtype=np.float32).reshape(3, 2), (10, 20, 30))
    added = callback(child(add=step("add", x=FromParameter("x"), y=FromParameter("label"))))
    found = run("array_apply", data=data, process=added)
    np.testing.assert_array_equal(found.values, [[10, 11], [22, 23], [34, 35]])
    assert found.labels == data.labels and found.values.dtype == np.float32


def test_arrays_of_pixels_and_scalars_are_joined():
    x = np.array([1, np.nan], np.float32)
    np.testing.assert_array_equal(run("mean", data=[x, 3, None]), [2, 3])
    found = run("array_concat", array1=[x], array2=Labelled(np.array([[5, 6.0]], np.float32)))
    np.testing.assert_array_equal(found.values, [[1, np.nan], [5, 6]])
    found = run("array_concat", array1=Labelled(np.array([[5, 6.0]], np.float32), ("B04",)), array2=x)
    np.testing.assert_array_equal(found.values, [[5, 6], [1, np.nan]])
    assert found.labels is None, "a number is an array of one, without a label"
    assert run("array_concat", array1=[1], array2=2) == [1, 2]
    found = run("array_modify", data=[x, 2, 3], values=[9], index=1, length=2)
    np.testing.assert_array_equal(found.values, [[1, np.nan], [9, 9]])
    assert run("array_append", data=found, value=x).values.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "QuantilesParameterMissing"),
        ({"probabilities": [0.5], "q": 2}, "QuantilesParameterConflict"),
        ({"probabilities": [0.5, 0.1]}, "AscendingProbabilitiesRequired"),
        ({"probabilities": [1.5]}, "ProcessParameterInvalid"),
        ({"probabilities": 1}, "ProcessParameterInvalid"),
    ],
)
def test_quantiles_name_what_is_wrong(arguments, fault):
    with pytest.raises(GraphError) as raised:
        run("quantiles", data=[1, 2], **arguments)
    assert raised.value.fault == fault


@pytest.mark.parametrize("data", [3, "text", np.ones(4), ["a", "b"], [1, [2]]])
def test_statistics_of_what_is_no_array_of_numbers(data):
    with pytest.raises(GraphError, match="data"):
        run("mean", data=data)


instants = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0))


@given(instants, st.integers(-5000, 5000), st.sampled_from(["second", "minute", "hour", "day", "week", "month"]))
def test_dates_move_as_those_of_dateutil(at, count, unit):
    text = at.isoformat() + "Z"
    moved = (at + relativedelta(**{f"{unit}s": count})).isoformat() + "Z"
    assert run("date_shift", date=text, value=count, unit=unit) == moved
    assert run("date_shift", date=text[:-1] + "+05:30", value=count, unit=unit) == moved[:-1] + "+05:30"


@given(instants, instants)
def test_differences_of_dates(one, other):
    texts = {"date1": one.isoformat() + "Z", "date2": other.isoformat() + "Z"}
    assert run("date_difference", **texts) == (other - one).total_seconds()
    assert run("date_difference", **texts, unit="day") == pytest.approx((other - one).total_seconds() / 86400)
    apart = relativedelta(max(one, other), min(one, other))
    months = abs(run("date_difference", **texts, unit="month"))
    assert math.floor(months) in (
        12 * apart.years + apart.months,
        12 * apart.years + apart.months + (months % 1 == 0),
    )
    assert run("date_difference", **texts, unit="year") == pytest.approx(
        run("date_difference", **texts, unit="month") / 12
    )


def test_leap_seconds_times_of_day_and_bounds():
    assert run("date_shift", date="2016-12-31T23:59:60Z", value=0, unit="second") == "2017-01-01T00:00:00Z"
    assert run("date_between", x="10:00:00", min="09:00:00", max="10:00:00") is True
    assert run("date_between", x="10:00:00", min="09:00:00", max="10:00:00", exclude_max=True) is False
    assert run("date_between", x="2024-01-05", min="2024-01-09", max="2024-01-01") is False
    with pytest.raises(GraphError, match="1 to 9999"):
        run("date_shift", date="9999-12-31", value=1, unit="day")
    with pytest.raises(GraphError, match="'min'"):
        run("date_between", x="2024-01-05", min="soon", max="2024-01-01")


def test_texts():
    assert run("text_concat", data=[1, 1.0, 1.5, 1e300, None, True, math.inf], separator="|") == (
        "1|1|1.5|1e+300|null|true|infinity"
    )
    assert run("text_find", data="İß ABC", pattern="abc", case_sensitive=False) == 3


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 40))
def test_parts_are_all_pixels_once(shape, most):
    seen = np.zeros(shape, int)
    for part in parts(shape, most):
        seen[part] += 1
        assert seen[part].size <= most
    assert (seen == 1).all()


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize(
    "cut", [np.s_[:], np.s_[::-1], np.s_[:, 2:9], np.s_[:, :, 1:5], np.s_[..., ::2], np.s_[:, :0]]
)
def test_kernels_read_arrays_of_any_layout(axes, cut):
    random = np.random.default_rng(1)
    stack = random.random((7, 11, 13), np.float32)
    stack[random.random(stack.shape) < 0.2] = np.nan
    view = stack.transpose(axes)[cut]
    view.flags.writeable = False
    plain = np.ascontiguousarray(view)
    for name in ("mean", "median", "first", "count"):
        np.testing.assert_array_equal(run(name, data=Labelled(view)), run(name, data=Labelled(plain)))
    for name in ("sort", "order", "cumsum", "array_interpolate_linear"):
        np.testing.assert_array_equal(run(name, data=Labelled(view)).values, run(name, data=Labelled(plain)).values)


def test_times_of_time_zones_are_instants():
    found = run("date_difference", date1="2024-03-01T00:00:00+02:00", date2="2024-03-01")
    assert found == (datetime(2024, 3, 1, tzinfo=UTC) - datetime(2024, 2, 29, 22, tzinfo=UTC)).total_seconds()
