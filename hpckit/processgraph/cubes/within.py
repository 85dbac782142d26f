"""Pixels and geometries within bounding boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.processgraph.cube import Cube, Geometries
from hpckit.processgraph.cubes.parts import cut_out
from hpckit.processgraph.cubes.vectors import require_vectors
from hpckit.processgraph.derived import chosen, derived
from hpckit.processgraph.extents import Area, area_of, pixels_within
from hpckit.processgraph.planes import grid_of
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.reproject import in_crs


@on_cubes("filter_bbox")
def filter_bbox(call: Call) -> Cube:
    """Keep pixels whose centres lie in a bounding box, or geometries that lie in it completely."""
    extent = call.value("extent")
    if call.type_of("data").geometries is not None:
        return derived(call, *call.once(lambda: _inside(call, area_of(extent, "extent"))))
    area: Area = call.once(lambda: area_of(extent, "extent"))
    grid = grid_of(call.type_of("data"))
    cube = cut_out(call, "data", pixels_within(grid, area.bounds(grid.crs)))
    return _between(cube, extent.get("base"), extent.get("height"))


def _inside(call: Call, area: Area) -> tuple[Geometries, npt.NDArray[np.int64]]:
    """Geometries that no point of lies outside of a box along the axes of its own CRS, and their numbers."""
    geometries = require_vectors(call)
    bounds = shapely.bounds(in_crs(geometries.shapes, geometries.crs, area.crs)).reshape(-1, 4)
    west, south, east, north = area.shape.bounds
    with np.errstate(invalid="ignore"):  # bounds of what is empty
        low = (bounds[:, 0] >= west) & (bounds[:, 1] >= south)
        rows = np.flatnonzero(low & (bounds[:, 2] <= east) & (bounds[:, 3] <= north))
    return chosen(geometries, rows), rows


def _between(cube: Cube, base: Any, height: Any) -> Cube:
    """Labels of z between two heights."""
    for dim in cube.dims:
        if dim.axis == "z" and (base is not None or height is not None):
            low, high = -np.inf if base is None else base, np.inf if height is None else height
            kept = [n for n, at in enumerate(dim.labels) if isinstance(at, int | float) and low <= at <= high]
            cube = cube.at(dim.name, kept)
    return cube
