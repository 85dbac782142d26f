"""Graphs lowered to what hpckit computes anyway: reductions over time by the kernels of composites.

`load_collection → filter_* [→ mask] → reduce_dimension | aggregate_temporal(_period)` with a plain statistic becomes
one node, which reads stored integers band by band and selects on them, as composites do (decisions 4 and 16 of the
architecture). Whatever graph makes the mask stays as it is. Values are linear in stored integers, so the result is
the same but for the rounding of floats. Composites themselves would store it as integers, which is another result.

A function of the bands that takes one band of bytes becomes a table (`tables`). Bands and times that a graph filters
away are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeGuard

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.cubes.temporal import groups_of_intervals, groups_of_period, temporal_dimension
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import ChildGraph, FromNode, FromParameter, Graph, Node, needed, used_nodes
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.memory import LOWERED, SELECTED
from hpckit.reduce.graphs.patterns import Reduction, Selection
from hpckit.reduce.graphs.source import CollectionSource
from hpckit.reduce.graphs.tables import LookUp, looked_up
from hpckit.sensors.bands import BandRef

STATISTICS: Final = ("median", "mean", "min", "max", "count")
_SELECTING: Final = ("filter_bands", "filter_temporal", "filter_bbox")
_OVER_TIME: Final = ("reduce_dimension", "aggregate_temporal", "aggregate_temporal_period")


@dataclass(frozen=True)
class Lowered:
    """A graph in which patterns are single nodes."""

    graph: Graph
    faster: Mapping[str, Reduction | LookUp | Selection]
    """What these nodes do, by name."""

    def describe(self) -> list[str]:
        """One line for each pattern."""
        return [f"{name}: {found.describe()}" for name, found in self.faster.items()]


def lowered(evaluation: Evaluation, environment: GraphEnvironment, results: Sequence[str]) -> Lowered:
    """A graph with its patterns as single nodes, and without the nodes that no result needs then.

    Parameters
    ----------
    evaluation : Evaluation
        Of the graph as it was written; it has no fault.
    results : sequence of str
        Nodes whose results are wanted.
    """
    sources = dict(_sources(evaluation, environment))
    nodes, faster = dict(evaluation.graph.nodes), dict[str, Reduction | LookUp]()
    for name, node in evaluation.graph.nodes.items():
        found = _pattern(evaluation, node, sources)
        if found is not None:
            faster[name], mask = found
            arguments = {"nbytes": faster[name].nbytes, **({} if mask is None else {"mask": mask})}
            nodes[name] = Node(name, LOWERED, arguments, node.path)
    selections = _selections(evaluation, sources, nodes, results)
    nodes |= {name: Node(name, SELECTED, {}, nodes[name].path) for name in selections}
    wanted = needed(nodes, results)
    every: dict[str, Reduction | LookUp | Selection] = {**faster, **selections}
    kept = {name: node for name, node in nodes.items() if name in wanted}
    return Lowered(
        Graph(kept, evaluation.graph.result), {name: item for name, item in every.items() if name in wanted}
    )


def _selections(
    evaluation: Evaluation, sources: Mapping[str, CollectionSource], nodes: Mapping[str, Node], results: Sequence[str]
) -> dict[str, Selection]:
    """Selections of collections of which no node needs all."""
    found: dict[str, tuple[str, Selection]] = {}
    for name, node in nodes.items():
        if node.process in _SELECTING:
            origin = _origin(evaluation.graph, FromNode(name))
            source, kind = sources.get(origin or ""), evaluation.type_of(name)
            if origin is not None and source is not None and _is_part(kind, source):
                found[name] = origin, Selection(_narrowed(source, kind), kind)
    without = {name: Node(name, SELECTED, {}, "") if name in found else node for name, node in nodes.items()}
    whole = needed(without, results)
    return {name: selection for name, (origin, selection) in found.items() if origin not in whole}


def _narrowed(source: CollectionSource, kind: Cube) -> CollectionSource:
    """A source with the bands and times of a cube alone."""
    refs, dates = dict(source.wanted.bands), dict(source.wanted.dates)
    bands = tuple((str(label), refs[str(label)]) for label in next(kind.of_kind("bands")).labels)
    times = tuple((str(label), dates[str(label)]) for label in next(kind.of_kind("temporal")).labels)
    return replace(source, wanted=replace(source.wanted, bands=bands, dates=times))


def _sources(evaluation: Evaluation, environment: GraphEnvironment) -> Iterator[tuple[str, CollectionSource]]:
    """What each `load_collection` reads."""
    for name, node in evaluation.graph.nodes.items():
        if node.process == "load_collection":
            before = len(environment.sources)
            if not used_nodes(node.arguments):
                Evaluation(Graph({name: node}, name), environment).type()
            if len(environment.sources) > before:
                yield name, environment.sources[-1]


def _pattern(
    evaluation: Evaluation, node: Node, sources: Mapping[str, CollectionSource]
) -> tuple[Reduction | LookUp, FromNode | None] | None:
    """The pattern that ends with a node, and what makes its mask; None if there is none."""
    statistic, data = _statistic(node), node.arguments.get("data")
    if not isinstance(data, FromNode):
        return None
    if statistic is None:
        found = _table(evaluation, node, data, sources)
        return None if found is None else (found, None)
    first, mask = _unmasked(evaluation.graph.nodes[data.node])
    source = sources.get(_origin(evaluation.graph, first) or "")
    kind, result = evaluation.type_of(data.node), evaluation.type_of(node.id)
    if source is None or not _is_plain(kind, source) or not isinstance(result, Cube):
        return None
    groups = _groups(node, kind)
    if groups is None or (mask is not None and not _fits(evaluation.type_of(mask.node), kind)):
        return None
    refs = dict(source.wanted.bands)
    bands = tuple(refs[str(label)] for label in next(kind.of_kind("bands")).labels)
    times, steps = next(kind.of_kind("temporal")), _steps(kind, source)
    along = "" if node.process == "reduce_dimension" else times.name
    return Reduction(source, result, kind, bands, steps, statistic, groups, along), mask


def _table(
    evaluation: Evaluation, node: Node, data: FromNode, sources: Mapping[str, CollectionSource]
) -> LookUp | None:
    """A node that is a function of one stored integer of a collection."""
    if node.process != "reduce_dimension":
        return None
    source, kind = sources.get(_origin(evaluation.graph, data) or ""), evaluation.type_of(data.node)
    if source is None or not _is_part(kind, source):
        return None
    return looked_up(evaluation, node, source, kind, _steps(kind, source))


def _steps(kind: Cube, source: CollectionSource) -> tuple[int, ...]:
    """Positions of the times of a selection on those of its source."""
    known = [label for label, _ in source.wanted.dates]
    return tuple(known.index(str(label)) for label in next(kind.of_kind("temporal")).labels)


def _statistic(node: Node) -> str | None:
    """The statistic that a node computes over time, of values that are not null."""
    reducer = node.arguments.get("reducer")
    if node.process not in _OVER_TIME or not isinstance(reducer, ChildGraph) or len(reducer.graph.nodes) != 1:
        return None
    (inner,) = reducer.graph.nodes.values()
    given = dict(inner.arguments)
    plain = given.pop("data", None) == FromParameter("data") and given.pop("ignore_nodata", True) is True
    others = all(value is None for value in given.values())
    return inner.process if plain and others and inner.process in STATISTICS else None


def _unmasked(node: Node) -> tuple[FromNode | None, FromNode | None]:
    """What is masked, and by what; a node that masks nothing is itself the former."""
    if node.process != "mask":
        return FromNode(node.id), None
    data, mask = node.arguments.get("data"), node.arguments.get("mask")
    if node.arguments.get("replacement") is not None or not isinstance(data, FromNode):
        return None, None
    return (data, mask) if isinstance(mask, FromNode) else (None, None)


def _origin(graph: Graph, first: FromNode | None) -> str | None:
    """The node that loads what a cube is a selection of."""
    while first is not None:
        node = graph.nodes[first.node]
        if node.process not in _SELECTING:
            return first.node
        data = node.arguments.get("data")
        first = data if isinstance(data, FromNode) else None
    return None


def _groups(node: Node, kind: Cube) -> tuple[tuple[int, ...], ...] | None:
    """Positions of the times of each result; None if a node does not reduce time."""
    arguments, times = node.arguments, next(kind.of_kind("temporal"))
    if node.process == "reduce_dimension":
        return (tuple(range(len(times.labels))),) if arguments.get("dimension") == times.name else None
    if temporal_dimension(kind, arguments.get("dimension")).name != times.name:
        return None
    if node.process == "aggregate_temporal_period":
        groups, _ = groups_of_period(times, str(arguments.get("period")))
    else:
        groups, _ = groups_of_intervals(times, arguments.get("intervals") or (), arguments.get("labels") or ())
    return tuple(tuple(group) for group in groups)


def _is_plain(kind: object, source: CollectionSource) -> TypeGuard[Cube]:
    """Whether a cube is a part of a source that is stored as 16-bit integers."""
    if not isinstance(kind, Cube) or not _is_part(kind, source):
        return False
    refs = dict(source.wanted.bands)
    return all(_is_number(refs[str(label)]) for label in next(kind.of_kind("bands")).labels)


def _is_part(kind: object, source: CollectionSource) -> TypeGuard[Cube]:
    """Whether a cube is pixels of some bands and times of a source, and of a bounding box."""
    if not isinstance(kind, Cube) or kind.grid is None or kind.grid.offset_in(source.grid) is None:
        return False
    if sorted(dim.kind for dim in kind.dims) != ["bands", "spatial", "spatial", "temporal"]:
        return False
    area, bands, dates = source.wanted.area, dict(source.wanted.bands), dict(source.wanted.dates)
    times = next(kind.of_kind("temporal")).labels
    return (
        (area is None or area.is_box)
        and len(dates) == len(source.wanted.dates)
        and len(times) > 0
        and set(map(str, times)) <= set(dates)
        and set(map(str, next(kind.of_kind("bands")).labels)) <= set(bands)
    )


def _is_number(ref: BandRef) -> bool:
    return ref.dtype == "uint16" and ref.band.nodata == 0 and not ref.band.is_categorical


def _fits(mask: object, kind: Cube) -> bool:
    """Whether a mask has the times of what it masks, and pixels, but no bands."""
    if not isinstance(mask, Cube) or mask.grid is None or len(mask.dims) != 3:
        return False
    times = next(kind.of_kind("temporal"))
    return times.name in mask.names and mask.dim(times.name).labels == times.labels and mask.values.dtype.kind in "bf"
