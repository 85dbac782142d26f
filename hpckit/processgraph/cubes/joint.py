"""Values of merged cubes: of both where only one has some, and of a resolver where both do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Dimension, Grid, Values
from hpckit.processgraph.cubes.callbacks import one_value
from hpckit.processgraph.process import Callback
from hpckit.processgraph.replacing import null_of, nullable
from hpckit.space.box import Box

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Plan:
    """What a merged cube is."""

    dims: tuple[Dimension, ...]
    grid: Grid | None
    first: Box
    """Pixels of the grid that the first cube has."""
    second: Box
    places: tuple[tuple[Places | None, Places | None], ...]
    """For each dimension, positions of the labels of both cubes; None for x, y and geometries, and where a cube does
    not have the dimension: then it has its values everywhere along it."""
    resolver: Callback | None
    context: Any
    complete: bool
    """Whether each value comes from one of the cubes."""

    @cached_property
    def overlap(self) -> tuple[tuple[Places, Places, Places] | None, ...]:
        """For each dimension, positions that both cubes have: in the result, and in each of them."""
        return tuple(None if one is None or other is None else _common(one, other) for one, other in self.places)

    @property
    def overlaps(self) -> bool:
        """Whether both cubes have values at the same position."""
        pixels = self.grid is None or not common_box(self.first, self.second).is_empty
        return pixels and all(each is None or len(each[0]) for each in self.overlap)


def common_box(one: Box, other: Box) -> Box:
    """Pixels of both; empty if there are none."""
    return Box(
        max(one.top, other.top), max(one.left, other.left), min(one.bottom, other.bottom), min(one.right, other.right)
    )


def _common(one: Places, other: Places) -> tuple[Places, Places, Places]:
    found, first, second = np.intersect1d(one, other, return_indices=True)
    return found, first, second


def filled(
    plan: Plan, values: Sequence[Values], insides: Sequence[tuple[slice, ...]], shape: tuple[int, ...]
) -> Values:
    """Values of a merged cube.

    Parameters
    ----------
    plan : Plan
    values : sequence of ndarray
        Of both cubes, with one axis for each dimension of the result, of length 1 where a cube does not have it.
    insides : sequence of tuple of slice
        For each cube, where its rows and columns lie among those of the result; empty without a grid.
    shape : tuple of int
        Of the result.
    """
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
    plan: Plan, values: Sequence[Values], insides: Sequence[tuple[slice, ...]], shape: tuple[int, ...]
) -> tuple[Any, Values]:
    """Where both cubes have values, and what the resolver makes of them."""
    cuts: list[list[Any]] = [[], []]
    places: list[Places | None] = []
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


def _index(plan: Plan, places: Sequence[Places | None], inside: Sequence[slice], shape: tuple[int, ...]) -> Any:
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


def _shape_of(places: Sequence[Places | None], inside: Sequence[slice], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        len(range(size)[given]) if place is None else len(place)
        for place, given, size in zip(places, inside, shape, strict=True)
    )
