"""Masks as booleans on the pixels of what they mask: coarser ones are spread out only then, byte by byte."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import NOTHING, Cube, Grid, Values
from hpckit.processgraph.cubes.alignment import on_grid
from hpckit.processgraph.planes import in_order, with_planes_last
from hpckit.processgraph.process import Call
from hpckit.space.box import Box

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]
_SNAP: Final = 1e-6
"""Of a pixel; as `hpckit.space.warp` has it."""


def hidden_on_grid(call: Call, name: str, grid: Grid, box: Box) -> Cube:
    """A mask on pixels of a grid, as `on_grid` gives it: booleans, true where it hides.

    Parameters
    ----------
    call : Call
    name : str
        Argument.
    grid : Grid
        Of what is masked.
    box : Box
        Pixels of it; `NOTHING` for the type.
    """
    other = call.type_of(name).grid
    if box == NOTHING or other is None or other.crs != grid.crs or grid.offset_in(other) is not None:
        found = on_grid(call, name, grid, box)
        return found.with_values(hidden(found.values))
    rows, columns = _places(grid, box, other)
    needed = _around(rows, columns, other)
    part = call.cube(name, needed)
    planes = with_planes_last(part)
    flags = _spread_out(hidden(planes.values), needed, rows, columns)
    return in_order(replace(planes, values=flags, grid=grid, box=box), part.dims)


def hidden(values: Values) -> Flags:
    """Where values of a mask are true, or numbers other than 0."""
    if values.dtype == np.bool_:
        return values
    if values.dtype.kind == "f":
        return np.asarray((values > 0) | (values < 0), np.bool_)  # false for NaN, which `!= 0` is not
    if values.dtype.kind == "O":
        return np.asarray((values != 0) & (values != np.array(None)), np.bool_)
    return np.asarray(values != 0, np.bool_)


def _places(grid: Grid, box: Box, other: Grid) -> tuple[Places, Places]:
    """Rows and columns of another grid that the centres of pixels lie in; they may lie beyond it."""
    rows, columns = (grid.ys(box) - other.top) / other.dy, (grid.xs(box) - other.left) / other.dx
    return np.floor(rows + _SNAP).astype(np.intp), np.floor(columns + _SNAP).astype(np.intp)


def _around(rows: Places, columns: Places, grid: Grid) -> Box:
    (top, bottom), (left, right) = sorted(rows[[0, -1]].tolist()), sorted(columns[[0, -1]].tolist())
    inside = Box(top, left, bottom + 1, right + 1).within(grid.shape)
    return NOTHING if inside.is_empty else inside


def _spread_out(flags: Flags, box: Box, rows: Places, columns: Places) -> Flags:
    """Flags of a box, with its rows and columns as last axes, at some of them; false beyond it."""
    for axis, places, first, stop in ((-2, rows, box.top, box.bottom), (-1, columns, box.left, box.right)):
        beyond = (places < first) | (places >= stop)
        if beyond.any():
            shape = list(flags.shape)
            shape[axis] = 1
            flags = np.concatenate([flags, np.zeros(shape, np.bool_)], axis)
            places = np.where(beyond, stop, places)
        flags = flags.take(places - first, axis)
    return flags
