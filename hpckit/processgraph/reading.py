"""Nodes of a document as nodes of a graph: references resolved, user-defined processes and parameters put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.processgraph.callee import Callee, callee
from hpckit.processgraph.document import (
    LARGE,
    MOST_GRAPHS_NESTED,
    MOST_NODES,
    Document,
    closest,
    node_references,
    order,
    refers,
    shown,
)
from hpckit.processgraph.geojson import known_geometries
from hpckit.processgraph.graph import (
    Argument,
    ChildGraph,
    ConstantArray,
    ConstantObject,
    FromNode,
    FromParameter,
    Graph,
    Node,
    free_parameters,
)
from hpckit.processgraph.matching import mismatches
from hpckit.processgraph.specs import Parameter, Specification, specification

JSON = Any
_Made = tuple[dict[str, Node], str]
"""Nodes, and the one that gives the result."""
_REFERENCES: Final = frozenset({"from_node", "from_parameter", "process_graph"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a graph stands.

    Parameters
    ----------
    parameters : frozenset of str
        Names that have a value when the graph is evaluated.
    put_in : mapping of str to Argument
        Parameters that are replaced now.
    prefix, path : str
        What stands before the names of its nodes in the graph that is made, and in messages.
    inside : tuple of str
        User-defined processes around it.
    depth : int
        Graphs around it.
    """

    parameters: frozenset[str] = frozenset()
    put_in: Mapping[str, Argument] = field(default_factory=dict)
    prefix: str = ""
    path: str = ""
    inside: tuple[str, ...] = ()
    depth: int = 0


@dataclass(eq=False)
class Reader:
    """Reads a document, and collects its faults."""

    user_defined: Mapping[str, JSON]
    faults: list[GraphError] = field(default_factory=list)
    _nodes: int = 0
    _geometries: dict[int, tuple[ConstantObject, ConstantObject]] = field(default_factory=dict)

    def geometries(self, item: ConstantObject) -> ConstantObject:
        """The geometries of a large feature collection; itself if it is none, or is faulty."""
        if len(item.get("features") or ()) < LARGE:
            return item
        if id(item) not in self._geometries:
            self._geometries[id(item)] = item, known_geometries(item)
        return self._geometries[id(item)][1]

    def graph(self, document: Document, scope: Scope) -> tuple[dict[str, Node], str]:
        """The nodes that have no fault and stand behind no other that has one, and the result's node.

        Raises
        ------
        GraphError
            `ProcessGraphComplexity`: too many nodes, or graphs nested too deeply.
        """
        self._count(document, scope)
        nodes: dict[str, Node] = {}
        results: dict[str, str] = {}
        ready, cycle = order(document)
        if cycle:
            listed = ", ".join(map(repr, cycle[:5]))
            self._fault(f"nodes {listed} wait for each other", scope.path + cycle[0])
        for name in document:
            if not isinstance(document[name], Mapping):
                self._fault(
                    f"a node is an object with `process_id` and `arguments`, not {shown(document[name])}",
                    scope.path + name,
                )
        for name in ready:
            made = _NodeReader(self, document, name, scope, results, nodes).read()
            if made is not None:
                added, results[name] = made
                nodes |= added
        return nodes, results.get(self._result(document, scope), "")

    def _count(self, document: Document, scope: Scope) -> None:
        self._nodes += len(document)
        if self._nodes > MOST_NODES:
            raise GraphError(
                f"the process graph has more than {MOST_NODES} nodes, with those of user-defined processes in it",
                fault="ProcessGraphComplexity",
                node=scope.path.rstrip("."),
            )
        if scope.depth > MOST_GRAPHS_NESTED:
            raise GraphError(
                f"more than {MOST_GRAPHS_NESTED} process graphs are nested",
                fault="ProcessGraphComplexity",
                node=scope.path.rstrip("."),
            )

    def _result(self, document: Document, scope: Scope) -> str:
        marked = [name for name, node in document.items() if isinstance(node, Mapping) and node.get("result") is True]
        where = scope.path.rstrip(".")
        if not marked:
            self._fault("no node is the result", where, hint="set `result: true` at one node")
        elif len(marked) > 1:
            listed = ", ".join(map(repr, marked[:5]))
            self._fault(
                f"{len(marked)} nodes are the result: {listed}", where, hint="leave `result: true` at one node"
            )
        return marked[0] if marked else ""

    def _fault(self, message: str, node: str, *, fault: str = "ProcessGraphInvalid", hint: str | None = None) -> None:
        self.faults.append(GraphError(message, hint=hint, fault=fault, node=node))


@dataclass(eq=False)
class _NodeReader:
    """One node of a document."""

    reader: Reader
    document: Document
    name: str
    scope: Scope
    results: Mapping[str, str]
    """Nodes that have been read, with those that give their results."""
    made: Mapping[str, Node]
    """What they became."""

    def read(self) -> _Made | None:
        """The node, or those of the user-defined process that it calls, and the one that gives its result."""
        node, before = self.document[self.name], len(self.reader.faults)
        process, given = node.get("process_id"), node.get("arguments")
        if not isinstance(process, str):
            self._fault(f"`process_id` is the name of a process, not {shown(process)}")
        if not isinstance(given, Mapping):
            self._fault(
                f"`arguments` is an object, not {shown(given)}", hint="write `arguments: {}` if there are none"
            )
        if not isinstance(process, str) or not isinstance(given, Mapping):
            return None
        called = self._callee(process, node.get("namespace"))
        arguments = {
            key: self._given(item, None if called is None else called.parameter(key)) for key, item in given.items()
        }
        if called is not None and called.known is not None:
            if called.graph is None:
                arguments = {key: self._known(item, called.known, key) for key, item in arguments.items()}
            arguments = self._complete(process, called.known, arguments)
        if called is None or len(self.reader.faults) > before or self._stands_behind_a_fault(given):
            return None
        if called.graph is not None:
            return self._put_in(called.key, called.graph, arguments)
        name, description = self.scope.prefix + self.name, node.get("description")
        text = description if isinstance(description, str) else ""
        return {name: Node(name, process, arguments, self._path, text)}, name

    @property
    def _path(self) -> str:
        return self.scope.path + self.name

    def _stands_behind_a_fault(self, given: Document) -> bool:
        return any(used not in self.results for used in node_references(given))

    def _callee(self, process: str, namespace: JSON) -> Callee | None:
        try:
            return callee(process, namespace, self.reader.user_defined, self.scope.inside)
        except GraphError as fault:
            self._fault(fault.message, fault=fault.fault, hint=fault.hint)
            return None

    def _complete(self, process: str, known: Specification, given: dict[str, Argument]) -> dict[str, Argument]:
        """Arguments with defaults; a fault for each that is unknown, missing, or of another type."""
        given = {name: item for name, item in given.items() if item is not None or not known.takes_default(name)}
        for name, argument in given.items():
            parameter = known.parameters.get(name)
            if parameter is None and known.lists_parameters:
                self._fault(
                    f"process {process!r} has no parameter {name!r}",
                    fault="ProcessParameterUnsupported",
                    hint=closest(name, list(known.parameters)),
                )
            elif parameter is not None:
                for reason in mismatches(argument, parameter, self._returned):
                    self._fault(
                        f"argument {name!r} of process {process!r}: {reason}", fault="ProcessParameterInvalid"
                    )
        for name, parameter in known.parameters.items():
            if name not in given and not parameter.optional:
                self._fault(f"argument {name!r} of process {process!r} is missing", fault="ProcessParameterRequired")
        return {**known.defaults, **given}

    def _given(self, item: JSON, parameter: Parameter | None) -> Argument:
        if isinstance(item, dict | list) and not refers(item):
            return ConstantObject(item) if isinstance(item, dict) else ConstantArray(item)
        return self._argument(item, parameter)

    def _known(self, item: Argument, process: Specification, name: str) -> Argument:
        """Many geometries, read once for all nodes that take them: nobody looks at each coordinate again."""
        parameter = process.parameters.get(name)
        if not isinstance(item, ConstantObject) or parameter is None or not parameter.takes_geometries:
            return item
        return self.reader.geometries(item)

    def _argument(self, item: JSON, parameter: Parameter | None) -> Argument:
        match item:
            case Mapping() if parameter is not None and parameter.is_callback and not set(item) & _REFERENCES:
                return item  # a child process that is none: one fault, and none for what stands in it
            case {"from_node": used}:
                return self._from_node(used)
            case {"from_parameter": name}:
                return self._from_parameter(name)
            case {"process_graph": Mapping() as graph} if graph:
                return self._child(graph, parameter)
            case {"process_graph": _}:
                self._fault("`process_graph` of a child process has no nodes", fault="ProcessGraphMissing")
                return None
            case Mapping():
                return {key: self._given(inner, parameter) for key, inner in item.items()}
            case list() | tuple():
                return [self._given(inner, parameter) for inner in item]
            case _:
                return item

    def _from_node(self, used: JSON) -> Argument:
        if isinstance(used, str) and used in self.results:
            return FromNode(self.results[used])
        if not isinstance(used, str) or used not in self.document:
            self._fault(f"`from_node`: there is no node {shown(used)} here", hint=closest(used, list(self.document)))
        return FromNode("")

    def _from_parameter(self, name: JSON) -> Argument:
        if isinstance(name, str) and name in self.scope.put_in:
            return self.scope.put_in[name]
        known = [*self.scope.put_in, *self.scope.parameters]
        if not isinstance(name, str) or name not in known:
            self._fault(
                f"`from_parameter`: there is no parameter {shown(name)} here",
                fault="ProcessParameterMissing",
                hint=closest(name, known) or (f"there are {', '.join(sorted(known))}" if known else None),
            )
        return FromParameter(str(name))

    def _child(self, graph: Document, parameter: Parameter | None) -> ChildGraph:
        """A child process: it sees the parameters that its parent gives it, and those around it."""
        callback = None if parameter is None else parameter.callback
        given = tuple(one.name for one in callback or ())
        scope = replace(
            self.scope,
            parameters=self.scope.parameters.union(self.scope.put_in, given),
            put_in={},
            prefix="",
            path=f"{self._path}.{parameter.name if parameter is not None else 'process_graph'}.",
            depth=self.scope.depth + 1,
        )
        nodes, result = self.reader.graph(graph, scope)
        child = Graph(nodes, result)
        wanted = free_parameters(child) - set(given)
        put_in = {name: value for name, value in self.scope.put_in.items() if name in wanted}
        return ChildGraph(replace(child, parameters=put_in), given)

    def _put_in(
        self, key: str, graph: Document, arguments: dict[str, Argument]
    ) -> tuple[dict[str, Node], str] | None:
        """The nodes of a user-defined process, with arguments in place of its parameters."""
        prefix = f"{self.name}."
        while any(name.startswith(prefix) for name in self.document):
            prefix += "."
        inside = (*self.scope.inside, key)
        scope = Scope(
            frozenset(), arguments, self.scope.prefix + prefix, f"{self._path}.", inside, self.scope.depth + 1
        )
        nodes, result = self.reader.graph(graph, scope)
        return (nodes, result) if result else None

    def _returned(self, used: FromNode) -> Specification | None:
        """Specification of the process whose result is referred to."""
        node = self.made.get(used.node)
        return None if node is None else specification(node.process)

    def _fault(self, message: str, *, fault: str = "ProcessGraphInvalid", hint: str | None = None) -> None:
        self.reader.faults.append(GraphError(message, hint=hint, fault=fault, node=self._path))
