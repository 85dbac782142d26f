"""What graphs are estimated to take for each pixel, against the peak of what they allocate."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from hpckit.processgraph.parse import parse
from hpckit.reduce.graphs import cutting
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.job import Job
from hpckit.space.box import Box
from tests.graph_examples import Graph, calling, load, node, of
from tests.unit.test_graph_sources import sample  # noqa: F401 -- a fixture

pytestmark = pytest.mark.slow

BOTH = ["B04", "B08"]
WINDOW = Box(100, 100, 868, 868)
DATA = {"from_parameter": "data"}


def child(**nodes: Any) -> dict[str, Any]:
    return {"process_graph": nodes}


def last(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "result": True}


def ndvi() -> dict[str, Any]:
    return child(
        nir=node("array_element", data=DATA, index=1),
        red=node("array_element", data=DATA, index=0),
        ndvi=node("normalized_difference", x=of("nir"), y=of("red")),
        high=node("gt", x=of("ndvi"), y=0.3),
        scaled=node("linear_scale_range", x=of("ndvi"), inputMin=-1, inputMax=1, outputMax=255),
        kept=last(node("if", value=of("high"), accept=of("scaled"))),
    )


def clear(name: str = "clear") -> Graph:
    """Bands without some classes."""
    classes = child(
        one=node("array_element", data=DATA, index=0),
        a=node("eq", x=of("one"), y=3),
        b=node("gte", x=of("one"), y=8),
        any=last(node("or", x=of("a"), y=of("b"))),
    )
    return {
        "load": load("sample", bands=BOTH),
        "scl": load("sample", bands=["SCL"]),
        "clouds": node("reduce_dimension", data=of("scl"), dimension="bands", reducer=classes),
        name: node("mask", data=of("load"), mask=of("clouds")),
    }


def median_and(process: str) -> dict[str, Any]:
    """A median that is no pattern of composites."""
    return child(median=node("median", data=DATA), same=last(node(process, x=of("median"), y=0)))


def over(data: str, name: str, **arguments: Any) -> Graph:
    return {"over": last(node(name, data=of(data), **arguments))}


KERNEL = [[1.0] * 5] * 5
BASE = {"load": load("sample", bands=BOTH)}
GRAPHS: dict[str, Graph] = {
    "loaded": {"load": last(load("sample", bands=["B04", "B08", "B11"]))},
    "scaled": {**BASE, **over("load", "apply", process=calling("linear_scale_range", "x", inputMin=0, inputMax=1))},
    "index": {**BASE, **over("load", "reduce_dimension", dimension="bands", reducer=ndvi())},
    "median": {**clear(), **over("clear", "reduce_dimension", dimension="t", reducer=calling("median"))},
    "median in blocks": {**clear(), **over("clear", "reduce_dimension", dimension="t", reducer=median_and("add"))},
    "index of clear medians": {
        **clear(),
        "ndvi": node("reduce_dimension", data=of("clear"), dimension="bands", reducer=ndvi()),
        **over("ndvi", "reduce_dimension", dimension="t", reducer=median_and("add")),
    },
    "kernel": {**BASE, **over("load", "apply_kernel", kernel=KERNEL, factor=0.04)},
    "interpolated": {
        **clear(),
        **over("clear", "apply_dimension", dimension="t", process=calling("array_interpolate_linear")),
    },
    "merged": {
        "load": load("sample", bands=["B04"]),
        "other": load("sample", bands=["B08"]),
        "over": last(node("merge_cubes", cube1=of("load"), cube2=of("other"))),
    },
    "filtered": {
        "load": load("sample", bands=["B04", "B08", "SCL"]),
        "reds": node("filter_bands", data=of("load"), bands=["B04"]),
        "roots": node("apply", data=of("reds"), process=calling("sqrt", "x")),
        "named": node("rename_labels", data=of("roots"), dimension="bands", target=["root"]),
        "over": last(node("merge_cubes", cube1=of("named"), cube2=of("load"))),
    },
    "saved": {
        **BASE,
        "scaled": node("apply", data=of("load"), process=calling("sqrt", "x")),
        "over": last(node("save_result", data=of("scaled"), format="GTiff")),
    },
    "coarser": {**BASE, **over("load", "resample_spatial", resolution=20, method="average")},
}


def job(sample: Any, graph: Graph) -> Job:  # noqa: F811
    return Job(parse(graph), GraphEnvironment({}, opened={"sample": sample[0]}))


def peak(made: Job, compute: Callable[[Box], Any], box: Box) -> int:
    """The most bytes that are allocated at once."""
    (output,) = made.outputs
    made.evaluate(output, Box(0, 0, 8, 8))
    tracemalloc.start()
    try:
        compute(box)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", list(GRAPHS))
def test_estimates_follow_peaks(sample: Any, name: str) -> None:  # noqa: F811
    made = job(sample, GRAPHS[name])
    (output,) = made.outputs
    box = WINDOW if name != "coarser" else Box(50, 50, 434, 434)
    shape = made.shape(output)
    pixels = box.shape[0] * box.shape[1]
    measured = peak(made, lambda part: made.computing.result_of(output.node, part), box) / pixels
    assert 0.7 < shape.nbytes / measured < 1.6


@pytest.mark.parametrize("name", ["index of clear medians", "median in blocks"])
def test_windows_in_parts_take_less(sample: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    made = job(sample, GRAPHS[name])
    (output,) = made.outputs
    whole = peak(made, lambda part: made.evaluate(output, part), WINDOW)
    monkeypatch.setattr(cutting, "_PART_BYTES", 2**20)
    estimate = made.nbytes_of(output, WINDOW, WINDOW.shape[0] * WINDOW.shape[1])
    measured = peak(made, lambda part: made.evaluate(output, part), WINDOW)
    assert measured < 0.85 * whole and measured < 1.3 * estimate
