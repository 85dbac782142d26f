"""The spatial axes of raster cubes: moved behind the others, and back."""

from __future__ import annotations

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Grid


def grid_of(cube: Cube, argument: str = "data") -> Grid:
    """The grid of a raster cube.

    Raises
    ------
    GraphError
        If the cube has no x and y.
    """
    if cube.grid is None or not {"x", "y"} <= {dim.axis for dim in cube.dims}:
        listed = ", ".join(cube.names) or "none"
        raise GraphError(
            f"argument {argument!r} is a cube without the dimensions x and y",
            hint=f"its dimensions are {listed}",
            fault="ProcessParameterInvalid",
        )
    return cube.grid


def with_planes_last(cube: Cube) -> Cube:
    """The cube with y and x as its last dimensions, in this order; raises what `grid_of` does."""
    grid_of(cube)
    names = {dim.axis: dim.name for dim in cube.dims if dim.axis in ("x", "y")}
    return cube.moved(names["y"], -1).moved(names["x"], -1)


def in_order(cube: Cube, dims: tuple[Dimension, ...]) -> Cube:
    """The cube with its dimensions in an order of names."""
    for place, dim in enumerate(dims):
        cube = cube.moved(dim.name, place)
    return cube
