"""Chains of nodes that are longer than the stack of a thread."""

from __future__ import annotations

import numpy as np
import pytest

from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.parse import faults, parse
from hpckit.space.box import Box
from hpckit.testing.graphs import MemoryEnvironment, bands, raster, times

CUBE = raster(np.ones((2, 1, 12, 16), np.float32), times("2024-01-01", "2024-02-01"), bands(B04="red"))


def chain(length: int, process: str = "add") -> dict[str, object]:
    step = {
        "process_graph": {
            "a": {"process_id": process, "arguments": {"x": {"from_parameter": "x"}, "y": 1}, "result": True}
        }
    }
    load = {"id": "S2", "spatial_extent": None, "temporal_extent": None}
    nodes: dict[str, object] = {"n0": {"process_id": "load_collection", "arguments": load}}
    for number in range(1, length):
        given = {"data": {"from_node": f"n{number - 1}"}, "process": step}
        nodes[f"n{number}"] = {"process_id": "apply", "arguments": given, "result": number == length - 1}
    return nodes


@pytest.mark.parametrize("length", [30, 300, 950])
def test_long_chains_are_computed(length: int) -> None:
    environment = MemoryEnvironment({"S2": CUBE})
    evaluation = Evaluation(parse(chain(length)), environment)
    assert evaluation.type().dims == CUBE.dims
    found = evaluation.evaluate(Box(2, 3, 4, 6))
    np.testing.assert_array_equal(found.values, np.full((2, 1, 2, 3), length, np.float32))


def test_faults_of_long_chains_are_found() -> None:
    environment = MemoryEnvironment({"S2": CUBE})
    assert faults(chain(1000), environment) == []
    named = faults(chain(1000, "adding"), environment)
    assert len(named) == 999 and {fault.fault for fault in named} == {"ProcessUnsupported"}
