"""How much memory a graph needs for each pixel of its result: from the types of its nodes, without a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import children, needed, used_nodes
from hpckit.processgraph.kinds import is_pixelwise

SELECTED: Final = "hpckit:selection"
"""Process of a node that reads a part of a collection (`lowering`)."""
LOWERED: Final = "hpckit:composite"
"""Process of a node that stands for a pattern (`lowering`), and says what it takes."""
_TEMPORARY: Final = 2.0
"""Copies of its largest input that a process makes of which nothing is known."""
_MOST_CHILDREN: Final = 4
"""Intermediate results of such a process' callback that live at once."""
_MEASURED: Final = {
    "apply": 0.1,
    "apply_dimension": 0.1,
    "reduce_dimension": 0.1,
    "aggregate_temporal": 0.1,
    "aggregate_temporal_period": 0.1,
    "mask": 0.1,
    "merge_cubes": 0.1,
    "apply_kernel": 0.5,
    "resample_spatial": 0.5,
    "resample_cube_spatial": 0.5,
}
"""Copies of their largest input that processes make, where callbacks work in strips of pixels
(`tests/unit/test_graph_memory.py` measures them)."""
_READING: Final = 2.0
"""Copies of one band, while it is read and decoded."""
_VIEWS: Final = frozenset(
    {
        *("filter_bands", "filter_temporal", "filter_labels", "filter_bbox"),
        *("rename_labels", "rename_dimension", "add_dimension", "drop_dimension", "save_result"),
    }
)
"""Processes whose result is a part of their input, which lives as long as it does."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one pixel of a result takes."""

    nbytes: float
    """Of all nodes that live at once."""
    result_bytes: float
    """Of the result alone."""
    source_bytes: float
    """Read from collections."""
    nodes: int
    """That are computed."""


def shape_of(evaluation: Evaluation, node: str) -> Shape:
    """Bytes for each pixel of the result of a node: the most that nodes which live at once take.

    A node lives from when it is computed until the last one that takes it is computed.
    """
    graph = evaluation.graph
    wanted = needed(graph.nodes, [node])
    order = [name for name in graph.nodes if name in wanted]
    inputs = {name: sorted(used_nodes(graph.nodes[name].arguments)) for name in order}
    last = {name: place for place, other in enumerate(order) for name in inputs[other]}
    for name in reversed(order):
        for taken in inputs[name] if graph.nodes[name].process in _VIEWS else ():
            last[taken] = max(last[taken], last.get(name, len(order)))
    result = evaluation.type_of(node)
    sizes = {name: _pixel_bytes(evaluation.type_of(name), result) for name in order}
    kept = {name: 0.0 if graph.nodes[name].process in _VIEWS else size for name, size in sizes.items()}
    live: dict[str, float] = {}
    most = 0.0
    for place, name in enumerate(order):
        largest = max((sizes[item] for item in inputs[name]), default=sizes[name])
        live[name] = kept[name]
        most = max(most, sum(live.values()) + _temporary(evaluation, name, largest))
        live = {item: size for item, size in live.items() if last.get(item, len(order)) > place}
    reading = [graph.nodes[name] for name in order if graph.nodes[name].process.startswith(("load_", "hpckit:"))]
    read = sum(float(node.arguments.get("nbytes", sizes[node.id])) for node in reading)
    return Shape(most, sizes[node], read, len(order))


def _temporary(evaluation: Evaluation, name: str, largest: float) -> float:
    """Bytes that a process takes for each pixel beside its inputs and its result."""
    node = evaluation.graph.nodes[name]
    if node.process == LOWERED:
        return float(node.arguments.get("nbytes", 0))
    if node.process in _VIEWS:
        return 0.0
    if node.process.startswith("load_") or node.process == SELECTED:
        found = evaluation.type_of(name)
        bands = next(found.of_kind("bands"), None) if isinstance(found, Cube) else None
        return _READING * largest / max(1, len(bands.labels) if bands is not None else 1)
    inner = list(children(node.arguments))
    if node.process in _MEASURED and all(map(is_pixelwise, inner)):
        return _MEASURED[node.process] * largest
    nodes = min(_MOST_CHILDREN, sum(len(child.nodes) for child in inner))
    return (_TEMPORARY + nodes) * largest


def _pixel_bytes(found: Any, result: Any) -> float:
    """Bytes of a node's cube for each pixel of the result."""
    if not isinstance(found, Cube) or found.grid is None:
        return 0.0
    count = 1
    for dim in found.dims:
        if dim.kind not in ("spatial", "geometry"):
            count *= max(1, len(dim.labels))
    return count * found.values.dtype.itemsize * _finer(found, result)


def _finer(found: Cube, result: Any) -> float:
    """Pixels of a cube for each pixel of the result."""
    if not isinstance(result, Cube) or result.grid is None or found.grid is None or found.grid.crs != result.grid.crs:
        return 1.0
    return abs(result.grid.dx * result.grid.dy) / abs(found.grid.dx * found.grid.dy)
