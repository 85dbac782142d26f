"""Two cubes as one: all labels of both, and one value where both have one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Dimension, Grid, Values
from hpckit.processgraph.cubes.alignment import arranged, keys, on_grid, plane
from hpckit.processgraph.cubes.callbacks import one_value
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.process import Call, Callback, on_cubes
from hpckit.processgraph.replacing import null_of, nullable
from hpckit.space.box import Box

_Places = npt.NDArray[np.intp]


@on_cubes("merge_cubes")
def merge_cubes(call: Call) -> Cube:
    """Merge two cubes."""
    plan: _Plan = call.once(lambda: _planned(call))
    if plan.grid is None:
        return _merged(call, plan, [call.cube("cube1"), call.cube("cube2")], [(), ()], ())
    asked = box_asked(call)
    parts, insides = [], []
    for name, own in (("cube1", plan.first), ("cube2", plan.second)):
        inside = _within(asked, own)
        own_grid = plan.grid.part(own)
        part = on_grid(call, name, own_grid, NOTHING if inside == NOTHING else inside.moved(-own.top, -own.left))
        parts.append(part)
        insides.append(plane(plan.dims, *_slices(inside, asked)))
    return _merged(call, plan, parts, insides, asked.shape)


@dataclass(frozen=True)
class _Plan:
    """What a merged cube is."""

    dims: tuple[Dimension, ...]
    grid: Grid | None
    first: Box
    """Pixels of the grid that the first cube has."""
    second: Box
    places: tuple[tuple[_Places | None, _Places | None], ...]
    """For each dimension, positions of the labels of both cubes; None for x, y and geometries, and where a cube does
    not have the dimension: then it has its values everywhere along it."""
    resolver: Callback | None
    context: Any
    complete: bool
    """Whether each value comes from one of the cubes."""

    @cached_property
    def overlap(self) -> tuple[tuple[_Places, _Places, _Places] | None, ...]:
        """For each dimension, positions that both cubes have: in the result, and in each of them."""
        return tuple(None if one is None or other is None else _common(one, other) for one, other in self.places)

    @property
    def overlaps(self) -> bool:
        """Whether both cubes have values at the same position."""
        pixels = self.grid is None or not _both(self.first, self.second).is_empty
        return pixels and all(each is None or len(each[0]) for each in self.overlap)


def _planned(call: Call) -> _Plan:
    one, other = call.type_of("cube1"), call.type_of("cube2")
    if {one.is_raster, other.is_raster} == {True, False} and (_is_vector(one) or _is_vector(other)):
        raise GraphError(
            "a raster and a vector data cube cannot be merged",
            hint="aggregate the raster cube with aggregate_spatial first",
            fault="IncompatibleDataCubes",
        )
    _require_same_geometries(one, other)
    grid, first, second = _grids(one, other)
    dims, places = _dimensions(one, other)
    resolver = call.value("overlap_resolver")
    plan = _Plan(dims, grid, first, second, places, resolver, call.value("context"), False)
    if plan.overlaps and resolver is None:
        raise GraphError(
            "the cubes have values at the same labels, and there is no `overlap_resolver`",
            hint="give one, such as max, or rename labels of one of the cubes",
            fault="OverlapResolverMissing",
        )
    return replace(plan, complete=_is_complete(plan))


def _is_vector(cube: Cube) -> bool:
    return any(cube.of_kind("geometry"))


def _require_same_geometries(one: Cube, other: Cube) -> None:
    mine, theirs = one.geometries, other.geometries
    if mine is None or theirs is None or mine is theirs or not (_is_vector(one) and _is_vector(other)):
        return
    if mine.crs != theirs.crs or len(mine) != len(theirs) or not _equal(mine.shapes, theirs.shapes):
        raise GraphError(
            "vector data cubes of different geometries cannot be merged",
            hint="aggregate both over the same geometries",
            fault="FeatureUnsupported",
        )


def _equal(mine: Any, theirs: Any) -> bool:
    import shapely

    return bool(shapely.equals(mine, theirs).all())


def _grids(one: Cube, other: Cube) -> tuple[Grid | None, Box, Box]:
    """The grid of the result, and the pixels of both cubes in it."""
    if one.grid is None or other.grid is None:
        grid = one.grid or other.grid
        box = NOTHING if grid is None else grid.box
        return grid, box, box
    offset = other.grid.offset_in(one.grid)
    if offset is None:
        return one.grid, one.grid.box, one.grid.box
    first, second = one.grid.box, other.grid.box.moved(*offset)
    if first.is_empty or second.is_empty:
        whole = first if second.is_empty else second
    else:
        top, left = min(first.top, second.top), min(first.left, second.left)
        whole = Box(top, left, max(first.bottom, second.bottom), max(first.right, second.right))
    return (
        one.grid.part(whole),
        first.moved(-whole.top, -whole.left),
        second.moved(-whole.top, -whole.left),
    )


def _dimensions(
    one: Cube, other: Cube
) -> tuple[tuple[Dimension, ...], tuple[tuple[_Places | None, _Places | None], ...]]:
    """Dimensions of the result, and where the labels of both cubes are in them."""
    base, more = (one, other) if len(one.dims) >= len(other.dims) else (other, one)
    order = [dim for dim in more.dims if dim.name not in base.names] + list(base.dims)
    dims: list[Dimension] = []
    places: list[tuple[_Places | None, _Places | None]] = []
    for dim in order:
        mine = one.dim(dim.name) if dim.name in one.names else None
        theirs = other.dim(dim.name) if dim.name in other.names else None
        if dim.axis in ("x", "y") and (one.grid or other.grid):
            _require_same_axis(mine, theirs)
            dims.append(dim)
            places.append((None, None))
        elif dim.kind == "geometry" or mine is None or theirs is None:
            dims.append(dim)
            places.append((None, None))
        else:
            _require_same_axis(mine, theirs)
            made, place = _joined(mine, theirs)
            dims.append(made)
            places.append(place)
    return tuple(dims), tuple(places)


def _require_same_axis(mine: Dimension | None, theirs: Dimension | None) -> None:
    if mine is not None and theirs is not None and (mine.kind, mine.axis) != (theirs.kind, theirs.axis):
        kinds = f"{mine.axis or mine.kind} in one cube and {theirs.axis or theirs.kind} in the other"
        raise GraphError(
            f"dimension {mine.name!r} is {kinds}",
            hint="rename one of them",
            fault="IncompatibleDataCubes",
        )


def _joined(mine: Dimension, theirs: Dimension) -> tuple[Dimension, tuple[_Places | None, _Places | None]]:
    """A dimension with the labels of both: times and heights in their order, of others the second ones at the end."""
    known = {
        key: (label, mine, place) for place, (key, label) in enumerate(zip(keys(mine), mine.labels, strict=True))
    }
    before = list(known)
    for place, (key, label) in enumerate(zip(keys(theirs), theirs.labels, strict=True)):
        known.setdefault(key, (label, theirs, place))
    every = list(known)
    if mine.kind in ("temporal", "spatial") and len(every) > len(before):
        with suppress(TypeError):  # labels that have no order
            every.sort()
    at = {key: number for number, key in enumerate(every)}
    found = [known[key] for key in every]
    details = tuple(dim.bands[place] for _, dim, place in found) if mine.bands and theirs.bands else ()
    made = replace(mine, labels=tuple(label for label, _, _ in found), bands=details)
    places = [np.array([at[key] for key in keys(dim)], np.intp) for dim in (mine, theirs)]
    return made, (places[0], places[1])


def _common(one: _Places, other: _Places) -> tuple[_Places, _Places, _Places]:
    found, first, second = np.intersect1d(one, other, return_indices=True)
    return found, first, second


def _is_complete(plan: _Plan) -> bool:
    """Whether the two cubes fill the result: counted, since each position is in one of them at most once."""
    sizes = []
    for dim, (one, other), both in zip(plan.dims, plan.places, plan.overlap, strict=True):
        if one is None or other is None or both is None:
            sizes.append((1, 1, 1, 1))
        else:
            sizes.append((len(dim.labels), len(one), len(other), len(both[0])))
    whole, one_count, other_count, both_count = (prod(each[n] for each in sizes) for n in range(4))
    if plan.grid is not None:
        whole *= _area(plan.grid.box)
        one_count, other_count = one_count * _area(plan.first), other_count * _area(plan.second)
        both_count *= _area(_both(plan.first, plan.second))
    return whole == one_count + other_count - both_count


def _area(box: Box) -> int:
    return 0 if box.is_empty else prod(box.shape)


def _both(one: Box, other: Box) -> Box:
    return Box(
        max(one.top, other.top), max(one.left, other.left), min(one.bottom, other.bottom), min(one.right, other.right)
    )


def _within(asked: Box, own: Box) -> Box:
    inside = _both(asked, own)
    return NOTHING if inside.is_empty else inside


def _slices(inside: Box, asked: Box) -> tuple[slice, slice]:
    if inside == NOTHING:
        return slice(0, 0), slice(0, 0)
    place = inside.moved(-asked.top, -asked.left)
    return slice(place.top, place.bottom), slice(place.left, place.right)


def _merged(
    call: Call, plan: _Plan, parts: Sequence[Cube], insides: Sequence[tuple[slice, ...]], pixels: tuple[int, ...]
) -> Cube:
    """The result at what is asked for, of the parts of both cubes there."""
    like = next((part for part in parts if _is_vector(part)), parts[0])
    values = [arranged(part, plan.dims) for part in parts]
    shape = _shape(plan, values, pixels)
    made = _filled(plan, values, insides, shape)
    box = box_asked(call) if plan.grid is not None else None
    return replace(like, values=made, dims=plan.dims, grid=plan.grid, box=box)


def _shape(plan: _Plan, values: Sequence[Values], pixels: tuple[int, ...]) -> tuple[int, ...]:
    sizes = []
    for axis, (dim, places) in enumerate(zip(plan.dims, plan.places, strict=True)):
        if plan.grid is not None and dim.axis in ("x", "y"):
            sizes.append(pixels["yx".index(dim.axis)])
        elif places[0] is None:
            sizes.append(max((value.shape[axis] for value in values), key=lambda size: (size != 1, size)))
        else:
            sizes.append(len(dim.labels))
    return tuple(sizes)


def _filled(
    plan: _Plan, values: Sequence[Values], insides: Sequence[tuple[slice, ...]], shape: tuple[int, ...]
) -> Values:
    if not plan.overlaps:
        dtype = np.result_type(*values)
    else:
        both = _resolved(plan, values, insides, shape)
        dtype = np.result_type(*values, both[1])
        if both[1].shape == shape:
            return both[1].astype(dtype, copy=False)
    if not plan.complete:
        dtype = nullable(dtype)
    made = np.empty(shape, dtype) if plan.complete else np.full(shape, null_of(dtype), dtype)
    for number, value in enumerate(values):
        index = _index(plan, [places[number] for places in plan.places], insides[number], shape)
        made[index] = value
    if plan.overlaps:
        made[both[0]] = both[1]
    return made


def _resolved(
    plan: _Plan, values: Sequence[Values], insides: Sequence[tuple[slice, ...]], shape: tuple[int, ...]
) -> tuple[Any, Values]:
    """Where both cubes have values, and what the resolver makes of them."""
    cuts: list[list[Any]] = [[], []]
    places: list[_Places | None] = []
    spatial: list[slice] = []
    for axis, both in enumerate(plan.overlap):
        places.append(None if both is None else both[0])
        if plan.grid is not None and plan.dims[axis].axis in ("x", "y"):
            one, other = insides[0][axis], insides[1][axis]
            start = max(one.start, other.start)
            stop = max(start, min(one.stop, other.stop))
            spatial.append(slice(start, stop))
            for cut, inside, value in zip(cuts, insides, values, strict=True):
                own = slice(start - inside[axis].start, stop - inside[axis].start)
                cut.append(slice(None) if value.shape[axis] == 1 and shape[axis] != 1 else own)
        else:
            spatial.append(slice(None))
            for number, cut in enumerate(cuts):
                cut.append(slice(None) if both is None else both[1 + number])
    found = [_taken(value, cut) for value, cut in zip(values, cuts, strict=True)]
    index = _index(plan, places, spatial, shape)
    wanted = _shape_of(places, spatial, shape)
    x, y = (np.broadcast_to(value, wanted) for value in found)
    assert plan.resolver is not None
    resolved = plan.resolver(x=x, y=y, context=plan.context)
    return index, one_value(resolved, wanted, np.result_type(x, y), "overlap_resolver")


def _taken(value: Values, cut: Sequence[Any]) -> Values:
    """Some positions along each axis; a view where they are all or slices."""
    for axis, chosen in enumerate(cut):
        if isinstance(chosen, slice):
            value = value[(slice(None),) * axis + (chosen,)]
        elif not np.array_equal(chosen, np.arange(value.shape[axis])):
            value = value.take(chosen, axis)
    return value


def _index(plan: _Plan, places: Sequence[_Places | None], inside: Sequence[slice], shape: tuple[int, ...]) -> Any:
    """An index of positions along all axes: of slices where these suffice."""
    chosen: list[Any] = []
    for axis, place in enumerate(places):
        given = inside[axis] if inside else slice(None)
        if place is None:
            chosen.append(given)
        elif len(place) and np.array_equal(place, np.arange(place[0], place[0] + len(place))):
            chosen.append(slice(int(place[0]), int(place[0]) + len(place)))
        else:
            chosen.append(place)
    if all(isinstance(each, slice) for each in chosen):
        return tuple(chosen)
    every = [
        np.arange(size)[each] if isinstance(each, slice) else each for each, size in zip(chosen, shape, strict=True)
    ]
    return np.ix_(*every)


def _shape_of(places: Sequence[_Places | None], inside: Sequence[slice], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        len(range(size)[given]) if place is None else len(place)
        for place, given, size in zip(places, inside, shape, strict=True)
    )
