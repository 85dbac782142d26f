"""Parts of cubes that are there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube
from hpckit.processgraph.process import Asked, Value
from hpckit.space.box import Box


def cropped(cube: Cube, asked: Asked) -> Cube:
    """A part of a cube that is there.

    Raises
    ------
    GraphError
        If the part lies beyond what is there.
    """
    if cube.grid is not None and cube.box is not None and isinstance(asked, Box):
        return _cut_out(cube, cube.box, NOTHING if asked.is_empty else asked)
    if cube.geometries is not None and cube.features is not None and asked is not None:
        return _picked(cube, cube.features, range(0) if isinstance(asked, Box) else asked)
    return cube


def _cut_out(cube: Cube, there: Box, asked: Box) -> Cube:
    """Some pixels of a raster cube."""
    if asked == there:
        return cube
    inside = asked.moved(-there.top, -there.left)
    if inside.within(there.shape) != inside and not asked.is_empty:
        raise GraphError("a part is asked for that the cube does not have")
    cut = [slice(None)] * len(cube.dims)
    for place, dim in enumerate(cube.dims):
        if dim.axis == "y":
            cut[place] = slice(inside.top, inside.bottom) if not asked.is_empty else slice(0, 0)
        elif dim.axis == "x":
            cut[place] = slice(inside.left, inside.right) if not asked.is_empty else slice(0, 0)
    return replace(cube, values=cube.values[tuple(cut)], box=asked)


def _picked(cube: Cube, there: range | tuple[int, ...], wanted: range | tuple[int, ...]) -> Cube:
    """Some geometries of a vector cube."""
    if wanted == there:
        return cube
    known = np.asarray(there, dtype=np.int64)
    where = np.searchsorted(known, np.asarray(wanted, dtype=np.int64))
    if not np.array_equal(known[where[where < len(known)]], wanted):
        raise GraphError("geometries are asked for that the cube does not have")
    place = next(place for place, dim in enumerate(cube.dims) if dim.kind == "geometry")
    return replace(cube, values=np.take(cube.values, where, axis=place), features=wanted)


def whole(found: Value) -> Asked:
    """What is asked for if all of a result is."""
    if isinstance(found, Cube) and found.grid is not None:
        return found.grid.box
    if isinstance(found, Cube) and found.geometries is not None:
        return range(len(found.geometries))
    return None
