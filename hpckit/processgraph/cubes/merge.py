"""Two cubes as one: all labels of both, and one value where both have one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.cube import NOTHING, Cube, Dimension, Grid, Values
from hpckit.processgraph.cubes.alignment import arranged, keys, on_grid, plane
from hpckit.processgraph.cubes.joint import Places, Plan, common_box, filled
from hpckit.processgraph.cubes.parts import box_asked
from hpckit.processgraph.process import Call, on_cubes
from hpckit.space.box import Box


@on_cubes("merge_cubes")
def merge_cubes(call: Call) -> Cube:
    """Merge two cubes."""
    plan: Plan = call.once(lambda: _planned(call))
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


def _planned(call: Call) -> Plan:
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
    plan = Plan(dims, grid, first, second, places, resolver, call.value("context"), False)
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
) -> tuple[tuple[Dimension, ...], tuple[tuple[Places | None, Places | None], ...]]:
    """Dimensions of the result, and where the labels of both cubes are in them."""
    base, more = (one, other) if len(one.dims) >= len(other.dims) else (other, one)
    order = [dim for dim in more.dims if dim.name not in base.names] + list(base.dims)
    dims: list[Dimension] = []
    places: list[tuple[Places | None, Places | None]] = []
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


def _joined(mine: Dimension, theirs: Dimension) -> tuple[Dimension, tuple[Places | None, Places | None]]:
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


def _is_complete(plan: Plan) -> bool:
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
        both_count *= _area(common_box(plan.first, plan.second))
    return whole == one_count + other_count - both_count


def _area(box: Box) -> int:
    return 0 if box.is_empty else prod(box.shape)


def _within(asked: Box, own: Box) -> Box:
    inside = common_box(asked, own)
    return NOTHING if inside.is_empty else inside


def _slices(inside: Box, asked: Box) -> tuple[slice, slice]:
    if inside == NOTHING:
        return slice(0, 0), slice(0, 0)
    place = inside.moved(-asked.top, -asked.left)
    return slice(place.top, place.bottom), slice(place.left, place.right)


def _merged(
    call: Call, plan: Plan, parts: Sequence[Cube], insides: Sequence[tuple[slice, ...]], pixels: tuple[int, ...]
) -> Cube:
    """The result at what is asked for, of the parts of both cubes there."""
    like = next((part for part in parts if _is_vector(part)), parts[0])
    values = [arranged(part, plan.dims) for part in parts]
    shape = _shape(plan, values, pixels)
    made = filled(plan, values, insides, shape)
    box = box_asked(call) if plan.grid is not None else None
    return replace(like, values=made, dims=plan.dims, grid=plan.grid, box=box)


def _shape(plan: Plan, values: Sequence[Values], pixels: tuple[int, ...]) -> tuple[int, ...]:
    sizes = []
    for axis, (dim, places) in enumerate(zip(plan.dims, plan.places, strict=True)):
        if plan.grid is not None and dim.axis in ("x", "y"):
            sizes.append(pixels["yx".index(dim.axis)])
        elif places[0] is None:
            sizes.append(max((value.shape[axis] for value in values), key=lambda size: (size != 1, size)))
        else:
            sizes.append(len(dim.labels))
    return tuple(sizes)
