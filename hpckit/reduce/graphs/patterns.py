"""What patterns of graphs become: a part of a collection that is read alone, and a statistic over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import NOTHING, Cube
from hpckit.processgraph.cubes.hiding import hidden_on_grid
from hpckit.processgraph.process import Call
from hpckit.reduce.graphs.source import CollectionSource
from hpckit.sensors.bands import BandRef
from hpckit.space.box import Box

Values = npt.NDArray[Any]

_COPIES: Final = 2
"""Of the stack of one band."""


@dataclass(frozen=True)
class Selection:
    """Some bands and times of a collection, of which the others are not read."""

    source: CollectionSource
    """With these alone."""
    type: Cube
    """The result without pixels."""

    def describe(self) -> str:
        """What it does, for people."""
        return "reads no other bands and times"

    def __call__(self, call: Call) -> Cube:
        """Read a part."""
        if call.asked == NOTHING or not isinstance(call.asked, Box):
            return self.type
        assert self.type.grid is not None
        offset = self.type.grid.offset_in(self.source.grid)
        assert offset is not None
        found = self.source.read(call.asked.moved(*offset))
        order = [found.names.index(name) for name in self.type.names]
        return replace(self.type, values=found.values.transpose(order), box=call.asked)


@dataclass(frozen=True)
class Reduction:
    """A statistic over time of stored integers."""

    source: CollectionSource
    type: Cube
    """The result without pixels."""
    data: Cube
    """What is reduced, without pixels."""
    bands: tuple[BandRef, ...]
    steps: tuple[int, ...]
    """Positions of the times on those of the source."""
    statistic: str
    groups: tuple[tuple[int, ...], ...]
    """Positions of the times of each result."""
    along: str
    """Dimension of these; empty if it is reduced away."""

    def describe(self) -> str:
        """What it does, for people."""
        return f"{self.statistic} over time by the kernels of composites, on stored integers"

    @property
    def nbytes(self) -> int:
        """Bytes for each pixel, while it is computed."""
        return _COPIES * len(self.steps) * 2

    def __call__(self, call: Call) -> Cube:
        """Compute a part."""
        if call.asked == NOTHING or not isinstance(call.asked, Box):
            return self.type
        hidden = self._hidden(call) if call.has("mask") else None
        assert self.data.grid is not None
        offset = self.data.grid.offset_in(self.source.grid)
        assert offset is not None
        box = call.asked.moved(*offset)
        made = np.stack([self._band(ref, box, hidden) for ref in self.bands], axis=1)
        return replace(self.type, values=self._arranged(made), box=call.asked)

    def _hidden(self, call: Call) -> npt.NDArray[np.bool_]:
        """Where the mask is true; shape (times, rows, columns)."""
        assert self.data.grid is not None and isinstance(call.asked, Box)
        found = hidden_on_grid(call, "mask", self.data.grid, call.asked)
        names = [next(dim.name for dim in self.data.dims if dim.kind == "temporal"), *_plane(self.data)]
        return found.values.transpose([found.axis(name) for name in names])

    def _band(self, ref: BandRef, box: Box, hidden: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32]:
        """Statistics of a band, shape (groups, rows, columns)."""
        stack = self.source.stored(ref, self.steps, box)
        return np.stack([self._group(ref, stack, hidden, group) for group in self.groups])

    def _group(
        self, ref: BandRef, stack: Values, hidden: npt.NDArray[np.bool_] | None, group: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        from hpckit.reduce.kernels import composite_cpu  # imports numba

        if not group:
            nothing = 0.0 if self.statistic == "count" else np.nan
            return np.full(stack.shape[1:], nothing, np.float32)
        part = _taken(stack, group)
        mask = None if hidden is None else _taken(hidden, group)
        if self.statistic == "median":
            return _physical(composite_cpu.median(part, mask), ref)
        found = composite_cpu.summary(part, mask)
        if self.statistic == "count":
            return found.observations.astype(np.float32)
        if self.statistic == "mean":
            return _physical(found.mean, ref)
        numbers = found.minimum if self.statistic == "min" else found.maximum
        return _physical(np.where(numbers == 0, np.float32(np.nan), numbers.astype(np.float32)), ref)

    def _arranged(self, made: Values) -> Values:
        """Values in the order of the result's dimensions; `made` has groups, bands, rows and columns."""
        bands = next(dim.name for dim in self.data.dims if dim.kind == "bands")
        names = [self.along, bands, *_plane(self.data)]
        if not self.along:
            made, names = made[0], names[1:]
        order = [names.index(dim.name) for dim in self.type.dims]
        return made.transpose(order).astype(self.type.values.dtype, copy=False)


def _plane(kind: Cube) -> tuple[str, str]:
    return (
        next(dim.name for dim in kind.dims if dim.axis == "y"),
        next(dim.name for dim in kind.dims if dim.axis == "x"),
    )


def _taken(stack: Values, places: Sequence[int]) -> Values:
    """Some of a stack; a view where these follow each other."""
    first, last = places[0], places[-1] + 1
    return stack[first:last] if list(places) == list(range(first, last)) else stack[list(places)]


def _physical(numbers: npt.NDArray[np.float32], ref: BandRef) -> npt.NDArray[np.float32]:
    scale, offset = ref.coding
    return np.asarray(numbers.astype(np.float64) * scale + offset).astype(np.float32)
