"""Reducers along one dimension."""

from __future__ import annotations

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call, Value, on_cubes


@on_cubes("reduce_dimension")
def reduce_dimension(call: Call) -> Value:
    """Apply a reducer along a dimension."""
    name, reducer = call.value("dimension"), call.value("reducer")
    dim = call.type_of("data").dim(name)
    data = call.cube("data")
    along = data.moved(name, 0)
    found = reducer(data=Labelled(along.values, dim.labels or None, dim.kind), context=call.value("context"))
    return Cube(found, data.without(name), data.grid, data.box, data.geometries, data.features)
