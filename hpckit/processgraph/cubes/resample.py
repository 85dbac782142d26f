"""Other grids: of a resolution and a CRS, or of another cube."""

from __future__ import annotations

import math
from typing import Any

import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Grid
from hpckit.processgraph.cubes.alignment import on_grid
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.extents import bounds_in, crs_name
from hpckit.processgraph.planes import grid_of
from hpckit.processgraph.process import Call, on_cubes


@on_cubes("resample_spatial")
def resample_spatial(call: Call) -> Cube:
    """Resample to a resolution and a CRS."""
    grid: Grid = call.once(lambda: _new_grid(call))
    return on_grid(call, "data", grid, box_asked(call), call.value("method", "near"))


@on_cubes("resample_cube_spatial")
def resample_cube_spatial(call: Call) -> Cube:
    """Resample to the pixels of another cube."""
    grid_of(call.type_of("data"))
    return on_grid(
        call, "data", grid_of(call.type_of("target"), "target"), box_asked(call), call.value("method", "near")
    )


_ROUNDING = 1e-6
"""Of a pixel, by which an extent may be larger than its pixels."""


def _new_grid(call: Call) -> Grid:
    grid, projection = grid_of(call.type_of("data")), call.value("projection")
    crs = grid.crs if projection is None else crs_name(projection, "projection")
    bounds = grid.bounds if crs == grid.crs else bounds_in(shapely.box(*grid.bounds), grid.crs, crs)
    width, height = _resolution(call.value("resolution", 0), grid, crs, bounds)
    columns = max(1, math.ceil((bounds[2] - bounds[0]) / width - _ROUNDING)) if grid.columns else 0
    rows = max(1, math.ceil((bounds[3] - bounds[1]) / height - _ROUNDING)) if grid.rows else 0
    vertical, _, horizontal = call.value("align", "upper-left").partition("-")
    west = bounds[0] if horizontal == "left" else bounds[2] - columns * width
    north = bounds[3] if vertical == "upper" else bounds[1] + rows * height
    flipped_x, flipped_y = (grid.dx < 0, grid.dy > 0) if crs == grid.crs else (False, False)
    return Grid(
        crs,
        west + columns * width if flipped_x else west,
        north - rows * height if flipped_y else north,
        -width if flipped_x else width,
        height if flipped_y else -height,
        rows,
        columns,
    )


def _resolution(given: Any, grid: Grid, crs: str, bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    """Width and height of pixels in the units of the new CRS."""
    pair = list(given) if isinstance(given, list | tuple) else [given, given]
    numbers = [size for size in pair if isinstance(size, int | float) and not isinstance(size, bool)]
    if len(pair) != 2 or len(numbers) != 2 or not all(math.isfinite(size) and size >= 0 for size in numbers):
        raise GraphError(
            f"argument 'resolution' is {given!r}, and must be one size or two, in units of the CRS",
            fault="ProcessParameterInvalid",
        )
    own = (abs(grid.dx), abs(grid.dy))
    if crs != grid.crs and _units(crs) != _units(grid.crs):
        # As many pixels along the diagonal as before: GDALSuggestedWarpOutput
        size = math.hypot(bounds[2] - bounds[0], bounds[3] - bounds[1]) / max(math.hypot(grid.columns, grid.rows), 1)
        own = (size, size)
    return float(pair[0] or own[0]), float(pair[1] or own[1])


def _units(crs: str) -> str:
    import pyproj

    return str(pyproj.CRS.from_user_input(crs).axis_info[0].unit_name)
