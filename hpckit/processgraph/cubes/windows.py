"""Statistics of rectangular windows of pixels: a raster cube of larger pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Grid, Values
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.planes import grid_of, in_order, with_planes_last
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import nullable
from hpckit.space.box import Box

_CORNERS: Final = ("lower-left", "upper-left", "lower-right", "upper-right")


@on_cubes("aggregate_spatial_window")
def aggregate_spatial_window(call: Call) -> Cube:
    """Reduce windows of pixels; beyond the cube there is null, or windows that reach there are left out."""
    grid = grid_of(call.type_of("data"))
    width, height = _size(call)
    boundary, align = call.value("boundary", "pad"), call.value("align", "upper-left")
    if boundary not in ("pad", "trim") or align not in _CORNERS:
        raise GraphError(
            f"there is no boundary {boundary!r} with align {align!r}",
            hint=f"boundary is pad or trim, align one of {', '.join(_CORNERS)}",
            fault="ProcessParameterInvalid",
        )
    rows, top = _divided(grid.rows, height, boundary, at_end="lower" in align)
    columns, left = _divided(grid.columns, width, boundary, at_end="right" in align)
    coarse = Grid(
        grid.crs,
        grid.left + left * grid.dx,
        grid.top + top * grid.dy,
        grid.dx * width,
        grid.dy * height,
        rows,
        columns,
    )
    asked = call.asked if isinstance(call.asked, Box) else Box(0, 0, 0, 0)
    wanted = _covered(asked, (height, width)).moved(top, left) if not asked.is_empty else asked
    data = with_planes_last(call.cube("data", wanted.within(grid.shape)))
    values = _padded(data.values, wanted, wanted.within(grid.shape))
    windows = values.reshape(*values.shape[:-2], asked.shape[0], height, asked.shape[1], width)
    pixels = np.moveaxis(windows, (-3, -1), (0, 1)).reshape(height * width, *values.shape[:-2], *asked.shape)
    found = call.value("reducer")(data=Labelled(pixels), context=call.value("context"))
    if isinstance(found, Labelled | list | tuple):
        raise GraphError(
            "the reducer gives an array, where a single value is needed", fault="ProcessParameterInvalid"
        )
    shape = (*values.shape[:-2], *asked.shape)
    reduced = np.broadcast_to(np.asarray(np.nan if found is None else found), shape)
    result = replace(data, values=reduced, grid=coarse, box=asked)
    return in_order(result, call.type_of("data").dims)


def _covered(windows: Box, size: tuple[int, int]) -> Box:
    """Pixels of windows."""
    height, width = size
    return Box(windows.top * height, windows.left * width, windows.bottom * height, windows.right * width)


def _size(call: Call) -> tuple[int, int]:
    size = call.value("size")
    sound = isinstance(size, list | tuple) and len(size) == 2
    if not sound or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in size):
        raise GraphError(
            "argument 'size' must be two whole numbers above 0, along x and along y", fault="ProcessParameterInvalid"
        )
    return size[0], size[1]


def _divided(count: int, size: int, boundary: str, *, at_end: bool) -> tuple[int, int]:
    """Number of windows along an axis, and the first pixel of the first one, which may be negative."""
    windows = -(-count // size) if boundary == "pad" else count // size
    return windows, count - windows * size if at_end else 0


def _padded(values: Values, wanted: Box, there: Box) -> Values:
    """Values of a box that reaches beyond those that are there: null outside."""
    if wanted.is_empty or wanted == there:
        return values.astype(nullable(values.dtype), copy=False)
    result = np.full((*values.shape[:-2], *wanted.shape), np.nan, nullable(values.dtype))
    place = there.moved(-wanted.top, -wanted.left)
    result[..., place.top : place.bottom, place.left : place.right] = values
    return result
