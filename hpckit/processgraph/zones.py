"""Values of the pixels of geometries, one geometry after the other, whatever parts of a cube they are read in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Cube, Values
from hpckit.processgraph.footprints import Footprints
from hpckit.processgraph.neighbours import grouped
from hpckit.processgraph.planes import with_planes_last
from hpckit.space.box import Box

_MOST_VALUES: Final = 1 << 25
"""Values of a cube that are read at once: 128 MiB of float32."""
_ROWS: Final = 256
"""Parts of a large geometry end at multiples of this row, so that few windows of a collection are read twice."""

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Values of the pixels of some geometries."""

    chosen: _Numbers
    """Which geometries."""
    values: Values
    """Shape (layers, entries): all dimensions but x and y are layers."""
    offsets: _Numbers
    """Geometry `chosen[g]` has the entries `offsets[g]` to `offsets[g + 1]`, from north to south, row by row."""


def gathered(
    footprints: Footprints, chosen: _Numbers, layers: int, read: Callable[[Box], Cube]
) -> Iterator[Gathered]:
    """Values of geometries, group by group of neighbours.

    Parameters
    ----------
    layers : int
        Number of values of a pixel.
    read : callable
        Gives the part of the cube in a box.
    """
    most_pixels = max(1, _MOST_VALUES // max(1, layers))
    for group in grouped(footprints, chosen, most_pixels):
        around = footprints.around(group)
        parts = [_read(footprints, group, part, read) for part in _strips(around, most_pixels)]
        yield parts[0] if len(parts) == 1 else _joined(group, parts)


def _strips(box: Box, most_pixels: int) -> list[Box]:
    """Parts of a box, from top to bottom; itself if it is small."""
    rows, columns = box.shape
    if rows * columns <= most_pixels:
        return [box]
    step = max(1, most_pixels // columns // _ROWS) * _ROWS
    inner = range((box.top // step + 1) * step, box.bottom, step)
    edges = [box.top, *inner, box.bottom]
    return [Box(top, box.left, bottom, box.right) for top, bottom in pairwise(edges)]


def _read(footprints: Footprints, group: _Numbers, part: Box, read: Callable[[Box], Cube]) -> Gathered:
    pixels = footprints.pixels(group, part)
    if not len(pixels.pixels):
        part = Box(0, 0, 0, 0)
    values = with_planes_last(read(part)).values
    layers = values.reshape(int(np.prod(values.shape[:-2])), -1)
    return Gathered(group, np.take(layers, pixels.pixels, axis=1), pixels.offsets)


def _joined(group: _Numbers, parts: list[Gathered]) -> Gathered:
    """Parts of the same geometries as one; within a geometry in order of the parts."""
    counts = np.array([np.diff(part.offsets) for part in parts])
    owners = np.concatenate([np.repeat(np.arange(len(group)), count) for count in counts])
    order = np.argsort(owners, kind="stable")
    values = np.concatenate([part.values for part in parts], axis=1)[:, order]
    offsets = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    return Gathered(group, values, offsets.astype(np.int64))
