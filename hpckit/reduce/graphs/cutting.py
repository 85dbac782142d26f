"""Windows that are computed part by part: what lives while a part is computed is small, whatever the window is.

Only where no pixel of the result needs its neighbours, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import children, needed
from hpckit.processgraph.kinds import is_pixelwise
from hpckit.processgraph.process import processes
from hpckit.reduce.graphs.memory import LOWERED, SELECTED
from hpckit.space.box import Box

_PART_BYTES: Final = 64 * 2**20
"""That the nodes of a part may take."""
_ROWS: Final = 256
"""Parts begin at multiples of this row of the tile, as the chunks of most cubes do: none is decoded twice."""
_LOCAL: Final = frozenset(
    {
        *(
            "load_collection",
            SELECTED,
            LOWERED,
            "save_result",
            "mask",
            "apply",
            "apply_dimension",
            "reduce_dimension",
        ),
        *("aggregate_temporal", "aggregate_temporal_period", "merge_cubes", "filter_bands", "filter_temporal"),
        *("filter_labels", "filter_bbox", "rename_labels", "rename_dimension", "add_dimension", "drop_dimension"),
    }
)
"""Processes of cubes whose pixels need no others, if their callbacks do not."""


def is_local(evaluation: Evaluation, result: str) -> bool:
    """Whether each pixel of a result depends on the pixels of the same place alone."""
    graph, kind = evaluation.graph, evaluation.type_of(result)
    if not isinstance(kind, Cube) or kind.grid is None:
        return False
    for name in needed(graph.nodes, [result]):
        node, found = graph.nodes[name], evaluation.type_of(name)
        known = processes().get(node.process)
        if node.process not in _LOCAL and (known is None or known.takes == "cubes"):
            return False
        if isinstance(found, Cube) and (found.grid is None or found.grid.crs != kind.grid.crs):
            return False
        if not all(map(is_pixelwise, children(node.arguments))):
            return False
    return True


def rows_at_once(columns: int, nbytes: float) -> int:
    """Rows of a part, of which each pixel takes some bytes."""
    most = int(_PART_BYTES / max(1.0, nbytes * columns))
    return max(_ROWS, most - most % _ROWS)


def cut(box: Box, rows: int, first: int) -> Iterator[Box]:
    """Parts of a window, from top to bottom; they begin at the row `first`, and at each that many rows from it."""
    top = box.top
    while top < box.bottom:
        bottom = min(box.bottom, first + ((top - first) // rows + 1) * rows)
        yield Box(top, box.left, bottom, box.right)
        top = bottom


def put_together(box: Box, parts: Iterator[Box], compute: Callable[[Box], Cube]) -> Cube:
    """Compute a window part by part."""
    values: npt.NDArray[Any] | None = None
    for part in parts:
        found = compute(part)
        if part == box:
            return found
        axis = next(place for place, dim in enumerate(found.dims) if dim.axis == "y")
        if values is None:
            shape = list(found.values.shape)
            shape[axis] = box.shape[0]
            values = np.empty(shape, found.values.dtype)
        np.moveaxis(values, axis, 0)[part.top - box.top : part.bottom - box.top] = np.moveaxis(found.values, axis, 0)
    assert values is not None
    return replace(found, values=values, box=box)
