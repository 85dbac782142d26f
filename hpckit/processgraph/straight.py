"""Graphs of values, evaluated node by node: callbacks are called for thousands of strips of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpckit.errors import GraphError
from hpckit.processgraph.graph import (
    Argument,
    FromNode,
    FromParameter,
    Graph,
    Node,
    children,
    free_parameters,
    needed,
    used_nodes,
)
from hpckit.processgraph.process import Implementation, Value, processes


@dataclass(frozen=True, slots=True)
class _Step:
    """One node, prepared."""

    node: Node
    run: Implementation
    constants: Mapping[str, Value]
    variables: Sequence[tuple[str, Argument]]
    """Arguments that refer to something."""
    last_uses: Sequence[str]
    """Nodes whose results nobody needs after this one."""


@dataclass(frozen=True, slots=True)
class Straight:
    """The nodes of a graph that its result needs, each behind those that it takes results from."""

    steps: Sequence[_Step]

    def __call__(self, parameters: Mapping[str, Value]) -> Value:
        """Evaluate the graph.

        Raises
        ------
        GraphError
            If a process cannot do it; the node is named.
        """
        results: dict[str, Value] = {}
        found = None
        for step in self.steps:
            try:
                given = {name: _value(argument, results, parameters) for name, argument in step.variables}
                found = step.run(**step.constants, **given)
            except GraphError as fault:
                fault.node = fault.node or step.node.path
                raise
            results[step.node.id] = found
            for name in step.last_uses:
                del results[name]
        return found


def straight(graph: Graph) -> Straight | None:
    """A graph, prepared; None if it has processes of cubes, unknown ones, or child graphs."""
    wanted = needed(graph.nodes, [graph.result])
    nodes = [node for node in graph.nodes.values() if node.id in wanted]
    left = wanted - {graph.result}
    steps = []
    for node in reversed(nodes):
        process = processes().get(node.process)
        if process is None or process.takes != "values" or any(children(node.arguments)):
            return None
        used = used_nodes(node.arguments)
        varying = {name for name, given in node.arguments.items() if used_nodes(given) or free_parameters(given)}
        constants = {name: argument for name, argument in node.arguments.items() if name not in varying}
        variables = [(name, node.arguments[name]) for name in node.arguments if name in varying]
        steps.append(_Step(node, process.run, constants, variables, sorted(used & left)))
        left -= used
    return Straight(steps[::-1])


def _value(argument: Argument, results: Mapping[str, Value], parameters: Mapping[str, Value]) -> Any:
    match argument:
        case FromNode(node):
            return results[node]
        case FromParameter(name):
            if name not in parameters:
                raise GraphError(f"there is no parameter {name!r} here", fault="ProcessParameterMissing")
            return parameters[name]
        case Mapping():
            return {key: _value(item, results, parameters) for key, item in argument.items()}
        case list() | tuple():
            return [_value(item, results, parameters) for item in argument]
        case _:
            return argument
