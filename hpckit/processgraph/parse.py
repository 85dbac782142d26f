"""From JSON to `Graph`: user-defined processes and parameters put in, defaults filled in, all faults at once.

A user-defined process becomes nodes of the graph that calls it, so the engine sees one graph. Its parameters are
replaced by arguments; in child processes of it they are parameters that the child graph brings along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.processgraph.document import Document, graph_in, load, process_in, split
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import Argument, ChildGraph, Graph, Node, free_parameters, used_nodes
from hpckit.processgraph.process import Environment
from hpckit.processgraph.reading import Reader, Scope
from hpckit.processgraph.specs import Specification, specification

JSON = Any
_NONE: Final[Mapping[str, JSON]] = {}


def parse(
    process: JSON, *, user_defined: Mapping[str, JSON] = _NONE, parameters: Mapping[str, JSON] = _NONE
) -> Graph:
    """Read a process graph.

    Parameters
    ----------
    process : JSON, str or bytes
        Nodes, `{"process_graph": …}`, or the body of a request that has a `process`; or its text.
    user_defined : mapping of str to JSON
        Processes of the user, by name; those of other servers by `URL#name`, the namespace and the name.
    parameters : mapping of str to JSON
        Values of the process' own parameters.

    Raises
    ------
    GraphError
        The first fault; `faults` has all.
    """
    graph, found = read(process, user_defined=user_defined, parameters=parameters)
    if found:
        raise found[0]
    return graph


def faults(
    process: JSON,
    environment: Environment,
    *,
    user_defined: Mapping[str, JSON] = _NONE,
    parameters: Mapping[str, JSON] = _NONE,
) -> list[GraphError]:
    """All faults of a process graph: of its form, of its arguments, and of the types of its cubes.

    Where a parameter of the process itself has neither value nor default, types of what follows are not known, and
    are not checked.
    """
    graph, found = read(process, user_defined=user_defined, parameters=parameters)
    return [*found, *faults_of_types(graph, environment)]


def faults_of_types(graph: Graph, environment: Environment) -> list[GraphError]:
    """Faults of the types of a graph's cubes, as far as its parameters are known."""
    return Evaluation(_without_open_parameters(graph), environment).faults()


def read(
    process: JSON, *, user_defined: Mapping[str, JSON] = _NONE, parameters: Mapping[str, JSON] = _NONE
) -> tuple[Graph, list[GraphError]]:
    """Read a process graph: the nodes that have no fault, and all faults."""
    reader = Reader(user_defined)
    try:
        document = load(process) if isinstance(process, str | bytes) else process
        nodes, result = reader.graph(graph_in(document), _outermost(process_in(document), parameters))
    except GraphError as fault:
        return Graph({}, ""), [*reader.faults, fault]
    return Graph(nodes, result), reader.faults


def read_text(text: bytes, parameters: Mapping[str, JSON] = _NONE) -> tuple[Graph, list[GraphError]]:
    """Read the text of a process graph, with the user's processes beside it; `read` of the last text is kept.

    A command reads the same text when it checks, prepares and plans a graph, whose geometries may be megabytes.
    """
    graph, found = _read_text(text, json.dumps(parameters, sort_keys=True))
    return graph, list(found)


@lru_cache(maxsize=1)
def _read_text(text: bytes, parameters: str) -> tuple[Graph, tuple[GraphError, ...]]:
    try:
        process, user_defined = split(text)
    except GraphError as fault:
        return Graph({}, ""), (fault,)
    graph, found = read(process, user_defined=user_defined, parameters=json.loads(parameters))
    return graph, tuple(found)


def one_call(process: str, arguments: Mapping[str, Argument]) -> Graph:
    """A graph of one node, with values as arguments, and the defaults of its specification."""
    known = specification(process)
    defaults = {} if known is None else known.defaults
    return Graph({process: Node(process, process, {**defaults, **arguments}, process)}, process)


def parse_callback(process: JSON, parent: str, parameter: str) -> ChildGraph:
    """Read a child process, with the parameters that its parent gives it.

    Raises
    ------
    GraphError
        Its first fault.
    """
    known = specification(parent)
    wanted = None if known is None else known.parameters.get(parameter)
    given = tuple(one.name for one in (wanted and wanted.callback) or ())
    reader = Reader(_NONE)
    nodes, result = reader.graph(graph_in(process), Scope(frozenset(given)))
    if reader.faults:
        raise reader.faults[0]
    return ChildGraph(Graph(nodes, result), given)


def _outermost(process: Document, values: Mapping[str, JSON]) -> Scope:
    """The scope of a process that nothing calls: its parameters have values, defaults, or neither."""
    try:
        known = Specification.of(process)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise GraphError("`parameters` of a process is a list of objects with `name` and `schema`") from None
    unknown = set(values) - set(known.parameters)
    if unknown and known.lists_parameters:
        raise GraphError(
            f"the process has no parameter {min(unknown)!r}",
            hint=f"it has {', '.join(known.parameters) or 'none'}",
            fault="ProcessParameterUnsupported",
        )
    put_in = {**known.defaults, **values}
    return Scope(frozenset(known.parameters) - set(put_in), put_in)


def _without_open_parameters(graph: Graph) -> Graph:
    """The nodes whose arguments are known."""
    known: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        if not free_parameters(node.arguments) and used_nodes(node.arguments) <= known.keys():
            known[name] = node
    return Graph(known, graph.result if graph.result in known else "")
