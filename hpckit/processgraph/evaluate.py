"""Evaluation of a graph: from its result back to what it needs, region by region.

Nothing is computed that was not asked for: the result's process is called for a part of its cube, and asks for the
parts of other cubes that it needs, until collections read pixels. Types are inferred by the same functions, for an
empty part (`NOTHING`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cropping import cropped, whole
from hpckit.processgraph.cube import NOTHING, Cube
from hpckit.processgraph.depth import depth_of, with_room
from hpckit.processgraph.graph import Argument, ChildGraph, FromNode, FromParameter, Graph, Node, references
from hpckit.processgraph.kinds import is_constant, is_pixelwise
from hpckit.processgraph.process import Asked, Call, Environment, Value, processes
from hpckit.processgraph.straight import Straight, straight
from hpckit.processgraph.strips import in_strips
from hpckit.space.box import Box

_Found = TypeVar("_Found")
_MISSING: Final = object()


@dataclass(eq=False)
class Evaluation:
    """A graph that is evaluated, with the values of its parameters.

    Parameters
    ----------
    graph : Graph
    environment : Environment
        Where collections, files and user code come from.
    parameters : mapping of str to Value
        Of this graph, and of those around it.
    """

    graph: Graph
    environment: Environment
    parameters: Mapping[str, Value] = field(default_factory=dict)
    faster: Mapping[str, Callable[[Call], Value]] = field(default_factory=dict)
    """Nodes that are computed otherwise than by their process, which gives the same."""
    _types: dict[str, Value] = field(default_factory=dict)
    _kept: dict[str, Any] = field(default_factory=dict)
    """What nodes made once."""
    _constant: dict[int, tuple[Argument, bool]] = field(default_factory=dict)
    """Arguments, and whether they refer to nothing, by identity."""
    _shared: dict[tuple[str, Asked], tuple[Value, int]] = field(default_factory=dict)
    """Results that other nodes will ask for again, and how often."""
    _uses: Mapping[str, int] = field(default_factory=Counter)
    """How often the result of each node is used."""

    _depth: int = 0
    """Nodes of the longest chain."""
    _has_room: bool = False
    """While a node is run for which room was made."""

    def __post_init__(self) -> None:
        """Count uses, and the longest chain."""
        self._uses = self._uses or _uses(self.graph)
        self._depth = self._depth or depth_of(self.graph)

    def type(self) -> Value:
        """What the result is, without pixels.

        Raises
        ------
        GraphError
            The first fault that is found.
        """
        return self.type_of(self.graph.result)

    def type_of(self, name: str) -> Value:
        """What the result of a node is, without pixels."""
        if self._gives_values(name):
            return self.result_of(name, None)
        if name not in self._types:
            self._types[name] = self._deep(name, NOTHING)
        return self._types[name]

    def faults(self) -> list[GraphError]:
        """Faults of all nodes; those that only follow from a fault of another node are left out."""
        return self._with_room(self._faults)

    def _faults(self) -> list[GraphError]:
        broken: set[str] = set()
        found: list[GraphError] = []
        for name, node in self.graph.nodes.items():
            if any(used.node in broken for used in references(node.arguments)):
                broken.add(name)
                continue
            try:
                self.type_of(name)
            except GraphError as fault:
                broken.add(name)
                found.append(fault)
        return found

    def evaluate(self, asked: Asked = None) -> Value:
        """A part of the result.

        Raises
        ------
        GraphError
            If a process cannot do it; the node is named.
        """
        return self.result_of(self.graph.result, asked)

    def result_of(self, name: str, asked: Asked) -> Value:
        """A part of the result of a node; computed once for all nodes that ask for the same part."""
        if self._gives_values(name):
            asked = None  # there are no parts of it
        elif isinstance(asked, Box) and asked.is_empty:
            return self.type_of(name)
        elif asked is None:
            asked = whole(self.type_of(name))
        if self._uses.get(name, 0) < 2:
            return self._deep(name, asked)
        value, left = self._shared.pop((name, asked), (_MISSING, self._uses[name]))
        if value is _MISSING:
            value = self._deep(name, asked)
        if left > 1:
            self._shared[name, asked] = value, left - 1
        return value

    def _deep(self, name: str, asked: Asked) -> Value:
        """Run a node; the first one of a chain makes room for all of it."""
        return self._run(name, asked) if self._has_room else self._with_room(self._run, name, asked)

    def _with_room(self, function: Callable[..., _Found], *arguments: object) -> _Found:
        self._has_room = True
        try:
            return with_room(self._depth, function, *arguments)
        finally:
            self._has_room = False

    def _gives_values(self, name: str) -> bool:
        node = self.graph.nodes[name]
        process = None if name in self.faster else processes().get(node.process)
        return process is not None and process.takes == "values" and not self._chooses_cubes(node)

    def _chooses_cubes(self, node: Node) -> bool:
        """Whether it is an `if` whose result may be a cube of another node."""
        branches = [node.arguments.get(name) for name in ("accept", "reject")] if node.process == "if" else ()
        return any(isinstance(branch, FromNode) and not self._gives_values(branch.node) for branch in branches)

    def _run(self, name: str, asked: Asked) -> Value:
        node = self.graph.nodes[name]
        try:
            if name in self.faster:
                return self.faster[name](_Call(self, node, asked))
            process = processes().get(node.process)
            if process is None:
                raise GraphError(f"there is no process {node.process!r}", fault="ProcessUnsupported")
            if process.takes == "cubes":
                return process.run(_Call(self, node, asked))
            if self._chooses_cubes(node):
                return self.part(self._choice(node), asked)
            self._require_no_cubes(node)
            return process.run(**{name: self.value(given) for name, given in node.arguments.items()})
        except GraphError as fault:
            fault.node = fault.node or node.path
            raise

    def _choice(self, node: Node) -> Argument:
        condition = self.value(node.arguments["value"])
        if condition is not None and not isinstance(condition, bool | np.bool_):
            raise GraphError(
                "argument 'value' must be one boolean where the result is a data cube",
                hint="use `mask`, or `if` in a child process",
                fault="ProcessParameterInvalid",
            )
        return node.arguments.get("accept" if condition else "reject")

    def _require_no_cubes(self, node: Node) -> None:
        """Refuse cubes as arguments of a process of values, before a pixel of them is read."""
        for name, argument in node.arguments.items():
            for used in references(argument):
                if not self._gives_values(used.node) and isinstance(self.type_of(used.node), Cube):
                    raise GraphError(
                        f"argument {name!r} of process {node.process!r} is a data cube, and must be a value",
                        hint="put the process into `apply`, `reduce_dimension` or `merge_cubes`",
                        fault="ProcessParameterInvalid",
                    )

    def value(self, argument: Argument) -> Value:
        """An argument with all references replaced: by whole results, values of parameters, and callbacks."""
        match argument:
            case FromNode(node):
                return self.result_of(node, None)
            case FromParameter(name):
                return self._parameter(name)
            case ChildGraph(graph):
                return _Child(self, graph)
            case Mapping() | list() if self._is_constant(argument):
                return argument
            case Mapping():
                return {key: self.value(item) for key, item in argument.items()}
            case list() | tuple():
                return [self.value(item) for item in argument]
            case _:
                return argument

    def _is_constant(self, argument: Argument) -> bool:
        """Whether nothing in it refers to anything: looked up once, since geometries of a graph may be megabytes."""
        if id(argument) not in self._constant:
            self._constant[id(argument)] = argument, is_constant(argument)
        return self._constant[id(argument)][1]

    def part(self, argument: Argument, asked: Asked) -> Value:
        """An argument that may be a cube: of a cube the part that is asked for."""
        if isinstance(argument, FromNode):
            return self.result_of(argument.node, asked)
        found = self.value(argument)
        return cropped(found, asked) if isinstance(found, Cube) else found

    def once(self, key: str, make: Callable[[], Value]) -> Value:
        """What a node makes once."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _parameter(self, name: str) -> Value:
        if name not in self.parameters:
            raise GraphError(f"there is no parameter {name!r} here", fault="ProcessParameterMissing")
        return self.parameters[name]


@dataclass(frozen=True)
class _Child:
    """A child process, with the parameters that are known where it stands."""

    around: Evaluation
    graph: Graph

    def __call__(self, **parameters: Value) -> Value:
        """Evaluate it: for strips of pixels, where several processes hand on values that know no neighbours."""
        if len(self.graph.nodes) > 1 and self._is_pixelwise:
            return in_strips(self._at_once, parameters)
        return self._at_once(**parameters)

    def _at_once(self, **parameters: Value) -> Value:
        known = {**self.around.parameters, **self._brought, **parameters}
        if self._straight is not None:
            return self._straight(known)
        return Evaluation(self.graph, self.around.environment, known, _uses=self._uses, _depth=self._depth).evaluate()

    def over(self, graph: Graph) -> _Child:
        return _Child(self.around, graph)

    @cached_property
    def _is_pixelwise(self) -> bool:
        return is_pixelwise(self.graph)

    @cached_property
    def _brought(self) -> Mapping[str, Value]:
        return {name: self.around.value(given) for name, given in self.graph.parameters.items()}

    @cached_property
    def _straight(self) -> Straight | None:
        return straight(self.graph)

    @cached_property
    def _uses(self) -> Mapping[str, int]:
        return _uses(self.graph)

    @cached_property
    def _depth(self) -> int:
        return depth_of(self.graph)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of a process on cubes."""

    around: Evaluation
    node: Node
    asked: Asked

    @property
    def environment(self) -> Environment:
        return self.around.environment

    def has(self, name: str) -> bool:
        return self.value(name) is not None

    def value(self, name: str, default: Value = None) -> Value:
        argument = self.node.arguments.get(name, _MISSING)
        if argument is _MISSING:
            return default
        if isinstance(argument, FromNode):
            found = self.around.type_of(argument.node)
            return found if isinstance(found, Cube) else self.around.result_of(argument.node, None)
        return self.around.value(argument)

    def is_cube(self, name: str) -> bool:
        return isinstance(self.value(name), Cube)

    def cube(self, name: str, asked: Asked | Literal["same"] = "same") -> Cube:
        if name not in self.node.arguments:
            raise GraphError(f"argument {name!r} is missing", fault="ProcessParameterRequired")
        found = self.around.part(self.node.arguments[name], self.asked if asked == "same" else asked)
        if not isinstance(found, Cube):
            raise GraphError(f"argument {name!r} is no data cube", fault="ProcessParameterInvalid")
        return found

    def type_of(self, name: str) -> Cube:
        return self.cube(name, NOTHING)

    def given(self, name: str) -> Value:
        return self.around.parameters.get(name)

    def once(self, make: Callable[[], Value], what: str = "") -> Value:
        return self.around.once(f"{self.node.id}.{what}", make)


def _uses(graph: Graph) -> Mapping[str, int]:
    """How often the result of each node is used by others."""
    return Counter(used.node for node in graph.nodes.values() for used in references(node.arguments))
