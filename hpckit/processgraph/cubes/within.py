"""Pixels within bounding boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.cubes.parts import cut_out
from hpckit.processgraph.extents import Area, area_of, pixels_within
from hpckit.processgraph.planes import grid_of
from hpckit.processgraph.process import Call, on_cubes


@on_cubes("filter_bbox")
def filter_bbox(call: Call) -> Cube:
    """Keep pixels whose centres lie in a bounding box."""
    extent = call.value("extent")
    area: Area = call.once(lambda: area_of(extent, "extent"))
    grid = grid_of(call.type_of("data"))
    cube = cut_out(call, "data", pixels_within(grid, area.bounds(grid.crs)))
    return _between(cube, extent.get("base"), extent.get("height"))


def _between(cube: Cube, base: Any, height: Any) -> Cube:
    """Labels of z between two heights."""
    for dim in cube.dims:
        if dim.axis == "z" and (base is not None or height is not None):
            low, high = -np.inf if base is None else base, np.inf if height is None else height
            kept = [n for n, at in enumerate(dim.labels) if isinstance(at, int | float) and low <= at <= high]
            cube = cube.at(dim.name, kept)
    return cube
