"""Processes of values: scalars and pixels agree, null is openEO's, types and shapes do not depend on data."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpckit.errors import GraphError
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import FromNode, FromParameter
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import processes
from hpckit.testing.graphs import MemoryEnvironment, child, evaluation_of, graph, step

UNARY = (
    *("absolute", "sqrt", "ln", "floor", "ceil", "int", "sgn"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arsinh", "arcosh", "artanh"),
)
BINARY = ("add", "subtract", "multiply", "divide", "normalized_difference", "mod")
COMPARISONS = ("eq", "neq", "gt", "gte", "lt", "lte")
LOGIC = ("and", "or", "xor")
CHECKS = ("is_nan", "is_nodata", "is_valid", "is_infinite")

numbers = st.one_of(
    st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0, -1.0, 0.5, math.inf, -math.inf, math.nan])
)
pixels = arrays.arrays(np.float64, st.integers(0, 12), elements=numbers)
pairs = st.integers(0, 12).flatmap(
    lambda count: st.tuples(*[arrays.arrays(np.float64, count, elements=numbers) for _ in range(2)])
)
kleene = st.sampled_from([True, False, None])


def run(name, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return processes()[name].run(**arguments)


def scalar(value):
    """A pixel as a scalar of JSON."""
    return None if np.isnan(value) else float(value)


def pixel(value):
    """A scalar of JSON as a pixel."""
    return math.nan if value is None else float(value)


def assert_pixelwise(found, expected):
    np.testing.assert_allclose(np.asarray(found, float), np.array(list(map(pixel, expected))), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", UNARY)
@given(pixels)
def test_functions_of_one_number(name, x):
    assert_pixelwise(run(name, x=x), [run(name, x=scalar(each)) for each in x])


@pytest.mark.parametrize("name", [*BINARY, *COMPARISONS])
@given(pairs)
def test_functions_of_two_numbers(name, given):
    x, y = given
    found = run(name, x=x, y=y)
    assert_pixelwise(found, [run(name, x=scalar(a), y=scalar(b)) for a, b in zip(x, y, strict=True)])
    for y_alone in (2.0, -0.5, 0, None):
        found = run(name, x=x, y=y_alone)
        assert_pixelwise(found, [run(name, x=scalar(a), y=y_alone) for a in x])
        found = run(name, x=y_alone, y=x)
        assert_pixelwise(found, [run(name, x=y_alone, y=scalar(a)) for a in x])


@given(pairs)
def test_functions_with_other_names(given):
    x, y = given
    for a in (2.0, 0.5, -3, 0):
        assert_pixelwise(run("power", base=x, p=a), [run("power", base=scalar(each), p=a) for each in x])
    both = zip(x, y, strict=True)
    assert_pixelwise(run("power", base=x, p=y), [run("power", base=scalar(a), p=scalar(b)) for a, b in both])
    both = zip(x, y, strict=True)
    assert_pixelwise(run("arctan2", x=x, y=y), [run("arctan2", x=scalar(a), y=scalar(b)) for a, b in both])
    for base in (2, 10, 3.5):
        assert_pixelwise(run("log", x=x, base=base), [run("log", x=scalar(each), base=base) for each in x])
    for options in ({"min": -1, "max": 2.5}, {"min": 0, "max": math.inf}):
        for name in ("clip", "between"):
            assert_pixelwise(run(name, x=x, **options), [run(name, x=scalar(each), **options) for each in x])
    options = {"inputMin": -2, "inputMax": 3, "outputMin": 10, "outputMax": 20}
    assert_pixelwise(
        run("linear_scale_range", x=x, **options),
        [run("linear_scale_range", x=scalar(each), **options) for each in x],
    )
    for p in (0, 2, -3, 400, -400):
        assert_pixelwise(run("round", x=x, p=p), [run("round", x=scalar(each), p=p) for each in x])
    for delta in (0.5, 3):
        assert_pixelwise(
            run("eq", x=x, y=1, delta=delta), [run("eq", x=scalar(each), y=1, delta=delta) for each in x]
        )


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "int32", "bool"])
def test_types_follow_the_pixels_and_not_the_scalars(name, dtype):
    expected = {"float32": "float32", "uint8": "float32", "int16": "float32", "bool": "float32"}.get(dtype, "float64")
    for shape in ((3, 2), (0, 2)):
        x = np.ones(shape, dtype)
        options = {} if name in UNARY else {"y": 300.7}
        found = run(name, x=x, **options)
        assert (found.dtype, found.shape) == (expected, shape)
        if name in BINARY:
            assert run(name, x=2, y=x).dtype == expected
            assert run(name, x=x, y=None).dtype == expected


@pytest.mark.parametrize("shape", [(0, 2), (3, 2), (70, 40)])
def test_types_of_flags_do_not_depend_on_values(shape):
    floats, whole = np.ones(shape, np.float32), np.ones(shape, np.uint8)
    for name in COMPARISONS:
        assert run(name, x=floats, y=0.5).dtype == np.float32
        assert run(name, x=whole, y=0.5).dtype == bool
        assert run(name, x=floats, y=None).dtype == np.float32
    for name in LOGIC:
        assert run(name, x=floats, y=True).dtype == np.float32
        assert run(name, x=whole > 0, y=True).dtype == bool
    assert run("if", value=floats, accept=floats).dtype == np.float32
    assert run("if", value=floats, accept=3, reject=1.5).dtype == np.float32
    assert run("if", value=floats, accept=True, reject=False).dtype == bool
    for name in ("mean", "median", "sum", "sd", "min", "first", "count"):
        assert run(name, data=Labelled(np.ones((3, *shape), np.float32))).dtype == np.float32
        assert run(name, data=Labelled(np.ones((3, *shape), np.float32))).shape == shape
        assert run(name, data=Labelled(np.ones((0, *shape), np.float32))).shape == shape


@pytest.mark.parametrize("name", LOGIC)
@given(st.lists(st.tuples(kleene, kleene), max_size=9))
def test_logic_of_pixels(name, given):
    x, y = (np.array([pixel(pair[place]) for pair in given], np.float32) for place in (0, 1))
    assert_pixelwise(run(name, x=x, y=y), [run(name, x=a, y=b) for a, b in given])
    for other in (True, False, None):
        assert_pixelwise(run(name, x=x, y=other), [run(name, x=a, y=other) for a, _ in given])
    assert_pixelwise(run("not", x=x), [run("not", x=a) for a, _ in given])
    assert_pixelwise(
        run("if", value=x, accept=5, reject=None), [run("if", value=a, accept=5, reject=None) for a, _ in given]
    )


@given(st.lists(kleene, max_size=6), st.booleans())
def test_all_and_any_are_the_pairwise_tables(data, ignore):
    left = [each for each in data if each is not None or not ignore]
    for name, pair, start in (("all", "and", True), ("any", "or", False)):
        expected = start
        for each in left:
            expected = run(pair, x=expected, y=each)
        assert run(name, data=data, ignore_nodata=ignore) is expected
        stack = Labelled(np.array([[pixel(each)] for each in data], np.float32).reshape(len(data), 1))
        assert_pixelwise(run(name, data=stack, ignore_nodata=ignore), [expected])


@pytest.mark.parametrize("name", CHECKS)
@given(pixels)
def test_checks_of_pixels(name, x):
    found = run(name, x=x)
    assert found.dtype == bool
    expected = {
        "is_nan": np.isnan, "is_nodata": np.isnan, "is_valid": np.isfinite, "is_infinite": np.isinf
    }[name](x)  # fmt: skip
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_number_is_neither_above_nor_below():
    assert run("gt", x=1, y="b") is False and run("lt", x="a", y="b") is False
    assert run("gte", x="a", y="a") is True and run("gte", x=True, y=True) is True
    assert run("eq", x=1, y=True) is False and run("eq", x="1", y=1) is False
    x = np.array([1, np.nan], np.float32)
    np.testing.assert_array_equal(run("gt", x=x, y="b"), np.array([0, np.nan], np.float32))
    np.testing.assert_array_equal(run("gt", x=x > 0, y=0), [False, False])


def test_booleans_that_may_be_null_equal_booleans():
    flags = run("gt", x=np.array([1, 0, np.nan], np.float32), y=0.5)
    np.testing.assert_array_equal(run("eq", x=flags, y=True), np.array([1, 0, np.nan], np.float32))


@pytest.mark.parametrize("value", ["text", [1, 2], {"a": 1}])
@pytest.mark.parametrize("name", ["add", "divide"])
def test_operands_that_are_no_numbers_are_named(name, value):
    with pytest.raises(GraphError, match="argument 'y' must be a number"):
        run(name, x=1, y=value)


def ndvi():
    return child(
        nir=step("array_element", data=FromParameter("data"), label="B08"),
        red=step("array_element", data=FromParameter("data"), index=0),
        ndvi=step("normalized_difference", x=FromNode("nir"), y=FromNode("red")),
        high=step("gt", x=FromNode("ndvi"), y=FromParameter("context")),
        mean=step("mean", data=[FromNode("ndvi"), FromNode("red"), 0.25, None]),
        kept=step("if", value=FromNode("high"), accept=FromNode("mean")),
    )


@pytest.mark.parametrize("shape", [(400, 700), (3, 300, 300), (1, 200_000), (200_000, 1), (150_000,)])
@pytest.mark.parametrize("layout", ["plain", "moved", "cropped"])
def test_strips_give_what_all_pixels_at_once_give(shape, layout):
    random = np.random.default_rng(3)
    stack = random.random((2, *shape), np.float32)
    stack[random.random(stack.shape) < 0.2] = np.nan
    if layout == "moved":
        stack = np.moveaxis(np.ascontiguousarray(np.moveaxis(stack, 0, 1)), 0, 1)
    if layout == "cropped":
        stack = stack[:, :-1]
    callback = Evaluation(graph(around=step("pi")), MemoryEnvironment()).value(ndvi())
    found = callback(data=Labelled(stack, ("B04", "B08"), "bands"), context=0.1)
    red, nir = stack
    with np.errstate(all="ignore"):
        index = (nir - red) / (nir + red)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean = np.nanmean([index, red, np.full_like(red, 0.25)], axis=0)
    assert found.dtype == np.float32 and found.shape == stack.shape[1:]
    np.testing.assert_allclose(found, np.where(index > 0.1, mean, np.nan), rtol=1e-5)


def test_arrays_come_out_of_strips():
    stack = np.random.default_rng(3).random((4, 500, 500), np.float32)
    both = child(
        ranked=step("sort", data=FromParameter("data")),
        ends=step("array_create", data=[FromNode("first"), FromNode("last"), 3]),
        first=step("first", data=FromNode("ranked")),
        last=step("last", data=FromNode("ranked")),
    )
    nodes = both.graph.nodes
    ordered = child(**{name: nodes[name] for name in ("ranked", "first", "last", "ends")})
    callback = Evaluation(graph(around=step("pi")), MemoryEnvironment()).value(ordered)
    found = callback(data=Labelled(stack))
    np.testing.assert_array_equal(found.values, [stack.min(axis=0), stack.max(axis=0), np.full((500, 500), 3)])


def test_a_fault_in_a_callback_names_its_node():
    broken = child(first=step("pi"), sum=step("add", x=FromNode("first"), y="text"))
    callback = Evaluation(graph(around=step("pi")), MemoryEnvironment()).value(broken)
    with pytest.raises(GraphError) as fault:
        callback(x=1)
    assert fault.value.node == "sum"


def test_long_chains_are_computed_once_for_each_node():
    calls = {
        f"n{number}": step("add", x=FromNode(f"n{number - 1}"), y=FromNode(f"n{number - 1}"))
        for number in range(1, 60)
    }
    made = Evaluation(graph(n0=step("constant", x=1), **calls), MemoryEnvironment())
    assert made.evaluate() == 2**59


def test_a_value_process_works_in_the_outermost_graph():
    assert evaluation_of("divide", x=1, y=0).evaluate() == math.inf
