"""Values and cubes in one graph: `if` chooses between cubes, and processes of values take none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpckit.errors import GraphError
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.parse import faults, parse
from hpckit.space.box import Box
from hpckit.testing.graphs import GRID, MemoryEnvironment, bands, raster, times

JSON = Any


def environment() -> MemoryEnvironment:
    shape = (2, GRID.rows, GRID.columns)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    one = raster(values[:, None], times("2024-03-01T00:00:00Z", "2024-03-11T00:00:00Z"), bands(B04="red"))
    return MemoryEnvironment({"one": one, "other": one.with_values(one.values * -1)})


def load(name: str) -> JSON:
    return {
        "process_id": "load_collection",
        "arguments": {"id": name, "spatial_extent": None, "temporal_extent": None},
    }


def chosen(value: JSON, reject: JSON = None) -> JSON:
    return {
        "one": load("one"),
        "other": load("other"),
        "even": {"process_id": "eq", "arguments": {"x": value, "y": 2}},
        "if": {
            "process_id": "if",
            "arguments": {"value": {"from_node": "even"}, "accept": {"from_node": "one"}, "reject": reject},
        },
        "last": {
            "process_id": "reduce_dimension",
            "arguments": {
                "data": {"from_node": "if"},
                "dimension": "t",
                "reducer": {
                    "process_graph": {
                        "m": {"process_id": "max", "arguments": {"data": {"from_parameter": "data"}}, "result": True}
                    }
                },
            },
            "result": True,
        },
    }


@pytest.mark.parametrize(("value", "name"), [(2, "one"), (3, "other")])
def test_if_takes_one_of_two_cubes_and_reads_no_pixel_of_the_other(value, name):
    world = environment()
    evaluation = Evaluation(parse(chosen(value, {"from_node": "other"})), world)
    box = Box(3, 5, 7, 9)
    found = evaluation.evaluate(box)
    expected = world.collections[name].values.max(axis=0)[:, 3:7, 5:9]
    np.testing.assert_array_equal(found.values, expected)
    assert [source.boxes for source in world.opened if source.boxes] == [[box]]


def test_if_may_give_no_cube():
    assert not faults(chosen(2), environment())
    [fault] = faults(chosen(3), environment())
    assert (fault.fault, fault.node) == ("ProcessParameterInvalid", "last")


def test_one_condition_chooses_between_cubes():
    document = chosen(2, {"from_node": "other"})
    document["if"]["arguments"]["value"] = {"from_node": "one"}
    assert faults(document, environment())
    document["if"]["arguments"]["value"] = {"from_node": "labels"}
    document["labels"] = {"process_id": "array_create", "arguments": {"data": [True]}}
    [fault] = faults(document, environment())
    assert (fault.fault, fault.node) == ("ProcessParameterInvalid", "if")


def test_a_cube_is_no_value_and_no_pixel_is_read_to_find_out():
    world = environment()
    document = {
        "one": load("one"),
        "made": {"process_id": "array_create", "arguments": {"data": [{"from_node": "one"}]}, "result": True},
    }
    [fault] = faults(document, world)
    assert (fault.fault, fault.node) == ("ProcessParameterInvalid", "made")
    assert "is a data cube" in fault.message
    with pytest.raises(GraphError, match="is a data cube"):
        Evaluation(parse(document), world).evaluate()
    assert not any(source.boxes for source in world.opened)
