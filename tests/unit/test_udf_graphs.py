"""Code of users in graphs: what it gets of each process, and what becomes of its answers; without running any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpckit.errors import GraphError, UserCodeError
from hpckit.processgraph.cube import NOTHING, Cube
from hpckit.processgraph.graph import FromParameter
from hpckit.processgraph.usercode import UserCode
from hpckit.reduce.udf import dependencies
from hpckit.reduce.udf.block import Block
from hpckit.reduce.udf.fitting import assumed, block_of, fitted, without_pixels
from hpckit.space.box import Box
from hpckit.testing.graphs import MemoryEnvironment, bands, calling, child, evaluation_of, node, raster, step, times

T = times("2024-01-01T10:30:00Z", "2024-02-01T10:30:00Z", "2024-03-01T10:30:00Z")
B = bands(B04="red", B08="nir")
CODE = "def apply_datacube(cube, context):\n    return cube\n"


def cube() -> Cube:
    return raster(np.random.default_rng(1).uniform(0, 1, (3, 2, 12, 16)).astype(np.float32), T, B)


class Runs:
    """In place of a sandbox: notes what it gets, and returns what a function makes of the block."""

    def __init__(self, function: Callable[[Block], Block]) -> None:
        self.function = function
        self.got: list[tuple[UserCode, Block]] = []

    def __call__(self, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> Cube:
        if data.values.size == 0:
            return without_pixels(data, fitted(code, sample(), self.function(block_of(sample()))).dims)
        block = block_of(data)
        self.got.append((code, block))
        return fitted(code, data, self.function(block))


def udf(name: str = "data") -> Any:
    return calling("run_udf", udf=CODE, runtime="Python", data=FromParameter(name))


def evaluated(name: str, function: Callable[[Block], Block], box: Box | None = None, /, **arguments: Any) -> Any:
    runs = Runs(function)
    evaluation = evaluation_of(name, MemoryEnvironment(runs=runs), data=cube(), **arguments)
    kind = evaluation.type()
    found = evaluation.evaluate(box)
    assert kind.names == found.names and [dim.labels for dim in kind.dims] == [dim.labels for dim in found.dims]
    assert kind.values.dtype == found.values.dtype and kind.grid == found.grid
    return found, runs.got


def test_apply_gives_the_whole_cube_of_a_box():
    box = Box(2, 3, 6, 9)
    found, got = evaluated("apply", lambda block: Block(block.values * 2, block.dims), box, process=udf("x"))
    np.testing.assert_array_equal(found.values, cube().values[..., 2:6, 3:9] * 2)
    ((code, block),) = got
    assert code.process == "apply" and block.dims == ("t", "bands", "y", "x")
    assert block.labels["t"] == T.labels and block.labels["bands"] == ("B04", "B08") and block.times == {"t"}
    assert block.labels["x"][0] == 600035.0 and block.labels["y"][0] == 5199975.0


def test_reduce_dimension_drops_its_dimension():
    def median(block: Block) -> Block:
        return Block(np.median(block.values, 0).astype(np.float64), block.dims[1:])

    found, _ = evaluated("reduce_dimension", median, dimension="t", reducer=udf())
    assert found.names == ("bands", "y", "x") and found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, np.median(cube().values, 0))
    kept, _ = evaluated(
        "reduce_dimension",
        lambda block: Block(np.median(block.values, 0, keepdims=True), block.dims),
        dimension="t",
        reducer=udf(),
    )
    np.testing.assert_array_equal(kept.values, found.values)


def test_apply_dimension_may_give_other_labels_and_another_order():
    def ndvi(block: Block) -> Block:
        red, nir = block.values[:, 0], block.values[:, 1]
        made = np.stack([(nir - red) / (nir + red)], -1)
        return Block(made, ("t", "y", "x", "bands"), {"bands": ("ndvi",)})

    found, _ = evaluated("apply_dimension", ndvi, dimension="bands", process=udf())
    assert found.names == ("t", "bands", "y", "x") and found.dim("bands").labels == ("ndvi",)
    assert found.values.shape == (3, 1, 12, 16)


def test_apply_dimension_of_equal_labels_keeps_what_is_known_of_bands():
    found, _ = evaluated("apply_dimension", lambda block: block, dimension="bands", process=udf())
    assert found.dim("bands") == B
    renamed, _ = evaluated(
        "apply_dimension",
        lambda block: Block(block.values, block.dims, {"bands": ("a", "b")}),
        dimension="bands",
        process=udf(),
    )
    assert renamed.dim("bands").labels == ("a", "b") and not renamed.dim("bands").bands


def test_neighborhoods_bring_their_overlap():
    def blurred(block: Block) -> Block:
        values = np.nan_to_num(block.values)
        return Block(values + np.roll(values, 1, -1) + np.roll(values, -1, -1), block.dims)

    size = [{"dimension": name, "value": 8, "unit": "px"} for name in ("x", "y")]
    overlap = [{"dimension": name, "value": 2, "unit": "px"} for name in ("x", "y")]
    found, got = evaluated("apply_neighborhood", blurred, process=udf(), size=size, overlap=overlap)
    values = np.pad(cube().values, [(0, 0)] * 3 + [(1, 1)])
    np.testing.assert_array_equal(found.values, values[..., 1:-1] + values[..., :-2] + values[..., 2:])
    assert {block.values.shape for _, block in got} == {(3, 2, 12, 12)}


def test_a_whole_cube_may_lose_and_get_dimensions_beside_x_and_y():
    def made(block: Block) -> Block:
        values = np.stack([block.values.mean((0, 1)), block.values.max((0, 1))], -1)
        return Block(values, ("y", "x", "statistic"), {"statistic": ("mean", "max")})

    runs = Runs(made)
    evaluation = evaluation_of("run_udf", MemoryEnvironment(runs=runs), data=cube(), udf=CODE, runtime="Python")
    found = evaluation.evaluate()
    assert found.names == evaluation.type().names == ("statistic", "y", "x")
    assert found.dim("statistic").labels == ("mean", "max") and found.grid == cube().grid


def test_values_after_other_processes_are_of_the_same_cube():
    chain = child(
        more=step("add", x=FromParameter("x"), y=1),
        run=step("run_udf", data=node("more"), udf=CODE, runtime="Python"),
    )
    found, got = evaluated("apply", lambda block: block, process=chain)
    np.testing.assert_array_equal(found.values, cube().values + 1)
    assert got[0][1].labels["bands"] == ("B04", "B08")


@pytest.mark.parametrize(
    ("process", "dimension", "made", "words"),
    [
        ("apply", "", Block(np.zeros((3, 2, 12, 15)), ("t", "bands", "y", "x")), "15 values along 'x' instead of 16"),
        ("apply", "", Block(np.zeros((2, 12, 16)), ("bands", "y", "x")), "dimensions bands, y, x instead of t"),
        (
            "apply",
            "",
            Block(np.zeros((3, 2, 12, 16)), ("t", "bands", "y", "x"), {"bands": ("a", "b")}),
            "other labels along 'bands'",
        ),
        ("reduce_dimension", "t", Block(np.zeros((3, 2, 12, 16)), ("t", "bands", "y", "x")), "dimensions t, bands"),
        ("apply_dimension", "bands", Block(np.zeros((4, 2, 12, 16)), ("t", "bands", "y", "x")), "4 values along 't'"),
        ("apply_dimension", "bands", Block(np.zeros((3, 12, 16)), ("t", "y", "x")), "dimensions t, y, x instead of"),
        ("", "", Block(np.zeros((3, 2)), ("t", "bands")), "without y, x"),
    ],
)
def test_wrong_shapes_are_told(process, dimension, made, words):
    with pytest.raises(GraphError, match=words) as caught:
        fitted(UserCode(CODE, "Python", process=process, dimension=dimension), cube(), made)
    assert caught.value.fault == "UdfFailed" and "must" in str(caught.value.hint)


def test_types_without_a_trial_are_those_that_the_process_needs():
    code = UserCode(CODE, "Python", process="reduce_dimension", dimension="t")
    kind = without_pixels(_empty(), assumed(code, _empty()))
    assert kind.names == ("bands", "y", "x") and kind.values.shape == (2, 0, 0)


def _empty() -> Cube:
    from hpckit.processgraph.evaluate import cropped

    return cropped(cube(), NOTHING)


@pytest.mark.parametrize("given", ["https://example.org/udf.py", "folder/udf.py"])
def test_code_that_is_elsewhere_is_not_read(given):
    with pytest.raises(GraphError, match="not read here") as caught:
        evaluation_of("run_udf", data=cube(), udf=given, runtime="Python").evaluate()
    assert caught.value.fault == "FileNotFound"


def test_dependencies_are_read():
    names = "# dependencies = [\n#   'scikit-learn>=1.3',\n#   'numpy',\n# ]\n"
    code = f"# /// script\n# requires-python = '>=3.11'\n{names}# ///\n"
    assert [str(one) for one in dependencies.wanted(code + CODE)] == ["scikit-learn>=1.3", "numpy"]
    assert dependencies.wanted(CODE) == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# dependencies = [", "no TOML"),
        ("# dependencies = 'numpy'", "no list"),
        ("# dependencies = ['numpy >>= 1']", "cannot be read"),
        ("# dependencies = []\n# ///\n\n# /// script\n# dependencies = []", "several"),
    ],
)
def test_wrong_dependencies_are_told(content, words):
    with pytest.raises(UserCodeError, match=words):
        dependencies.wanted(f"# /// script\n{content}\n# ///\n{CODE}")
