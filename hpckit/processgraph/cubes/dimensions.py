"""Dimensions that are added, dropped, renamed, joined and split."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import Final, Literal

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension
from hpckit.processgraph.cubes.callbacks import is_on_grid, labels
from hpckit.processgraph.cubes.labels import replaced
from hpckit.processgraph.cubes.parts import whole, without_grid
from hpckit.processgraph.process import Call, on_cubes

_AXES: Final[tuple[Literal["x", "y", "z"], ...]] = ("x", "y", "z")


@on_cubes("create_data_cube")
def create_data_cube(call: Call) -> Cube:
    """A cube without dimensions, whose only value is null."""
    return Cube(np.full((), np.nan, np.float32), ())


@on_cubes("add_dimension")
def add_dimension(call: Call) -> Cube:
    """Add a dimension with one label, before all others."""
    data, name, kind = call.cube("data"), call.value("name"), call.value("type", "other")
    _require_new(data, name)
    if kind == "geometry":
        raise GraphError(
            "a dimension of geometries cannot be added", hint="load them from GeoJSON", fault="FeatureUnsupported"
        )
    made = Dimension(name, kind, (call.value("label"),))
    if kind == "spatial":
        free = [axis for axis in _AXES if all(dim.axis != axis for dim in data.dims)]
        if not free:
            raise GraphError("the cube has dimensions for x, y and z", fault="DimensionExists")
        made = replace(made, axis=free[0])
    return data.with_values(data.values[np.newaxis], (made, *data.dims))


@on_cubes("drop_dimension")
def drop_dimension(call: Call) -> Cube:
    """Drop a dimension that has one label."""
    kind, name = call.type_of("data"), call.value("name")
    count = len(kind.geometries) if kind.dim(name).kind == "geometry" and kind.geometries else len(labels(kind, name))
    if count != 1:
        raise GraphError(
            f"{name!r} has {count} labels, and only a dimension with one can be dropped",
            hint="reduce it with `reduce_dimension`, or filter its labels",
            fault="DimensionLabelCountMismatch",
        )
    if is_on_grid(kind, name):
        data = whole(call, "data")
        data = without_grid(data)
    elif kind.dim(name).kind == "geometry":
        data = replace(call.cube("data", range(1)), geometries=None, features=None)
    else:
        data = call.cube("data")
    return data.with_values(np.squeeze(data.values, data.axis(name)), data.without(name))


@on_cubes("rename_dimension")
def rename_dimension(call: Call) -> Cube:
    """Give a dimension another name."""
    data, source, target = call.cube("data"), call.value("source"), call.value("target")
    dim = data.dim(source)
    if target != source:
        _require_new(data, target)
    return replaced(data, source, replace(dim, name=target))


@on_cubes("flatten_dimensions")
def flatten_dimensions(call: Call) -> Cube:
    """Join dimensions into one, where the first of them stands."""
    names, target = call.value("dimensions"), call.value("target_dimension")
    separator = call.value("label_separator", "~")
    kind = call.type_of("data")
    for name in names:
        if kind.dim(name).kind == "geometry":
            raise GraphError(f"{name!r} has geometries, which cannot be joined", fault="FeatureUnsupported")
    _require_new(kind, target, "TargetDimensionExists")
    data = call.cube("data")
    if any(is_on_grid(kind, name) for name in names):
        data = without_grid(whole(call, "data"))
    place = min(data.axis(name) for name in names)
    rest = [dim for dim in data.dims if dim.name not in names]
    place = sum(dim.name not in names for dim in data.dims[:place])
    order = [*rest[:place], *(data.dim(name) for name in names), *rest[place:]]
    values = data.values.transpose([data.axis(dim.name) for dim in order])
    joined = [data.dim(name).labels for name in names]
    made = Dimension(target, "other", tuple(separator.join(map(str, each)) for each in product(*joined)))
    shape = values.shape
    flat = values.reshape(*shape[:place], prod(shape[place : place + len(names)]), *shape[place + len(names) :])
    return data.with_values(flat, (*rest[:place], made, *rest[place:]))


@on_cubes("unflatten_dimension")
def unflatten_dimension(call: Call) -> Cube:
    """Split a dimension into several by what separates the parts of its labels."""
    data, name, targets = call.cube("data"), call.value("dimension"), call.value("target_dimensions")
    separator = call.value("label_separator", "~")
    dim, axis = data.dim(name), data.axis(name)
    for target in targets:
        if target != name:
            _require_new(data, target, "TargetDimensionExists")
    parts = [str(label).split(separator) for label in dim.labels]
    for label, split in zip(dim.labels, parts, strict=True):
        if len(split) != len(targets):
            raise GraphError(
                f"label {label!r} of {name!r} has {len(split)} parts, and there are {len(targets)} target dimensions",
                hint="every label needs the separator once less than there are dimensions",
                fault="ProcessParameterInvalid",
            )
    columns = list(zip(*parts, strict=True)) or [()] * len(targets)
    made = [
        Dimension(name, "other", tuple(dict.fromkeys(found))) for name, found in zip(targets, columns, strict=True)
    ]
    known = {tuple(split): place for place, split in enumerate(parts)}
    wanted = list(product(*(tuple(map(str, each.labels)) for each in made)))
    if len(known) != len(parts) or any(each not in known for each in wanted):
        raise GraphError(
            f"the labels of {name!r} are not all combinations of their parts, each once",
            fault="ProcessParameterInvalid",
        )
    ordered = data.at(name, [known[each] for each in wanted]).values
    shape = (*ordered.shape[:axis], *(len(each.labels) for each in made), *ordered.shape[axis + 1 :])
    return data.with_values(ordered.reshape(shape), (*data.dims[:axis], *made, *data.dims[axis + 1 :]))


def _require_new(data: Cube, name: str, fault: str = "DimensionExists") -> None:
    if name in data.names:
        raise GraphError(f"there is a dimension {name!r}", hint="choose another name", fault=fault)
