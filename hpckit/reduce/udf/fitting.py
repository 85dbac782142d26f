"""Cubes of graphs as blocks for user code, and what comes back checked and made a cube again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Label
from hpckit.processgraph.usercode import UserCode
from hpckit.reduce.udf.block import Block, Labels

_FAULT: Final = "UdfFailed"
_KEEPS: Final = {
    "apply": "must keep all dimensions and labels",
    "apply_neighborhood": "must keep all dimensions and labels",
    "apply_dimension": "must keep all dimensions, and the labels of all others",
    "reduce_dimension": "must drop this dimension alone",
    "": "must keep x and y",
}


def block_of(cube: Cube) -> Block:
    """A cube for user code: dimensions in their order, times as such, x and y as coordinates of pixels.

    Raises
    ------
    GraphError
        If it holds texts or dates.
    """
    if cube.values.dtype.kind not in "biuf":
        raise GraphError("user code gets numbers, and the cube has texts or dates", fault=_FAULT)
    labels = {dim.name: found for dim in cube.dims if (found := _labels(cube, dim))}
    times = frozenset(dim.name for dim in cube.dims if dim.kind == "temporal" and dim.name in labels)
    return Block(cube.values, cube.names, labels, times)


def _labels(cube: Cube, dim: Dimension) -> Labels:
    if dim.axis in ("x", "y") and cube.grid is not None and cube.box is not None:
        return tuple((cube.grid.xs if dim.axis == "x" else cube.grid.ys)(cube.box).tolist())
    if dim.kind == "geometry":
        return tuple(float(number) for number in cube.features or ())
    return dim.labels


def assumed(code: UserCode, cube: Cube) -> tuple[Dimension, ...]:
    """Dimensions of what user code makes, as far as they are known without running it."""
    return cube.without(code.dimension) if code.process == "reduce_dimension" else cube.dims


def fitted(code: UserCode, cube: Cube, made: Block) -> Cube:
    """What user code made of a cube, as a cube.

    Numbers and booleans come back as floating-point numbers: float32, or float64 if the cube has such or large
    integers.

    Raises
    ------
    GraphError
        If its dimensions are not those that the process around it needs.
    """
    made = _without_single(code, cube, made)
    order = _order(code, cube, made)
    values = made.values.transpose([made.dims.index(name) for name in order])
    dims = tuple(_dimension(code, cube, name, length, made) for name, length in zip(order, values.shape, strict=True))
    return _cube(cube, values.astype(number_type(cube), copy=False), dims)


def without_pixels(cube: Cube, dims: Sequence[Dimension]) -> Cube:
    """A cube without values of other dimensions."""
    lengths = {dim.name: length for dim, length in zip(cube.dims, cube.values.shape, strict=True)}
    shape = [len(dim.labels) if dim.labels else lengths.get(dim.name, 0) for dim in dims]
    return _cube(cube, np.broadcast_to(np.zeros((), number_type(cube)), shape), tuple(dims))


def number_type(cube: Cube) -> np.dtype[np.floating]:
    """Data type of the numbers that user code gives back."""
    return np.result_type(cube.values.dtype, np.float32)


def _cube(cube: Cube, values: np.ndarray, dims: tuple[Dimension, ...]) -> Cube:
    found = cube.with_values(values, dims)
    if not {"x", "y"} <= {dim.axis for dim in dims}:
        found = replace(found, grid=None, box=None)
    return found


def _without_single(code: UserCode, cube: Cube, made: Block) -> Block:
    """Drop a dimension that was reduced to one value and kept."""
    name = code.dimension
    if code.process != "reduce_dimension" or name not in made.dims or made.values.shape[made.dims.index(name)] != 1:
        return made
    rest = tuple(dim for dim in made.dims if dim != name)
    labels = {dim: found for dim, found in made.labels.items() if dim != name}
    return Block(made.values.squeeze(made.dims.index(name)), rest, labels, made.times)


def _order(code: UserCode, cube: Cube, made: Block) -> list[str]:
    """Dimensions of the result in the order of the cube; new ones before x and y."""
    kept = [dim.name for dim in assumed(code, cube)]
    if code.process:
        if set(kept) != set(made.dims):
            raise _unfit(code, f"has the dimensions {_listed(made.dims)} instead of {_listed(kept)}")
        return kept
    plane = [dim.name for dim in cube.dims if dim.axis in ("x", "y") or dim.kind == "geometry"]
    missing = [name for name in plane if name not in made.dims]
    if missing:
        raise _unfit(code, f"has the dimensions {_listed(made.dims)}, without {_listed(missing)}")
    return [*(name for name in made.dims if name not in plane), *plane]


def _dimension(code: UserCode, cube: Cube, name: str, length: int, made: Block) -> Dimension:
    """A dimension of the result; that of the cube where nothing changed."""
    labels = made.labels.get(name)
    if name not in cube.names:
        return Dimension(name, "other", _plain(labels) if labels else tuple(range(length)))
    dim, before = cube.dim(name), cube.values.shape[cube.axis(name)]
    may_change = name == code.dimension or (not code.process and dim.kind not in ("geometry",) and not dim.axis)
    same = length == before and (labels is None or dim.axis in ("x", "y") or _is_same(dim, labels, cube))
    if same:
        return dim
    if not may_change:
        said = (
            f"{length} values along {name!r} instead of {before}"
            if length != before
            else f"other labels along {name!r}"
        )
        raise _unfit(code, f"has {said}")
    return replace(dim, labels=_plain(labels) if labels else tuple(range(length)), bands=())


def _is_same(dim: Dimension, labels: Labels, cube: Cube) -> bool:
    known = _labels(cube, dim)
    if not known or dim.kind == "geometry":
        return True
    if dim.kind == "temporal":
        return _seconds(known) == _seconds(labels)
    return [str(_number(label)) for label in known] == [str(_number(label)) for label in labels]


def _seconds(labels: Sequence[Label]) -> list[str]:
    """Times to the second, in one form."""
    texts = [str(label).removesuffix("Z") for label in labels]
    try:
        return [str(np.datetime64(text, "s")) for text in texts]
    except ValueError:
        return texts


def _plain(labels: Labels) -> tuple[Label, ...]:
    return tuple(_number(label) for label in labels)


def _number(label: Label) -> Label:
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _unfit(code: UserCode, what: str) -> GraphError:
    around = f"in {code.process}" if code.process else "on a cube"
    of = f" ({code.dimension!r})" if code.dimension else ""
    hint = {"apply": "; apply_dimension may change labels"}.get(code.process, "")
    return GraphError(
        f"what the user code returned {what}",
        hint=f"code {around}{of} {_KEEPS.get(code.process, 'must keep the cube as it is')}{hint}",
        fault=_FAULT,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
