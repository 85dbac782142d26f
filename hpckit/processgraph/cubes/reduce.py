"""Reducers along one dimension, and over the plane."""

from __future__ import annotations

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Values
from hpckit.processgraph.cubes.callbacks import array_along, is_on_grid, one_value
from hpckit.processgraph.cubes.parts import whole, without_grid
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call, Value, on_cubes
from hpckit.processgraph.taken import taken_from


@on_cubes("reduce_dimension")
def reduce_dimension(call: Call) -> Cube:
    """Apply a reducer along a dimension."""
    name = call.value("dimension")
    data = without_grid(whole(call, "data"), [name]) if is_on_grid(call.type_of("data"), name) else call.cube("data")
    if data.dim(name).kind == "geometry":
        raise GraphError(
            "geometries cannot be reduced", hint="reduce another dimension", fault="ProcessParameterInvalid"
        )
    around = taken_from(call, "reduce_dimension", data, name)
    return data.with_values(reduced(call, array_along(data, name), **around), data.without(name))


@on_cubes("reduce_spatial")
def reduce_spatial(call: Call) -> Cube:
    """Apply a reducer over all pixels."""
    data = whole(call, "data")
    names = [dim.name for dim in data.dims if dim.axis in ("x", "y")]
    if not names:
        raise GraphError("the cube has no x and y", hint="give a raster data cube", fault="DimensionNotAvailable")
    for name in reversed(names):
        data = data.moved(name, 0)
    data = without_grid(data, names)
    pixels = data.values.reshape(-1, *data.values.shape[len(names) :])
    return data.with_values(reduced(call, Labelled(pixels)), data.dims[len(names) :])


def reduced(call: Call, along: Labelled, **around: Value) -> Values:
    """Values of the reducer of a call."""
    found = call.value("reducer")(data=along, context=call.value("context"), **around)
    return one_value(found, along.values.shape[1:], along.values.dtype, "reducer")
