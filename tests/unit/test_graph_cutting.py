"""Windows that are computed part by part are those that are computed at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.reduce.graphs import cutting
from hpckit.reduce.graphs.cutting import cut
from hpckit.space.box import Box
from tests.graph_examples import Graph, calling, node, of
from tests.unit.test_graph_lowering import graphs, jobs
from tests.unit.test_graph_sources import sample  # noqa: F401 -- a fixture

pytestmark = pytest.mark.slow


@given(st.integers(-50, 50), st.integers(1, 300), st.integers(1, 90), st.integers(-1000, 1000), st.integers(0, 9))
def test_parts_cover_a_window_once(top: int, height: int, rows: int, first: int, left: int) -> None:
    box = Box(top, left, top + height, left + 7)
    parts = list(cut(box, rows, first))
    assert [row for part in parts for row in range(part.top, part.bottom)] == list(range(box.top, box.bottom))
    assert all((part.left, part.right) == (left, left + 7) for part in parts)
    assert all((part.top - first) % rows == 0 for part in parts[1:])
    assert all(0 < part.shape[0] <= rows for part in parts)


@settings(max_examples=12)
@given(graphs(), st.integers(0, 300), st.integers(30, 200))
def test_parts_have_the_same_pixels(sample: Any, graph: Graph, top: int, height: int) -> None:  # noqa: F811
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cutting, "_PART_BYTES", 1)
        for job in jobs(sample, graph):
            (output,) = job.outputs
            box = Box(top, 10, top + height, 75).within(output.type.grid.shape)
            whole = job.computing.result_of(output.node, box)
            patched.setattr(cutting, "_ROWS", 32)
            assert job.rows_at_once(output, box.shape[1]) == 32
            found = job.evaluate(output, box)
            assert found.dims == whole.dims and found.box == whole.box and found.values.dtype == whole.values.dtype
            np.testing.assert_array_equal(found.values, whole.values)


def test_what_needs_neighbours_is_not_cut(sample: Any) -> None:  # noqa: F811
    first = {"load": node("load_collection", id="sample", spatial_extent=None, temporal_extent=None, bands=["B04"])}
    first["flat"] = node("reduce_dimension", data=of("load"), dimension="t", reducer=calling("max"))
    kernel = node("apply_kernel", data=of("flat"), kernel=[[1, 1, 1]] * 3)
    coarse = node("resample_spatial", data=of("flat"), resolution=20, method="average")
    for last, is_cut in (
        (kernel, False),
        (coarse, False),
        (node("filter_bands", data=of("flat"), bands=["B04"]), True),
    ):
        for job in jobs(sample, {**first, "last": {**last, "result": True}}):
            (output,) = job.outputs
            assert (job.rows_at_once(output, 100) is not None) == is_cut
