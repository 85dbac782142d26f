"""Callbacks that depend on one stored integer of each pixel: computed once for all integers, and looked up.

`reduce_dimension` over the bands of a collection with a callback of one band, `(SCL == 3) | (SCL == 8)` for example,
becomes one node, which reads the band's stored integers as they are, at its own pixel size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import NOTHING, Cube, Dimension
from hpckit.processgraph.cubes.callbacks import one_value
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import ChildGraph, FromParameter, Node, free_parameters
from hpckit.processgraph.kinds import is_pixelwise
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call
from hpckit.reduce.graphs.source import CollectionSource, decoded
from hpckit.reduce.kernels.stored import look_up
from hpckit.sensors.bands import BandRef
from hpckit.space.box import Box

Values = npt.NDArray[Any]
_MOST: Final = 1 << 8
"""Integers of a table: those of bytes."""


@dataclass(frozen=True)
class LookUp:
    """A function of one stored integer."""

    source: CollectionSource
    type: Cube
    """The result without pixels: times, y and x in any order."""
    data: Cube
    """What it is computed from, without pixels."""
    ref: BandRef
    steps: tuple[int, ...]
    """Positions of the times on those of the source."""
    table: Values
    """Result for each integer."""

    def describe(self) -> str:
        """What it does, for people."""
        return f"a table of the stored integers of {self.ref}"

    @property
    def nbytes(self) -> int:
        """Bytes for each pixel, while it is computed."""
        return len(self.steps) * (self.table.itemsize + 1)

    def __call__(self, call: Call) -> Cube:
        """Compute a part."""
        if call.asked == NOTHING or not isinstance(call.asked, Box):
            return self.type
        assert self.data.grid is not None
        offset = self.data.grid.offset_in(self.source.grid)
        assert offset is not None
        stored = self.source.stored(self.ref, self.steps, call.asked.moved(*offset))
        found = np.empty(stored.shape, self.table.dtype)
        look_up(np.ascontiguousarray(stored), self.table, found)
        names = [dim.name for kind in ("t", "y", "x") for dim in self.type.dims if _kind(dim) == kind]
        order = [names.index(dim.name) for dim in self.type.dims]
        return replace(self.type, values=found.transpose(order), box=call.asked)


def _kind(dim: Dimension) -> str:
    return dim.axis or "t"


def looked_up(
    evaluation: Evaluation, node: Node, source: CollectionSource, data: Cube, steps: tuple[int, ...]
) -> LookUp | None:
    """What a node computes, as a table; None if it is no function of one stored byte.

    Parameters
    ----------
    source : CollectionSource
        Of which `data` is a selection of bands, times and pixels.
    steps : tuple of int
        Positions of the times of `data` on those of the source.
    """
    reducer, bands = node.arguments.get("reducer"), next(data.of_kind("bands"))
    result = evaluation.type_of(node.id)
    if node.process != "reduce_dimension" or node.arguments.get("dimension") != bands.name:
        return None
    if not isinstance(reducer, ChildGraph) or not is_pixelwise(reducer.graph) or not isinstance(result, Cube):
        return None
    chosen = _bands(reducer, bands)
    if len(chosen) != 1:
        return None
    (place,) = chosen
    ref = dict(source.wanted.bands)[str(bands.labels[place])]
    if np.dtype(ref.dtype) != np.uint8 or ref.band.nodata != 0:
        return None
    every = np.zeros((len(bands.labels), _MOST), np.float32)
    every[place] = decoded(np.arange(_MOST, dtype=np.uint8), ref.band)
    found = evaluation.value(reducer)(data=Labelled(every, bands.labels, bands.kind, bands.bands), context=None)
    table = np.ascontiguousarray(one_value(found, (_MOST,), np.dtype(np.float32), "reducer"))
    return LookUp(source, result, data, ref, steps, table) if table.dtype == result.values.dtype else None


def _bands(reducer: ChildGraph, bands: Dimension) -> set[int]:
    """Bands that a callback takes; all if that is not known."""
    every = set(range(len(bands.labels)))
    if free_parameters(reducer.graph) - {"data"}:
        return set()
    if len(every) == 1:
        return every
    return set().union(*(_taken(node, bands, every) for node in reducer.graph.nodes.values()))


def _taken(node: Node, bands: Dimension, every: set[int]) -> set[int]:
    if "data" not in free_parameters(node.arguments):
        return set()
    index, label = node.arguments.get("index"), node.arguments.get("label")
    if node.process != "array_element" or node.arguments.get("data") != FromParameter("data"):
        return every
    if isinstance(index, int) and label is None and 0 <= index < len(every):
        return {index}
    return {bands.labels.index(label)} if index is None and label in bands.labels else every
