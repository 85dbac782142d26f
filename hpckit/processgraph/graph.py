"""Process graphs as objects: nodes with their arguments, read from JSON by `parse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
    """Values of parameters that were put in, or their defaults."""
