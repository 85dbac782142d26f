"""Process graphs as objects: nodes with their arguments, read from JSON by `parse`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpckit.processgraph.cube import Geometries


@dataclass(frozen=True, slots=True)
class FromNode:
    """The result of another node of the same graph."""

    node: str


@dataclass(frozen=True, slots=True)
class FromParameter:
    """A parameter: of the process that calls this graph, or of one around it."""

    name: str


@dataclass(frozen=True, slots=True)
class ChildGraph:
    """A graph as an argument: a reducer, or another callback."""

    graph: Graph
    takes: tuple[str, ...] = ()
    """Names of the parameters that its parent gives it."""


Argument = Any
"""JSON, in which `FromNode`, `FromParameter` and `ChildGraph` may stand anywhere."""


@dataclass(frozen=True, slots=True)
class Node:
    """One call of a process."""

    id: str
    """In its graph: `load1`."""
    process: str
    arguments: Mapping[str, Argument]
    path: str
    """From the outermost graph: `reduce1.reducer.mean1`."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which each one stands behind those that it takes results from."""

    nodes: Mapping[str, Node]
    result: str
    """Node whose result is that of the graph."""
    parameters: Mapping[str, Argument] = field(default_factory=dict)
    """Of a child graph: what it brings along from around it, to be evaluated there."""


class ConstantObject(dict[str, Any]):
    """A JSON object in which nothing refers to anything: nobody looks into it again, as geometries are megabytes."""


class KnownGeometries(ConstantObject):
    """GeoJSON whose geometries were read: what it was written as is not kept."""

    def __init__(self, geometries: Geometries) -> None:
        super().__init__(type="FeatureCollection")
        self.geometries = geometries


class ConstantArray(list[Any]):
    """A JSON array in which nothing refers to anything."""


def free_parameters(item: Graph | Argument) -> set[str]:
    """Names of parameters that are referred to, and that nothing within gives a value."""
    match item:
        case ConstantObject() | ConstantArray():
            return set()
        case FromParameter(name):
            return {name}
        case Graph(nodes=nodes, parameters=brought):
            within = set().union(*(free_parameters(node.arguments) for node in nodes.values()))
            return (within - set(brought)) | free_parameters(brought)
        case ChildGraph(graph, takes):
            return free_parameters(graph) - set(takes)
        case Mapping():
            return set().union(*map(free_parameters, item.values()))
        case list() | tuple():
            return set().union(*map(free_parameters, item))
        case _:
            return set()


def children(item: Argument) -> Iterator[Graph]:
    """Graphs of child processes in an argument."""
    match item:
        case ConstantObject() | ConstantArray():
            return
        case ChildGraph(graph):
            yield graph
        case Mapping():
            for inner in item.values():
                yield from children(inner)
        case list() | tuple():
            for inner in item:
                yield from children(inner)


def used_nodes(item: Argument) -> set[str]:
    """Nodes of the same graph whose results an argument takes."""
    return {reference.node for reference in references(item)}


def needed(nodes: Mapping[str, Node], results: Iterable[str]) -> set[str]:
    """Nodes that results are made from, with them."""
    found: set[str] = set()
    waiting = list(results)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += used_nodes(nodes[name].arguments)
    return found


def references(item: Argument) -> Iterator[FromNode]:
    """References to nodes of the same graph, each as often as it is there."""
    match item:
        case ConstantObject() | ConstantArray():
            return
        case FromNode():
            yield item
        case ChildGraph(graph):
            yield from references(graph.parameters)
        case Mapping():
            for inner in item.values():
                yield from references(inner)
        case list() | tuple():
            for inner in item:
                yield from references(inner)
