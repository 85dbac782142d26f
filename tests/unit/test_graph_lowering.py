"""Patterns that are lowered give the pixels of the graph as it was written, and nothing else is lowered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.processgraph.parse import parse
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.job import Job
from hpckit.reduce.graphs.source import CollectionSource
from hpckit.space.box import Box
from tests.graph_examples import Graph, calling, load, node, of
from tests.unit.test_graph_sources import sample  # noqa: F401 -- a fixture

pytestmark = pytest.mark.slow

BOX = {"west": 605_000, "south": 5_792_000, "east": 616_000, "north": 5_799_000, "crs": 32631}
TRIANGLE = {"type": "Polygon", "coordinates": [[[4.6, 52.2], [4.7, 52.2], [4.6, 52.3], [4.6, 52.2]]]}
OVER_TIME = {
    "all": ("reduce_dimension", {"dimension": "t"}),
    "months": ("aggregate_temporal_period", {"period": "dekad"}),
    "intervals": (
        "aggregate_temporal",
        {
            "intervals": [["2024-04-01", "2024-04-07"], ["2024-05-01", "2024-06-01"], ["2024-04-05", "2024-05-01"]],
            "labels": ["a", "b", "c"],
        },
    ),
}


def jobs(sample: Any, graph: Graph) -> tuple[Job, Job]:  # noqa: F811
    collection: Collection = sample[0]
    made = []
    for lower in (True, False):
        environment = GraphEnvironment({}, opened={"sample": collection})
        made.append(Job(parse(graph), environment, lower=lower))
    return made[0], made[1]


def clear(process: str, y: int) -> dict[str, Any]:
    """A graph that is true for some classes."""
    classes = {"process_graph": {"cloud": {**node(process, x={"from_parameter": "x"}, y=y), "result": True}}}
    return {
        "classes": node("filter_bands", data=of("load"), bands=["SCL"]),
        "flat": node("drop_dimension", data=of("classes"), name="bands"),
        "clouds": node("apply", data=of("flat"), process=classes),
        "mask": node("mask", data=of("measured"), mask=of("clouds")),
    }


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    extent = draw(st.sampled_from([None, BOX]))
    bands = draw(st.sampled_from([["B04", "SCL"], ["B11", "B04", "SCL"], ["B08", "SCL", "B04"]]))
    graph = {
        "load": load("sample", spatial_extent=extent, bands=bands),
        "measured": node("filter_bands", data=of("load"), bands=[band for band in bands if band != "SCL"]),
    }
    if draw(st.booleans()):
        graph |= clear(draw(st.sampled_from(["gte", "eq", "lt"])), draw(st.integers(2, 11)))
    data = "mask" if "mask" in graph else "measured"
    if data == "measured" and draw(st.booleans()):
        graph["part"] = node("filter_temporal", data=of(data), extent=["2024-04-02", "2024-04-30"])
        data = "part"
    process, arguments = OVER_TIME[draw(st.sampled_from(sorted(OVER_TIME)))]
    reducer = calling(draw(st.sampled_from(["median", "mean", "min", "max", "count"])))
    graph["over"] = {**node(process, data=of(data), reducer=reducer, **arguments), "result": True}
    return graph


@settings(max_examples=40, deadline=None)
@given(graphs(), st.integers(0, 600), st.integers(0, 1000))
def test_lowered_and_blocks_give_the_same(sample: Any, graph: Graph, top: int, left: int) -> None:  # noqa: F811
    one, other = jobs(sample, graph)
    assert one.lowered is not None and "over" in one.lowered.faster and "load" not in one.lowered.graph.nodes
    (output,), (wanted,) = one.outputs, other.outputs
    box = Box(top, left, top + 40, left + 50)
    found, expected = one.evaluate(output, box), other.evaluate(wanted, box)
    assert found.dims == expected.dims and found.values.dtype == expected.values.dtype and found.box == box
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=2e-7)
    assert one.shape(output).nbytes <= other.shape(wanted).nbytes


@pytest.mark.parametrize(
    "changes",
    [
        {"over": {"reducer": calling("sd")}},
        {"over": {"reducer": calling("median", ignore_nodata=False)}},
        {"over": {"dimension": "bands"}},
        {"measured": {"bands": ["SCL"]}},
        {"mask": {"replacement": 3}},
        {"load": {"spatial_extent": TRIANGLE}},
    ],
)
def test_what_is_no_pattern_stays(sample: Any, changes: dict[str, dict[str, Any]]) -> None:  # noqa: F811
    graph = {
        "load": load("sample", bands=["B04", "SCL"]),
        "measured": node("filter_bands", data=of("load"), bands=["B04"]),
        **clear("gte", 8),
        "over": {
            **node("reduce_dimension", data=of("mask"), dimension="t", reducer=calling("median")),
            "result": True,
        },
    }
    graph["over"]["result"] = True
    for name, arguments in changes.items():
        graph[name]["arguments"].update(arguments)
    one, other = jobs(sample, graph)
    assert one.lowered is not None and "over" not in one.lowered.faster
    box = Box(300, 300, 320, 330)
    found = one.evaluate(one.outputs[0], box)
    np.testing.assert_array_equal(found.values, other.evaluate(other.outputs[0], box).values)


def test_results_that_are_not_wanted_are_not_computed(sample: Any, tmp_path: Path) -> None:  # noqa: F811
    graph = {
        "load": load("sample", bands=["B04"]),
        "over": node("reduce_dimension", data=of("load"), dimension="t", reducer=calling("mean")),
        "half": {
            **node("apply", data=of("over"), process=calling("divide", "x", y=2)),
            "result": True,
        },
    }
    one, _ = jobs(sample, graph)
    assert one.lowered is not None and set(one.lowered.graph.nodes) == {"over", "half"}
    assert "kernels of composites" in one.lowered.describe()[0]


def classes(bands: list[str], which: dict[str, Any], low: int, high: int) -> Graph:
    """A graph that masks by classes as they are loaded, at their own pixel size."""
    callback = {
        "class": node("array_element", data={"from_parameter": "data"}, **which),
        "low": node("lte", x=of("class"), y=low),
        "high": node("eq", x=of("class"), y=high),
        "either": {**node("or", x=of("low"), y=of("high")), "result": True},
    }
    return {
        "load": load("sample", bands=["B04", "B11"]),
        "classes": load("sample", bands=bands),
        "clouds": node(
            "reduce_dimension", data=of("classes"), dimension="bands", reducer={"process_graph": callback}
        ),
        "mask": node("mask", data=of("load"), mask=of("clouds")),
    }


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(["SCL"], {"index": 0}), (["SCL"], {"label": "SCL"}), (["B11", "SCL"], {"index": 1})]),
    st.integers(0, 4),
    st.integers(4, 11),
    st.integers(-30, 600),
    st.integers(-30, 1000),
)
def test_masks_of_classes_are_tables(
    sample: Any,  # noqa: F811
    chosen: tuple[list[str], dict[str, Any]],
    low: int,
    high: int,
    top: int,
    left: int,
) -> None:
    graph = classes(*chosen, low, high)
    graph["mask"]["result"] = True
    one, other = jobs(sample, graph)
    assert one.lowered is not None and list(one.lowered.faster) == ["clouds"]
    box = Box(top, left, top + 41, left + 53)
    found, expected = (job.evaluate(job.outputs[0], box) for job in (one, other))
    assert found.dims == expected.dims and found.values.dtype == expected.values.dtype
    np.testing.assert_array_equal(found.values, expected.values)
    median = node("reduce_dimension", data=of("mask"), dimension="t", reducer=calling("median"))
    graph["mask"].pop("result")
    one, other = jobs(sample, {**graph, "over": {**median, "result": True}})
    assert one.lowered is not None and list(one.lowered.faster) == ["clouds", "over"]
    inside = box.within((800, 800)) if min(top, left) < 0 else box
    found, expected = (job.evaluate(job.outputs[0], inside).values for job in (one, other))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7)


def test_what_takes_several_bands_is_no_table(sample: Any) -> None:  # noqa: F811
    graph = classes(["B11", "SCL"], {"index": 1}, 3, 8)
    callback = graph["clouds"]["arguments"]["reducer"]["process_graph"]
    callback["high"] = node("eq", x=of("other"), y=8)
    callback["other"] = node("array_element", data={"from_parameter": "data"}, index=0)
    graph["mask"]["result"] = True
    one, _ = jobs(sample, graph)
    assert one.lowered is not None and not one.lowered.faster


def test_a_graph_that_is_only_checked_reads_no_pixel(sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    graph = {
        "load": load("sample", bands=["B04"]),
        "trim": {**node("trim_cube", data=of("load")), "result": True},
    }
    read: list[Box] = []
    real = CollectionSource.read

    def noted(self: CollectionSource, box: Box) -> Any:
        read.append(box)
        return real(self, box)

    monkeypatch.setattr(CollectionSource, "read", noted)
    for reads_pixels in (False, True):
        environment = GraphEnvironment({}, opened={"sample": sample[0]}, reads_pixels=reads_pixels)
        (output,) = Job(parse(graph), environment).outputs
        assert bool(read) == reads_pixels and output.is_raster
