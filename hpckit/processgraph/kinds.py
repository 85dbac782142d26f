"""What kind of graph or argument it is: of values alone, or without references."""

from __future__ import annotations

from collections.abc import Mapping

from hpckit.processgraph.graph import (
    Argument,
    ChildGraph,
    ConstantArray,
    ConstantObject,
    FromNode,
    FromParameter,
    Graph,
    children,
)
from hpckit.processgraph.process import processes


def is_pixelwise(graph: Graph) -> bool:
    """Whether all processes are those of values, which know no neighbours."""
    known = processes()
    return all(
        node.process in known
        and known[node.process].takes == "values"
        and all(is_pixelwise(child) for child in children(node.arguments))
        for node in graph.nodes.values()
    )


def is_constant(argument: Argument) -> bool:
    """Whether an argument is JSON alone, whatever is evaluated."""
    match argument:
        case ConstantObject() | ConstantArray():
            return True
        case FromNode() | FromParameter() | ChildGraph() | tuple():
            return False
        case Mapping():
            return all(map(is_constant, argument.values()))
        case list():
            return all(map(is_constant, argument))
    return True
