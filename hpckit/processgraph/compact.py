"""Graphs that were read, as JSON: nothing in it has to be checked again, and geometries stand beside it.

A dict has one member, which says what it is: `node` and `parameter` are references, `graph` is a child process,
`geometries` the number of a list of geometries, `constant` JSON that nobody looks into, `object` another object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.graph import (
    Argument,
    ChildGraph,
    ConstantArray,
    ConstantObject,
    FromNode,
    FromParameter,
    Graph,
    KnownGeometries,
    Node,
)

JSON = Any


def packed(graph: Graph) -> tuple[JSON, list[Geometries]]:
    """A graph as JSON, and the geometries that it refers to by their position."""
    known: list[Geometries] = []
    return _graph(graph, known), known


def unpacked(document: JSON, geometries: Sequence[Geometries]) -> Graph:
    """The graph that was packed.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError
        If it is not what `packed` gives.
    """
    nodes = {
        name: Node(name, process, _mapping(arguments, geometries), path, description)
        for name, process, arguments, path, description in document["nodes"]
    }
    return Graph(nodes, document["result"], _mapping(document["parameters"], geometries))


def _graph(graph: Graph, known: list[Geometries]) -> JSON:
    nodes = [
        [node.id, node.process, _members(node.arguments, known), node.path, node.description]
        for node in graph.nodes.values()
    ]
    return {"nodes": nodes, "result": graph.result, "parameters": _members(graph.parameters, known)}


def _members(items: Mapping[str, Argument], known: list[Geometries]) -> JSON:
    return {name: _argument(item, known) for name, item in items.items()}


def _argument(item: Argument, known: list[Geometries]) -> JSON:
    match item:
        case FromNode(node):
            return {"node": node}
        case FromParameter(name):
            return {"parameter": name}
        case ChildGraph(graph, takes):
            return {"graph": _graph(graph, known), "takes": list(takes)}
        case KnownGeometries():
            return {"geometries": _position(item.geometries, known)}
        case ConstantObject() | ConstantArray():
            return {"constant": item}
        case Mapping():
            return {"object": _members(item, known)}
        case list() | tuple():
            return [_argument(inner, known) for inner in item]
    return item


def _position(item: Geometries, known: list[Geometries]) -> int:
    for number, other in enumerate(known):
        if other is item:
            return number
    known.append(item)
    return len(known) - 1


def _mapping(items: JSON, geometries: Sequence[Geometries]) -> dict[str, Argument]:
    return {name: _unpacked(item, geometries) for name, item in items.items()}


def _unpacked(item: JSON, geometries: Sequence[Geometries]) -> Argument:
    match item:
        case {"node": node}:
            return FromNode(node)
        case {"parameter": name}:
            return FromParameter(name)
        case {"graph": graph, "takes": takes}:
            return ChildGraph(unpacked(graph, geometries), tuple(takes))
        case {"geometries": number}:
            return KnownGeometries(geometries[number])
        case {"constant": dict() as value}:
            return ConstantObject(value)
        case {"constant": value}:
            return ConstantArray(value)
        case {"object": members}:
            return _mapping(members, geometries)
        case Mapping():
            raise ValueError(f"not a part of a packed graph: {sorted(item)}")
        case list():
            return [_unpacked(inner, geometries) for inner in item]
    return item
