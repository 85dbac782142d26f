"""Processes on each value, and on the arrays along a dimension."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Dimension, Label, Values
from hpckit.processgraph.cubes.callbacks import array_along, is_on_grid, one_value, several_values
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.taken import OwnLabels, taken_from
from hpckit.space.box import Box


@on_cubes("apply")
def apply(call: Call) -> Cube:
    """Apply a process to each value."""
    data = call.cube("data")
    around = taken_from(call, "apply", data)
    found = call.value("process")(x=data.values, context=call.value("context"), **around)
    return data.with_values(one_value(found, data.values.shape, data.values.dtype, "process"))


@on_cubes("apply_dimension")
def apply_dimension(call: Call) -> Cube:
    """Apply a process to the arrays along a dimension."""
    name, target = call.value("dimension"), call.value("target_dimension")
    kind = call.type_of("data")
    dim = kind.dim(name)
    if dim.kind == "geometry":
        raise GraphError("geometries have no order to apply a process along", fault="ProcessParameterInvalid")
    if is_on_grid(kind, name):
        return _along_grid(call, name, target)
    data = call.cube("data")
    values, labels = _applied(call, data, name)
    if target is None or target == name:
        place = data.axis(name)
        same = len(values) == len(dim.labels) and labels in (None, dim.labels)
        made = dim if same else replace(dim, labels=labels or tuple(range(len(values))), bands=())
        return _placed(data, values, data.without(name), made, place)
    return _into_target(data, values, name, target)


def _applied(call: Call, data: Cube, name: str) -> tuple[Values, tuple[Label, ...] | None]:
    """Values that the process makes along a dimension, and their labels if user code gave them some."""
    along = array_along(data, name)
    around = taken_from(call, "apply_dimension", data, name)
    found = call.value("process")(data=along, context=call.value("context"), **around)
    labels = found.labels if isinstance(found, OwnLabels) else None
    return several_values(found, along.values.shape[1:], along.values.dtype, "process"), labels


def _into_target(data: Cube, values: Values, name: str, target: str) -> Cube:
    rest = data.without(name)
    place = data.axis(name)
    made = Dimension(target, "other", tuple(range(len(values))))
    if target in data.names:
        there = data.dim(target)
        if is_on_grid(data, target) or len(there.labels) != 1:
            raise GraphError(
                f"the target dimension {target!r} has more than one label",
                hint="give the name of a new dimension, or of one with a single label",
                fault="ProcessParameterInvalid",
            )
        place = next(number for number, dim in enumerate(rest) if dim.name == target)
        values = np.squeeze(values, place + 1)
        made = replace(there, labels=made.labels, bands=())
        rest = tuple(dim for dim in rest if dim.name != target)
    return _placed(data, values, rest, made, place)


def _placed(data: Cube, values: Values, rest: tuple[Dimension, ...], made: Dimension, place: int) -> Cube:
    """The cube with the first axis of values as a dimension at a position."""
    return data.with_values(np.moveaxis(values, 0, place), (*rest[:place], made, *rest[place:]))


def _along_grid(call: Call, name: str, target: str | None) -> Cube:
    """Along x or y: of whole rows or columns."""
    kind = call.type_of("data")
    assert kind.grid is not None
    asked, axis = box_asked(call), kind.axis(name)
    rows, columns = kind.grid.shape
    if asked == NOTHING:
        shape = list(kind.values.shape)
        shape[axis] = columns if kind.dims[axis].axis == "x" else rows
        data = kind.with_values(np.empty(shape, kind.values.dtype))
        keep = slice(0, 0)
    elif kind.dims[axis].axis == "x":
        data, keep = call.cube("data", Box(asked.top, 0, asked.bottom, columns)), slice(asked.left, asked.right)
    else:
        data, keep = call.cube("data", Box(0, asked.left, rows, asked.right)), slice(asked.top, asked.bottom)
    values, _ = _applied(call, data, name)
    if len(values) != data.values.shape[axis] or target not in (None, name):
        raise GraphError(
            f"a process along {name!r} must keep the number of pixels, and its dimension",
            hint="reduce the dimension, or resample the cube",
            fault="FeatureUnsupported",
        )
    return replace(data, values=np.moveaxis(values[keep], 0, axis), box=asked)
