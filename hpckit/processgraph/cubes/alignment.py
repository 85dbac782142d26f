"""Two cubes side by side: the same pixels, the same dimensions in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Dimension, Grid, Values
from hpckit.processgraph.cubes.parts import whole
from hpckit.processgraph.cubes.warped import warped
from hpckit.processgraph.process import Call
from hpckit.processgraph.replacing import null_of, nullable, with_null
from hpckit.processgraph.times import instant
from hpckit.space.box import Box


def on_grid(call: Call, name: str, grid: Grid, box: Box, method: str = "near") -> Cube:
    """An argument on pixels of a grid: its own where it has the same lattice, resampled otherwise.

    Parameters
    ----------
    call : Call
    name : str
        Argument.
    grid : Grid
        Of the result.
    box : Box
        Pixels of it; `NOTHING` for the type.
    method : str
        openEO's name.

    Returns
    -------
    Cube
        Null where the argument has no pixel. A cube without a grid is returned whole.
    """
    kind = call.type_of(name)
    if kind.grid is None:
        return whole(call, name) if box == NOTHING else once_whole(call, name)
    offset = grid.offset_in(kind.grid)
    if offset is None:
        return warped(call, name, grid, box, method)
    covers = grid.box.moved(*offset).within(kind.grid.shape) == grid.box.moved(*offset)
    if box == NOTHING:
        dtype = kind.values.dtype if covers else nullable(kind.values.dtype)
        return replace(kind, values=kind.values.astype(dtype, copy=False), grid=grid)
    there = box.moved(*offset)
    inside = there.within(kind.grid.shape)
    part = call.cube(name, NOTHING if inside.is_empty else inside)
    if covers:
        return replace(part, grid=grid, box=box)
    values = with_null(part.values)
    if inside != there:
        values = _padded(part, values, inside, there)
    return replace(part, values=values, grid=grid, box=box)


def once_whole(call: Call, name: str) -> Cube:
    """All of a cube without a grid, computed once."""
    found: Cube = call.once(lambda: call.cube(name, None), name)
    return found


def _padded(part: Cube, values: Values, inside: Box, there: Box) -> Values:
    """Values of a box with null where only a part of it is there."""
    shape = [there.shape["yx".index(dim.axis)] if dim.axis in ("x", "y") else size for dim, size in _sized(part)]
    made = np.full(shape, null_of(values.dtype), values.dtype)
    if not inside.is_empty:
        place = inside.moved(-there.top, -there.left)
        made[plane(part.dims, slice(place.top, place.bottom), slice(place.left, place.right))] = values
    return made


def _sized(part: Cube) -> zip[tuple[Dimension, int]]:
    return zip(part.dims, part.values.shape, strict=True)


def plane(dims: Sequence[Dimension], rows: slice, columns: slice) -> tuple[slice, ...]:
    """An index of rows and columns in an array of all dimensions."""
    chosen = {"y": rows, "x": columns}
    return tuple(chosen.get(dim.axis, slice(None)) for dim in dims)


def arranged(cube: Cube, dims: Sequence[Dimension]) -> Values:
    """Values of a cube with one axis for each of some dimensions, of length 1 where it has none: a view."""
    have = [dim.name for dim in dims if dim.name in cube.names]
    values = cube.values.transpose([cube.axis(name) for name in have])
    lengths = iter(values.shape)
    return values.reshape([next(lengths) if dim.name in have else 1 for dim in dims])


def keys(dim: Dimension) -> list[Any]:
    """What labels are compared by: instants of times, the labels of others."""
    found = [instant(label) for label in dim.labels] if dim.kind == "temporal" else [None]
    return list(dim.labels) if any(at is None for at in found) else found


def require_dimensions(cube: Cube, data: Cube, what: str) -> None:
    """Make sure that a cube has no other dimensions and labels than another one.

    Raises
    ------
    GraphError
        `IncompatibleDataCubes`, with the dimension at fault.
    """
    for dim in cube.dims:
        if dim.name not in data.names:
            listed = ", ".join(data.names) or "none"
            raise GraphError(
                f"{what} has a dimension {dim.name!r} that the data do not have",
                hint=f"drop or reduce it; the data have {listed}",
                fault="IncompatibleDataCubes",
            )
        other = data.dim(dim.name)
        if dim.kind != other.kind or keys(dim) != keys(other):
            raise GraphError(
                f"{what} has other labels than the data in dimension {dim.name!r}",
                hint="drop or reduce it, rename its labels, or use resample_cube_temporal",
                fault="IncompatibleDataCubes",
            )
