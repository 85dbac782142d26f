"""The cubes from which processes take the arrays of their callbacks: what code of users in callbacks gets.

A callback gets arrays, or single values, without the names of dimensions; user code gets a cube. So processes that
call a callback also hand on the cube, under a name that no graph can write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.graph import Graph, children
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call, Value
from hpckit.processgraph.usercode import PROCESS
from hpckit.space.box import Box

TAKEN: Final = "(taken from)"
"""Parameter of callbacks with a `Taken`."""
_SAMPLE: Final = 16
"""Rows and columns of the part on which code is tried."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Where the values of a callback come from."""

    process: str
    cube: Cube
    dimension: str
    sample: Callable[[], Cube]
    """Reads a small part of the same cube."""


@dataclass(frozen=True, eq=False)
class OwnLabels(Labelled):
    """An array with labels that user code gave it."""


def taken_from(call: Call, process: str, cube: Cube, dimension: str = "") -> dict[str, Value]:
    """The parameter that tells a callback which cube its values are from.

    Parameters
    ----------
    call : Call
        Of the process that calls the callback.
    process : str
        Its name.
    cube : Cube
        The part of its argument `data` that it works on.
    dimension : str
        Along which it takes arrays; empty if it takes single values.
    """
    return {TAKEN: Taken(process, cube, dimension, lambda: call.cube("data", sample_box(call.type_of("data"))))}


def sample_box(kind: Cube) -> Box | range | None:
    """A small part in the middle of a cube; None, which is all, of one without grid and geometries."""
    if kind.grid is not None:
        rows, columns = kind.grid.shape
        top, left = max(0, (rows - _SAMPLE) // 2), max(0, (columns - _SAMPLE) // 2)
        return Box(top, left, min(rows, top + _SAMPLE), min(columns, left + _SAMPLE))
    return None if kind.geometries is None else range(min(_SAMPLE, len(kind.geometries)))


def runs_user_code(graph: Graph) -> bool:
    """Whether a graph, or a callback in it, runs code of users."""
    return any(
        node.process == PROCESS or any(runs_user_code(child) for child in children(node.arguments))
        for node in graph.nodes.values()
    )
