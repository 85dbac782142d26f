"""Room for graphs that are deep: a chain of nodes is as many calls within calls."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from hpckit.processgraph.graph import Graph, used_nodes

_Value = TypeVar("_Value")
_SHALLOW: Final = 40
"""Nodes of a chain that the stack of any thread has room for."""
_CALLS_PER_NODE: Final = 40
_STACK_BYTES: Final = 512 * 2**20
"""Of address space; only what is used takes memory."""


def depth_of(graph: Graph) -> int:
    """Nodes of the longest chain."""
    depths: dict[str, int] = {}
    for name, node in graph.nodes.items():
        depths[name] = 1 + max((depths.get(used, 0) for used in used_nodes(node.arguments)), default=0)
    return max(depths.values(), default=0)


def with_room(depth: int, function: Callable[..., _Value], *arguments: object) -> _Value:
    """Call a function that calls itself for each node of a chain; for long chains in a thread with a large stack."""
    if depth <= _SHALLOW:
        return function(*arguments)
    found: Future[_Value] = Future()

    def call() -> None:
        try:
            found.set_result(function(*arguments))
        except BaseException as error:
            found.set_exception(error)

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + _CALLS_PER_NODE * depth))
    usual = threading.stack_size(_STACK_BYTES)
    try:
        thread = threading.Thread(target=call)
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    return found.result()
