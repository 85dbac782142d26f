"""Parts of windows: where few pixels of a window are needed, and its file can be decoded in parts.

OpenJPEG leaves out code blocks that a rectangle does not hang on (`hpckit.inputs.jpeg2000`). A rectangle costs its
own pixels, those around it on which the wavelet hangs, and a walk through the file to its tile; many small ones may
cost more than the whole window does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.sensors.model import Asset

Cells = npt.NDArray[np.bool_]
"""Squares of pixels of a whole raster that hold a pixel which is needed; shape (rows, columns) of squares."""
Rectangle = tuple[slice, slice]
"""Rows and columns of pixels."""

MOST_CELL: Final = 64
"""Longest edge of a square, in pixels: that of a code block."""
_LEAST_CELL: Final = 16
_WALK: Final = 50_000
"""What a rectangle costs besides its pixels, in pixels that are decoded in the same time, as measured."""
_AROUND: Final = 120
"""Pixels by which a rectangle is higher and wider to the decoder, in all: code blocks that it cuts, on all levels."""
_WORTH: Final = 0.8
"""Of the cost of the whole window, from which on it is not cut."""


def cell_edge(window: int) -> int:
    """Edge of the squares into which windows of an edge are divided: a divisor of it; else the window's own."""
    fitting = (edge for edge in range(min(MOST_CELL, window), _LEAST_CELL - 1, -1) if window % edge == 0)
    return next(fitting, window)


def windows_of(cells: Cells, per_window: int, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Windows that hold a needed square.

    Parameters
    ----------
    per_window : int
        Squares along the edge of a window.
    shape : tuple of int
        Rows and columns of windows.
    """
    wide = np.zeros((shape[0] * per_window, shape[1] * per_window), np.bool_)
    wide[: cells.shape[0], : cells.shape[1]] = cells
    blocks = wide.reshape(shape[0], per_window, shape[1], per_window)
    return np.asarray(blocks.any(axis=(1, 3)))


def can_be_cut(asset: Asset) -> bool:
    """Whether parts of a file's tiles can be decoded: it is a plain JPEG 2000 file of this machine."""
    return not (asset.is_remote or asset.is_member or asset.array) and asset.name.lower().endswith(".jp2")


def rectangles(cells: Cells, edge: int, rows: slice, columns: slice) -> list[Rectangle] | None:
    """Cut a window into rectangles that hold all pixels which are needed; None if the whole window costs less.

    Parameters
    ----------
    cells : ndarray of bool
        Of the raster.
    edge : int
        Of a square, in pixels.
    rows, columns : slice
        Pixels of the raster that the window has.

    Returns
    -------
    list of tuple of slice
        Pixels of the raster, apart from each other; None for the whole window.
    """
    part = cells[rows.start // edge : -(-rows.stop // edge), columns.start // edge : -(-columns.stop // edge)]
    whole = (rows.stop - rows.start) * (columns.stop - columns.start)
    found = _cheapest(np.packbits(part).tobytes(), part.shape, edge, whole)
    if found is None:
        return None
    return [
        (
            slice(rows.start + edge * down.start, min(rows.start + edge * down.stop, rows.stop)),
            slice(columns.start + edge * along.start, min(columns.start + edge * along.stop, columns.stop)),
        )
        for down, along in found
    ]


@lru_cache(maxsize=4096)
def _cheapest(bits: bytes, shape: tuple[int, int], edge: int, whole: int) -> list[Rectangle] | None:
    """Rectangles of squares; the same ones are asked for at each date."""
    count = shape[0] * shape[1]
    cells = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(np.bool_).reshape(shape)
    if int(cells.sum()) * edge**2 > _WORTH * whole:
        return None
    found = _cut(cells, edge)
    return None if sum(_cost(*box, edge) for box in found) > _WORTH * whole else found


def _cut(cells: Cells, edge: int) -> list[Rectangle]:
    """Cut squares at the best row or column, and the parts again, as long as that costs less."""
    box = _box(cells)
    if box is None:
        return []
    inner = cells[box]
    best, cost = None, _cost(*box, edge)
    for axis in (0, 1):
        for place in range(1, inner.shape[axis]):
            first, second = np.split(inner, [place], axis=axis)
            costs = sum(_cost(*part, edge) for part in (_box(first), _box(second)) if part is not None)
            if costs < cost:
                best, cost = (axis, place), costs
    if best is None:
        return [box]
    axis, place = best
    first, second = np.split(inner, [place], axis=axis)
    top, left = box[0].start, box[1].start
    below, beside = (top + place, left) if axis == 0 else (top, left + place)
    return [*_moved(_cut(first, edge), top, left), *_moved(_cut(second, edge), below, beside)]


def _moved(boxes: list[Rectangle], down: int, along: int) -> list[Rectangle]:
    return [
        (slice(rows.start + down, rows.stop + down), slice(columns.start + along, columns.stop + along))
        for rows, columns in boxes
    ]


def _box(cells: Cells) -> Rectangle | None:
    """Smallest rectangle of squares that holds all needed ones."""
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cost(rows: slice, columns: slice, edge: int) -> int:
    """Pixels that are decoded in the time that a rectangle of squares takes."""
    height = (rows.stop - rows.start) * edge + _AROUND
    width = (columns.stop - columns.start) * edge + _AROUND
    return _WALK + int(height * width)
