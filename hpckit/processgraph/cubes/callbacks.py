"""What child processes get of cubes, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Label, Values
from hpckit.processgraph.labelled import Labelled

_NOT_ONE_VALUE: Final = "ProcessGraphInvalid"


def array_along(cube: Cube, name: str) -> Labelled:
    """The arrays along a dimension, one for each of the other positions: a view."""
    dim = cube.dim(name)
    return Labelled(cube.moved(name, 0).values, labels(cube, name) or None, dim.kind, dim.bands)


def labels(cube: Cube, name: str) -> tuple[Label, ...]:
    """Labels of a dimension: of x and y of a grid the coordinates of all its pixels."""
    dim = cube.dim(name)
    if cube.grid is None or dim.axis not in ("x", "y"):
        return dim.labels
    grid = cube.grid
    return tuple((grid.xs if dim.axis == "x" else grid.ys)(grid.box).tolist())


def is_on_grid(cube: Cube, name: str) -> bool:
    """Whether a dimension is x or y of a grid."""
    return cube.dim(name).axis in ("x", "y") and cube.grid is not None


def one_value(found: Any, shape: Sequence[int], dtype: npt.DTypeLike, child: str) -> Values:
    """Values of a child process that returns one for each position.

    Parameters
    ----------
    found : ndarray or scalar
        What it returned; None is null.
    shape : sequence of int
        Positions.
    dtype : dtype
        Of the values that it was given, which constants take too.
    child : str
        Its name in messages: `reducer`.

    Raises
    ------
    GraphError
        If it returned an array, or something that is no value.
    """
    if isinstance(found, np.ndarray) and found.ndim:
        if found.shape == tuple(shape):
            return found
        try:
            return np.ascontiguousarray(np.broadcast_to(found, tuple(shape)))
        except ValueError as error:
            raise _no_value(child, "an array") from error
    if isinstance(found, np.ndarray | np.generic):
        found = found.item()
    if isinstance(found, Labelled | list | tuple):
        raise _no_value(child, "an array")
    if found is None:
        return np.full(shape, np.nan, np.result_type(dtype, np.float32))
    if isinstance(found, bool):
        return np.full(shape, found)
    if isinstance(found, int | float):
        return np.full(shape, found, np.result_type(dtype, type(found)))
    if isinstance(found, str):
        return np.full(shape, found, object)
    raise _no_value(child, f"a {type(found).__name__}")


def several_values(found: Any, shape: Sequence[int], dtype: npt.DTypeLike, child: str) -> Values:
    """Values of a child process that returns an array for each position.

    Parameters
    ----------
    found : Labelled, list or one value
        What it returned; many published graphs return one value, which is an array of one element.
    shape, dtype, child
        As for `one_value`.

    Returns
    -------
    ndarray
        With the array along the first axis.

    Raises
    ------
    GraphError
        If it returned no array, or an empty one.
    """
    if isinstance(found, Labelled):
        values = found.values
        if values.shape[1:] != tuple(shape):
            values = np.broadcast_to(
                values.reshape(values.shape[:1] + (1,) * (len(shape) + 1 - values.ndim) + values.shape[1:]),
                (len(found), *shape),
            )
    elif isinstance(found, list | tuple):
        parts = [one_value(item, shape, dtype, child) for item in found]
        values = np.stack(parts) if parts else np.empty((0, *shape), dtype)
    else:
        values = one_value(found, shape, dtype, child)[np.newaxis]
    if not len(values):
        raise GraphError(f"{child!r} returns an empty array", fault=_NOT_ONE_VALUE)
    return values


def _no_value(child: str, what: str) -> GraphError:
    return GraphError(f"{child!r} must return one value, and returns {what}", fault=_NOT_ONE_VALUE)
