"""Groups of geometries that lie near each other, so that few pixels are read for each group."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Geometries, Grid
from hpckit.processgraph.footprints import Footprints, footprints_of

_Numbers = npt.NDArray[np.int64]
_BITS: Final = 16
"""Of a coordinate along the curve."""


def neighbours(geometries: Geometries, grid: Grid, most_pixels: int) -> list[_Numbers]:
    """Geometries in groups, each within a rectangle of pixels.

    Parameters
    ----------
    geometries : Geometries
    grid : Grid
        Whose pixels are read.
    most_pixels : int
        Pixels of a rectangle; a single geometry may need more.

    Returns
    -------
    list of ndarray of int64
        Indices of geometries; each geometry, also one without pixels, is in one group. An evaluation takes a group
        as `asked`: `tuple(group.tolist())`.
    """
    footprints = footprints_of(geometries, grid)
    return grouped(footprints, np.arange(len(footprints)), most_pixels)


def grouped(footprints: Footprints, chosen: _Numbers, most_pixels: int) -> list[_Numbers]:
    """Some of the geometries in groups: neighbours along a curve that fills the plane."""
    if not len(chosen):
        return []
    boxes = footprints.boxes[chosen]
    order = np.argsort(_along_curve(boxes), kind="stable")
    starts = [0]
    top, left, bottom, right = boxes[order[0]].tolist()
    for place, (first, west, last, east) in enumerate(boxes[order].tolist()):
        around = min(top, first), min(left, west), max(bottom, last), max(right, east)
        if (around[2] - around[0]) * (around[3] - around[1]) > most_pixels and place > starts[-1]:
            starts.append(place)
            around = first, west, last, east
        top, left, bottom, right = around
    return [np.sort(chosen[group]) for group in np.split(order, starts[1:])]


def _along_curve(boxes: _Numbers) -> _Numbers:
    """Position of the middle of each box along the curve of Morton (1966): rows and columns, bit by bit."""
    middle = (boxes[:, :2] + boxes[:, 2:]) // 2
    middle >>= max(0, int(middle.max()).bit_length() - _BITS)
    found = np.zeros(len(boxes), dtype=np.int64)
    for bit in range(_BITS):
        found |= (middle[:, 1] >> bit & 1) << 2 * bit | (middle[:, 0] >> bit & 1) << 2 * bit + 1
    return found
