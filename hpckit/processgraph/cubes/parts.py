"""Parts of cubes: of another grid than the result's, and of cubes that lose their grid."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from hpckit.processgraph.cube import NOTHING, Cube, Grid
from hpckit.processgraph.cubes.callbacks import is_on_grid, labels
from hpckit.processgraph.process import Call
from hpckit.space.box import Box


def cut_out(call: Call, name: str, place: Box) -> Cube:
    """What is asked for of a cube that is a part of an argument's.

    Parameters
    ----------
    call : Call
    name : str
        Argument.
    place : Box
        Pixels of the argument's grid that the result has.
    """
    grid = call.type_of(name).grid
    assert grid is not None
    asked = box_asked(call)
    cube = call.cube(name, NOTHING if asked == NOTHING else asked.moved(place.top, place.left))
    return replace(cube, grid=grid.part(place), box=asked)


def box_asked(call: Call) -> Box:
    """The pixels that are asked for of a result that has a grid."""
    assert isinstance(call.asked, Box)
    return call.asked


def whole(call: Call, name: str) -> Cube:
    """All of a cube, whatever is asked for of the result; nothing of it where only its type is wanted."""
    return call.cube(name, NOTHING if call.asked == NOTHING else None)


def without_grid(cube: Cube, dropped: Collection[str] = ()) -> Cube:
    """A cube of all pixels whose x and y have labels instead of a grid.

    Parameters
    ----------
    cube : Cube
        All of it, or no pixel: then the result has values of no meaning, but of the right shape.
    dropped : collection of str
        Dimensions that will be gone: of these a cube without pixels has length 0.
    """
    if cube.grid is None:
        return cube
    dims = tuple(replace(dim, labels=labels(cube, dim.name)) for dim in cube.dims)
    values = cube.values
    if cube.box == NOTHING:
        shape = list(values.shape)
        for axis, dim in enumerate(dims):
            if is_on_grid(cube, dim.name):
                shape[axis] = 0 if dim.name in dropped else len(dim.labels)
        values = np.broadcast_to(np.zeros((), values.dtype), shape)
    return Cube(values, dims, attributes=cube.attributes)


def is_part_of(box: Box, grid: Grid) -> Box:
    """The part of a box that a grid has; `NOTHING` if there is none."""
    inside = box.within(grid.shape)
    return NOTHING if inside.is_empty else inside
