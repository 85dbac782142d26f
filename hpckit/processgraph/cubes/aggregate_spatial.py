"""Statistics of the pixels of geometries: from a raster cube to a vector cube."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube, Dimension, Geometries, Values
from hpckit.processgraph.footprints import footprints_of
from hpckit.processgraph.geometries import geometries_of
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.planes import grid_of, with_planes_last
from hpckit.processgraph.process import Call, Callback, Value, on_cubes
from hpckit.processgraph.reducers import Fast, fast
from hpckit.processgraph.zones import Gathered, gathered
from hpckit.space.box import Box

GEOMETRY: Final = "geometry"
"""Name of the dimension of geometries."""
STATISTICS: Final = "statistics"
"""Name of the dimension of the results of a reducer that gives several."""
_COUNTS: Final = ("value", "total_count", "valid_count")


@on_cubes("aggregate_spatial")
def aggregate_spatial(call: Call) -> Cube:
    """Reduce the pixels of each geometry; the geometries are the first dimension of the result."""
    made: _Aggregation = call.once(lambda: _Aggregation(call))
    features = range(0) if call.asked is None or isinstance(call.asked, Box) else call.asked
    chosen = np.asarray(features, dtype=np.int64)
    values = made.empty(len(chosen))
    for group in gathered(made.footprints, chosen, made.layers, lambda box: call.cube("data", box)):
        values[np.searchsorted(chosen, group.chosen)] = made.reduced(call, group)
    return Cube(values, made.dims, geometries=made.geometries, features=features)


class _Aggregation:
    """What a call makes once: where the geometries lie, and how their values are reduced."""

    def __init__(self, call: Call) -> None:
        data = with_planes_last(call.type_of("data"))
        self.geometries: Geometries = geometries_of(call, "geometries")
        self.footprints = footprints_of(self.geometries, grid_of(data))
        self._others = data.dims[:-2]
        self._shape = data.values.shape[:-2]
        self.layers = int(np.prod(self._shape))
        self._target = call.value("target_dimension")
        self._reduce = _way(call.value("reducer"), data.values.dtype)
        self._none = shapely.is_empty(self.geometries.shapes)
        probe = self._reduce.of(
            Gathered(np.empty(0, np.int64), data.values.reshape(self.layers, 0), _NO_OFFSETS), call
        )
        self._count, self._dtype = probe.count, probe.dtype
        self.dims = self._dims()

    def _dims(self) -> tuple[Dimension, ...]:
        taken = {dim.name for dim in self._others}
        place = Dimension(GEOMETRY, "geometry", crs=self.geometries.crs)
        added: list[Dimension] = [] if self._count is None else [self._several(self._count)]
        if self._target is not None:
            if self._target in taken | {GEOMETRY} | {dim.name for dim in added}:
                raise GraphError(
                    f"there is a dimension {self._target!r} already",
                    hint="give target_dimension another name",
                    fault="TargetDimensionExists",
                )
            added.append(Dimension(self._target, "other", _COUNTS))
        return (place, *self._others, *added)

    def _several(self, count: int) -> Dimension:
        names = self._reduce.names
        return Dimension(STATISTICS, "other", names if names and len(names) == count else tuple(range(count)))

    def empty(self, count: int) -> Values:
        """Results of geometries without pixels: null."""
        shape = (count, *(self._shape), *(() if self._count is None else (self._count,)))
        null: Any = None if self._dtype.kind == "O" else np.nan
        values = np.full(shape, null, dtype=self._dtype)
        return values if self._target is None else np.stack([values] * len(_COUNTS), axis=-1)

    def reduced(self, call: Call, group: Gathered) -> Values:
        """Results of some geometries."""
        values = self.empty(len(group.chosen))
        size = np.diff(group.offsets)
        found = self._reduce.of(group, call).values
        shape = (len(size), *self._shape, *(() if self._count is None else (self._count,)))
        result = found.reshape(shape)
        there = size > 0
        if self._target is None:
            values[there] = result[there]
            return values
        valid = self._valid(group).reshape(len(size), *self._shape)
        valid = valid if self._count is None else valid[..., None]
        values[there, ..., 0] = result[there]
        some = ~self._none[group.chosen]
        values[some, ..., 1] = size[some].reshape(-1, *([1] * (len(shape) - 1)))
        values[some, ..., 2] = valid[some]
        return values

    def _valid(self, group: Gathered) -> npt.NDArray[np.int64]:
        """Number of values that are not null; shape (geometries, layers)."""
        objects = group.values.dtype.kind == "O"
        there = _IS_VALID(group.values).astype(np.bool_) if objects else group.values == group.values
        sums = np.concatenate([np.zeros((len(there), 1), np.int64), np.cumsum(there, axis=1)], axis=1)
        return np.asarray(np.diff(sums[:, group.offsets], axis=1).T)


_IS_VALID: Final = np.frompyfunc(lambda value: value is not None, 1, 1)
_NO_OFFSETS: Final = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True)
class _Results:
    """Results of geometries."""

    values: Values
    """Shape (geometries, layers), and a third axis if there are several of each."""
    count: int | None
    dtype: np.dtype[Any]


def _way(reducer: Callback, dtype: np.dtype[Any]) -> _ByKernels | _OneByOne:
    known = fast(reducer) if dtype.kind in "fiu" else None
    return _OneByOne(reducer) if known is None else _ByKernels(known)


@dataclass(frozen=True, slots=True)
class _ByKernels:
    """All geometries at once."""

    reduce: Fast

    @property
    def names(self) -> tuple[str, ...] | None:
        return self.reduce.names

    def of(self, group: Gathered, call: Call) -> _Results:
        values = group.values
        if values.dtype.kind != "f":
            values = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
        found = self.reduce(values, group.offsets, call.value("context"))
        shape = len(group.offsets) - 1, len(values)
        return _together(found, shape)


@dataclass(frozen=True, slots=True)
class _OneByOne:
    """One call of the reducer for each geometry."""

    reducer: Callback
    names = None

    def of(self, group: Gathered, call: Call) -> _Results:
        context = call.value("context")
        spans = list(pairwise(group.offsets)) or [(0, 0)]
        shape = 1, len(group.values)
        found = [_together(self._call(group.values[:, first:last], context), shape) for first, last in spans]
        values = np.concatenate([each.values for each in found]) if len(group.offsets) > 1 else found[0].values[:0]
        return _Results(values, found[0].count, found[0].dtype)

    def _call(self, values: Values, context: Value) -> Value:
        if values.dtype.kind in "fiu":
            values = values.astype(np.float64)
        found = self.reducer(data=Labelled(values.T), context=context)
        if isinstance(found, Labelled):
            return Labelled(found.values.reshape(len(found), 1, -1))
        return found.reshape(1, -1) if isinstance(found, np.ndarray) else found


def _together(found: Value, shape: tuple[int, int]) -> _Results:
    """Results as one array: numbers, and truths with null, as float64, everything else as objects."""
    several = isinstance(found, Labelled | list | tuple)
    if isinstance(found, Labelled):
        values = np.moveaxis(found.values, 0, -1)
    elif several:
        values = np.stack([np.broadcast_to(_array(each), shape) for each in found], axis=-1)
    else:
        values = _array(found)
    dtype = np.dtype(np.float64 if values.dtype.kind in "fiub" else object)
    count = values.shape[-1] if several else None
    full = np.broadcast_to(values, (*shape, count) if count is not None else shape)
    return _Results(full.astype(dtype), count, dtype)


def _array(found: Value) -> Values:
    return np.asarray(np.nan if found is None else found)
