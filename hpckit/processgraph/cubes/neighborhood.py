"""A process on windows of a cube, which may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Dimension, Values
from hpckit.processgraph.cubes.callbacks import several_values
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.cubes.sliding import Window, windows_of
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.planes import grid_of
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import null_of, with_null
from hpckit.processgraph.taken import taken_from
from hpckit.space.box import Box

_Windows = dict[str, list[Window]]


@on_cubes("apply_neighborhood")
def apply_neighborhood(call: Call) -> Cube:
    """Apply a process to windows, and keep what it makes of their inner parts.

    Windows are counted from the first pixel and label of the whole cube, so they do not depend on the part that is
    asked for. Beyond the last pixels of the cube they have null; along other dimensions they end with the labels.
    """
    grid_of(call.type_of("data"))
    kind = call.type_of("data")
    windows: _Windows = call.once(lambda: windows_of(kind, call.value("size"), call.value("overlap")))
    arrays = [dim for dim in kind.dims if not all(window.is_single for window in windows[dim.name])]
    if len(arrays) == 1 and arrays[0].axis not in ("x", "y"):
        return _on_arrays(call, arrays[0], windows[arrays[0].name])
    return _on_cubes(call, kind, windows)


def _on_arrays(call: Call, dim: Dimension, windows: Sequence[Window]) -> Cube:
    """Windows of one dimension alone: arrays, of all other positions at once."""
    data = call.cube("data")
    along = data.moved(dim.name, 0).values
    process, context = call.value("process"), call.value("context")
    around = taken_from(call, "apply_neighborhood", data, dim.name)
    made = []
    for window in windows:
        part = slice(window.low, window.high)
        found = process(data=Labelled(along[part], dim.labels[part], dim.kind), context=context, **around)
        values = several_values(found, along.shape[1:], along.dtype, "process")
        if len(values) != window.high - window.low:
            raise _changed(f"the array has {len(values)} values instead of {window.high - window.low}")
        made.append(values[window.start - window.low : window.stop - window.low])
    return data.with_values(np.moveaxis(np.concatenate(made), 0, data.axis(dim.name)))


def _on_cubes(call: Call, kind: Cube, windows: _Windows) -> Cube:
    grid, asked = kind.grid, box_asked(call)
    assert grid is not None
    if asked == NOTHING:
        places = {name: known[0] for name, known in windows.items()}
        empty = Window(0, 0, 0, 0)
        places |= {dim.name: empty for dim in kind.dims if dim.axis in ("x", "y")}
        found = _processed(call, _window(kind, kind, places))
        return kind.with_values(np.empty(kind.values.shape, found.dtype))
    wanted = {dim.name: _touched(windows[dim.name], dim, asked) for dim in kind.dims}
    reach = Box(
        *(min(window.low for window in wanted[dim.name]) for dim in _plane(kind)),
        *(max(window.high for window in wanted[dim.name]) for dim in _plane(kind)),
    ).within(grid.shape)
    data = call.cube("data", reach)
    made: Values | None = None
    for chosen in product(*wanted.values()):
        places = dict(zip(wanted, chosen, strict=True))
        values = _processed(call, _window(kind, data, places))
        if made is None:
            made = np.empty([_length(dim, asked) for dim in kind.dims], values.dtype)
        _keep(made, values, kind.dims, places, asked)
    assert made is not None
    return replace(kind, values=made, box=asked)


def _plane(kind: Cube) -> list[Dimension]:
    return [next(dim for dim in kind.dims if dim.axis == axis) for axis in ("y", "x")]


def _span(dim: Dimension, box: Box) -> tuple[int, int]:
    """The first position of a dimension that a box has, and the one after the last."""
    if dim.axis == "y":
        return box.top, box.bottom
    return (box.left, box.right) if dim.axis == "x" else (0, len(dim.labels))


def _length(dim: Dimension, box: Box) -> int:
    start, stop = _span(dim, box)
    return stop - start


def _touched(windows: Sequence[Window], dim: Dimension, asked: Box) -> list[Window]:
    start, stop = _span(dim, asked)
    return [window for window in windows if window.start < stop and window.stop > start]


def _window(kind: Cube, data: Cube, places: dict[str, Window]) -> Cube:
    """One window as a cube of its own, with null where the data have no pixel."""
    assert kind.grid is not None and data.box is not None
    rows, columns = (places[dim.name] for dim in _plane(kind))
    own = Box(rows.low, columns.low, rows.high, columns.high)
    values = with_null(data.values)
    take, put, shape, dims = [], [], [], []
    for dim in kind.dims:
        window = places[dim.name]
        first, last = _span(dim, data.box)
        low, high = max(window.low, first), max(min(window.high, last), max(window.low, first))
        take.append(slice(low - first, high - first))
        put.append(slice(low - window.low, high - window.low))
        shape.append(window.high - window.low)
        dims.append(dim if dim.axis in ("x", "y") else dim.at(range(window.low, window.high)))
    found = values[tuple(take)]
    if found.shape != tuple(shape):
        padded = np.full(shape, null_of(values.dtype), values.dtype)
        padded[tuple(put)] = found
        found = padded
    return Cube(found, tuple(dims), kind.grid.part(own), Box(0, 0, *own.shape), attributes=data.attributes)


def _processed(call: Call, window: Cube) -> Values:
    """Values that the process makes of a window, in the order of its dimensions."""
    around = taken_from(call, "apply_neighborhood", window)
    found = call.value("process")(data=window, context=call.value("context"), **around)
    if not isinstance(found, Cube):
        raise _changed("the process returns no data cube")
    if set(found.names) != set(window.names):
        raise _changed(f"the result has the dimensions {', '.join(found.names) or 'none'}")
    values = found.values.transpose([found.axis(name) for name in window.names])
    if values.shape != window.values.shape:
        raise _changed(f"the result has {values.shape} values instead of {window.values.shape}")
    return values


def _keep(made: Values, values: Values, dims: Sequence[Dimension], places: dict[str, Window], asked: Box) -> None:
    """Put the inner part of a window where it belongs."""
    inner, outer = [], []
    for dim in dims:
        window, (first, last) = places[dim.name], _span(dim, asked)
        start, stop = max(window.start, first), min(window.stop, last)
        inner.append(slice(start - window.low, stop - window.low))
        outer.append(slice(start - first, stop - first))
    made[tuple(outer)] = values[tuple(inner)]


def _changed(what: str) -> GraphError:
    return GraphError(
        f"the process of apply_neighborhood must keep dimensions and labels: {what}",
        fault="DataCubePropertiesImmutable",
    )
