"""Values that a mask hides."""

from __future__ import annotations

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.cubes.alignment import arranged, on_grid, require_dimensions
from hpckit.processgraph.cubes.hiding import hidden, hidden_on_grid
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import replaced


@on_cubes("mask")
def mask(call: Call) -> Cube:
    """Replace values where a mask is true, or not zero."""
    data = call.cube("data")
    mask = _for_all_bands(_flags(call, data), data)
    require_dimensions(mask, data, "the mask")
    return data.with_values(replaced(data.values, arranged(mask, data.dims), call.value("replacement")))


def _flags(call: Call, data: Cube) -> Cube:
    """The mask at the pixels or geometries of the data, as booleans."""
    if data.grid is not None:
        return hidden_on_grid(call, "mask", data.grid, box_asked(call))
    found = beside(call, "mask", data)
    return found.with_values(hidden(found.values))


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
