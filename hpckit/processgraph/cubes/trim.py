"""Labels and pixels without data at the edges of a cube."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import NOTHING, Cube
from hpckit.processgraph.cubes.parts import cut_out
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import is_null
from hpckit.space.box import Box

_STRIP_VALUES = 1 << 24
"""Values that are looked at in one piece."""


@on_cubes("trim_cube")
def trim_cube(call: Call) -> Cube:
    """Drop labels that hold only null: of x, y, z and time at both ends, of other dimensions anywhere.

    What a trimmed cube is depends on all of its values, so all are computed once before any part of it. Where a graph
    is only checked, the cube stands for what it will be at most.
    """
    if call.asked == NOTHING and not call.environment.reads_pixels:
        return call.cube("data")
    kept: _Kept = call.once(lambda: _kept(call))
    cube = cut_out(call, "data", kept.box) if kept.box is not None else call.cube("data")
    for name, places in kept.places.items():
        cube = cube.at(name, places)
    return cube


@dataclass(frozen=True)
class _Kept:
    box: Box | None
    places: dict[str, list[int]]


def _kept(call: Call) -> _Kept:
    kind = call.type_of("data")
    valid = _valid(call, kind)
    places, rows, columns = {}, (0, 0), (0, 0)
    for dim in kind.dims:
        found = np.flatnonzero(valid[dim.name])
        ends = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
        if kind.grid is not None and dim.axis == "y":
            rows = ends
        elif kind.grid is not None and dim.axis == "x":
            columns = ends
        elif dim.kind != "geometry":
            places[dim.name] = list(range(*ends)) if dim.kind in ("temporal", "spatial") else found.tolist()
    box = None if kind.grid is None else Box(rows[0], columns[0], rows[1], columns[1])
    return _Kept(box, places)


def _valid(call: Call, kind: Cube) -> dict[str, npt.NDArray[np.bool_]]:
    """For each dimension, whether there is a value at each position: found in strips of rows."""
    if kind.grid is None:
        return _valid_in(call.cube("data", None))
    rows, columns = kind.grid.shape
    found = {dim.name: np.zeros(len(dim.labels), np.bool_) for dim in kind.dims}
    found |= {
        dim.name: np.zeros(rows if dim.axis == "y" else columns, np.bool_)
        for dim in kind.dims
        if dim.axis in ("x", "y")
    }
    others = int(np.prod([len(dim.labels) for dim in kind.dims if dim.axis not in ("x", "y")], dtype=np.int64))
    height = max(1, _STRIP_VALUES // max(1, columns * others))
    for top in range(0, rows, height):
        box = Box(top, 0, min(top + height, rows), columns)
        for name, valid in _valid_in(call.cube("data", box)).items():
            place = slice(box.top, box.bottom) if kind.dim(name).axis == "y" else slice(None)
            found[name][place] |= valid
    return found


def _valid_in(cube: Cube) -> dict[str, npt.NDArray[np.bool_]]:
    valid = ~is_null(cube.values)
    axes = range(valid.ndim)
    return {
        dim.name: np.asarray(valid.any(axis=tuple(n for n in axes if n != axis)))
        for axis, dim in enumerate(cube.dims)
    }
