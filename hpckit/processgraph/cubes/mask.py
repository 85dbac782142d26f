"""Values that a mask hides."""

from __future__ import annotations

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.cubes.alignment import arranged, on_grid, require_dimensions
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import is_null, replaced


@on_cubes("mask")
def mask(call: Call) -> Cube:
    """Replace values where a mask is true, or not zero."""
    data = call.cube("data")
    hidden = _for_all_bands(beside(call, "mask", data), data)
    require_dimensions(hidden, data, "the mask")
    values = arranged(hidden, data.dims)
    where = np.asarray((values != 0) & ~is_null(values), np.bool_)
    return data.with_values(replaced(data.values, where, call.value("replacement")))


def _for_all_bands(hidden: Cube, data: Cube) -> Cube:
    """A mask without its only band, if that is none of the data's: it hides pixels of all bands."""
    for dim in tuple(hidden.of_kind("bands")):
        if len(dim.labels) == 1 and (dim.name not in data.names or dim.labels[0] not in data.dim(dim.name).labels):
            hidden = hidden.with_values(hidden.values.squeeze(hidden.axis(dim.name)), hidden.without(dim.name))
    return hidden


def beside(call: Call, name: str, data: Cube) -> Cube:
    """An argument at the pixels or geometries of another one that was asked for."""
    if data.grid is not None:
        return on_grid(call, name, data.grid, box_asked(call))
    if call.type_of(name).grid is not None:
        raise GraphError(
            f"argument {name!r} has x and y, and the data do not", hint="reduce them", fault="IncompatibleDataCubes"
        )
    return call.cube(name)
