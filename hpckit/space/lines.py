"""Lines to pixels: all pixels through which a line runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEAST = 1e-9
"""Length within a pixel, in pixels, below which a line only touches its corner."""

_Numbers = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]


def trace(start: _Numbers, end: _Numbers) -> tuple[_Counts, _Counts, _Counts]:
    """Pixels through which straight edges run: those whose centres are the closest ones of some point of an edge.

    Edges are cut where they cross the borders of pixels; each piece lies in one pixel, that of its middle.

    Parameters
    ----------
    start, end : ndarray of float64, shape (edges, 2)
        Column and row in pixels, from the outer corner of the raster.

    Returns
    -------
    edges, rows, columns : ndarray of int64
        A pixel occurs once for each piece.
    """
    edge, place = _cuts(start, end)
    same = edge[1:] == edge[:-1]
    edge, first, last = edge[:-1][same], place[:-1][same], place[1:][same]
    length = np.hypot(*(end - start).T)[edge]
    kept = ((last - first) * length > _LEAST) | (length <= _LEAST)
    edge, middle = edge[kept], ((first + last) / 2)[kept]
    at = np.floor(start[edge] + (end - start)[edge] * middle[:, None]).astype(np.int64)
    return edge, at[:, 1], at[:, 0]


def _cuts(start: _Numbers, end: _Numbers) -> tuple[_Counts, _Numbers]:
    """Edges, and where along them (0 to 1) they begin, cross a border of pixels, and end; in order."""
    count = np.arange(len(start))
    edges, places = [count, count], [np.zeros(len(start)), np.ones(len(start))]
    for axis in (0, 1):
        low, high = np.minimum(start[:, axis], end[:, axis]), np.maximum(start[:, axis], end[:, axis])
        border = np.floor(low) + 1
        crossings = np.maximum(np.ceil(high) - border, 0).astype(np.int64)
        edge = np.repeat(count, crossings)
        number = np.arange(len(edge)) - np.repeat(np.cumsum(crossings) - crossings, crossings)
        edges.append(edge)
        places.append((border[edge] + number - start[edge, axis]) / (end - start)[edge, axis])
    edge, place = np.concatenate(edges), np.concatenate(places)
    order = np.lexsort((place, edge))
    return edge[order], place[order]
