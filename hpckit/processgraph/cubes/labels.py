"""Labels of dimensions: filters by them, their names, and those that hold no data."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Label
from hpckit.processgraph.cubes.callbacks import is_on_grid, labels, one_value
from hpckit.processgraph.cubes.parts import cut_out
from hpckit.processgraph.process import Call, Value, on_cubes
from hpckit.processgraph.times import instants, period_of
from hpckit.space.box import Box


@on_cubes("filter_temporal")
def filter_temporal(call: Call) -> Cube:
    """Keep labels within an interval of time."""
    data, name = call.cube("data"), call.value("dimension")
    wanted = period_of(call.value("extent"), "extent")
    found = [data.dim(name)] if name is not None else list(data.of_kind("temporal"))
    if not found:
        raise GraphError("the cube has no temporal dimension", fault="DimensionNotAvailable")
    for dim in found:
        at = instants(dim.labels, dim.name)
        data = data.at(dim.name, [place for place, time in enumerate(at) if time in wanted])
    return data


@on_cubes("filter_labels")
def filter_labels(call: Call) -> Cube:
    """Keep labels for which a condition holds."""
    kind, name = call.type_of("data"), call.value("dimension")
    dim = kind.dim(name)
    kept: list[int] = call.once(lambda: _fulfilling(call, labels(kind, name)))
    if not is_on_grid(kind, name):
        return call.cube("data").at(name, kept)
    if any(after - before != 1 for before, after in pairwise(kept)):
        raise GraphError(
            f"labels of {name!r} that are no neighbours cannot be kept: {name!r} would have no resolution",
            hint="choose one range",
            fault="ProcessParameterInvalid",
        )
    assert kind.grid is not None
    if not kept:
        return cut_out(call, "data", Box(0, 0, 0, 0))
    rows, columns = kind.grid.shape
    first, last = kept[0], kept[-1] + 1
    return cut_out(call, "data", Box(0, first, rows, last) if dim.axis == "x" else Box(first, 0, last, columns))


def _fulfilling(call: Call, known: tuple[Label, ...]) -> list[int]:
    condition, context = call.value("condition"), call.value("context")
    if known and all(isinstance(label, int | float) for label in known):
        numbers = np.array(known, float)
        found = one_value(condition(value=numbers, context=context), numbers.shape, numbers.dtype, "condition")
        return [place for place, holds in enumerate(found.tolist()) if _is_true(holds)]
    return [place for place, label in enumerate(known) if _is_true(condition(value=label, context=context))]


def _is_true(found: Value) -> bool:
    return found is not None and bool(found == 1)


@on_cubes("dimension_labels")
def dimension_labels(call: Call) -> list[Label]:
    """Labels of a dimension."""
    data, name = call.type_of("data"), call.value("dimension")
    if data.dim(name).kind == "geometry":
        raise GraphError(f"{name!r} is a dimension of geometries, which have no labels", fault="FeatureUnsupported")
    return list(labels(data, name))


@on_cubes("rename_labels")
def rename_labels(call: Call) -> Cube:
    """Rename labels, by what they are called or by their number."""
    data, name = call.cube("data"), call.value("dimension")
    dim = data.dim(name)
    if is_on_grid(data, name) or dim.kind == "geometry":
        raise GraphError(
            f"{name!r} has positions, which cannot be renamed", hint="resample the cube", fault="LabelsNotEnumerated"
        )
    target, source = list(call.value("target") or []), list(call.value("source") or [])
    if not source:
        source = _enumerated(dim, target)
    if len(source) != len(target):
        raise GraphError(
            f"there are {len(source)} labels in `source` and {len(target)} in `target`", fault="LabelMismatch"
        )
    return _relabelled(data, dim, dict(zip(source, target, strict=True)))


def _enumerated(dim: Dimension, target: list[Label]) -> list[Label]:
    """Labels by number; one label for one new name is meant by any name, as in openEO's first example."""
    if len(dim.labels) == len(target) == 1:
        return list(dim.labels)
    if dim.labels != tuple(range(len(dim.labels))):
        raise GraphError(
            f"the labels of {dim.name!r} are no numbers 0, 1, 2, …",
            hint="give the present labels in `source`",
            fault="LabelsNotEnumerated",
        )
    return list(dim.labels[: len(target)])


def _relabelled(data: Cube, dim: Dimension, renamed: dict[Label, Label]) -> Cube:
    listed = ", ".join(str(label) for label in dim.labels)
    for label in renamed:
        if label not in dim.labels:
            raise GraphError(
                f"{dim.name!r} has no label {label!r}", hint=f"its labels are {listed}", fault="LabelNotAvailable"
            )
    made = tuple(renamed.get(label, label) for label in dim.labels)
    for label in renamed.values():
        if made.count(label) > 1:
            raise GraphError(
                f"{dim.name!r} would have the label {label!r} twice", hint=f"it has {listed}", fault="LabelExists"
            )
    return replaced(data, dim.name, replace(dim, labels=made))


def replaced(data: Cube, name: str, made: Dimension) -> Cube:
    """A cube with another description of a dimension."""
    return replace(data, dims=tuple(made if dim.name == name else dim for dim in data.dims))
