"""Aggregation over intervals of time and periods of the calendar, and alignment with the times of another cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.calendars import CALENDARS, Place
from hpckit.processgraph.cube import Cube, Dimension, Label
from hpckit.processgraph.cubes.callbacks import one_value
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import is_null, null_of, with_null
from hpckit.processgraph.times import instants, period_of


@on_cubes("aggregate_temporal")
def aggregate_temporal(call: Call) -> Cube:
    """Reduce the times within each of several intervals."""
    data = call.cube("data")
    dim = temporal_dimension(data, call.value("dimension"))
    groups, labels = groups_of_intervals(dim, call.value("intervals"), call.value("labels") or [])
    return _aggregated(call, data, dim, groups, labels)


Groups = tuple[Sequence[Sequence[int]], Sequence[Label]]
"""Positions of times in groups, and the label of each group."""


def groups_of_intervals(dim: Dimension, intervals: Sequence[Any], labels: Sequence[Label]) -> Groups:
    """Times within each of several intervals.

    Raises
    ------
    GraphError
        If intervals or labels are wrong.
    """
    at = instants(dim.labels, dim.name)
    groups = [_within(at, interval) for interval in intervals]
    if labels and len(labels) != len(intervals):
        raise GraphError(
            f"there are {len(labels)} labels for {len(intervals)} intervals", fault="ProcessParameterInvalid"
        )
    made = labels or [interval[0] for interval in intervals]
    if len(set(map(str, made))) != len(made):
        raise GraphError(
            "the labels of intervals are not distinct",
            hint="give one label for each interval in `labels`",
            fault="DistinctDimensionLabelsRequired",
        )
    return groups, made


@on_cubes("aggregate_temporal_period")
def aggregate_temporal_period(call: Call) -> Cube:
    """Reduce the times within each period of the calendar, from the first to the last one that has data."""
    data = call.cube("data")
    dim = temporal_dimension(data, call.value("dimension"))
    groups, labels = groups_of_period(dim, call.value("period"))
    return _aggregated(call, data, dim, groups, labels)


def groups_of_period(dim: Dimension, name: str) -> Groups:
    """Times within each period of the calendar, from the first to the last one that has a time.

    Raises
    ------
    GraphError
        If there is no such period.
    """
    if name not in CALENDARS:
        raise GraphError(
            f"there is no period {name!r}",
            hint=f"it is one of {', '.join(CALENDARS)}",
            fault="ProcessParameterInvalid",
        )
    calendar = CALENDARS[name]
    places = [calendar.place(at) for at in instants(dim.labels, dim.name)]
    members: dict[Place, list[int]] = {}
    for number, place in enumerate(places):
        members.setdefault(place, []).append(number)
    every = list(calendar.all_between(min(places), max(places))) if places else []
    return [members.get(place, []) for place in every], [calendar.label(place) for place in every]


def temporal_dimension(data: Cube, name: str | None) -> Dimension:
    """The temporal dimension of a name, or the only one.

    Raises
    ------
    GraphError
        `TooManyDimensions`, or `DimensionNotAvailable`.
    """
    if name is not None:
        return data.dim(name)
    found = list(data.of_kind("temporal"))
    if len(found) > 1:
        listed = ", ".join(dim.name for dim in found)
        raise GraphError(
            f"the cube has several temporal dimensions: {listed}",
            hint="name one in `dimension`",
            fault="TooManyDimensions",
        )
    if not found:
        listed = ", ".join(data.names) or "none"
        raise GraphError(
            "the cube has no temporal dimension", hint=f"its dimensions are {listed}", fault="DimensionNotAvailable"
        )
    return found[0]


def _aggregated(
    call: Call, data: Cube, dim: Dimension, groups: Sequence[Sequence[int]], labels: Sequence[Label]
) -> Cube:
    """The values of the reducer for each group of labels, along the same dimension."""
    reducer, context = call.value("reducer"), call.value("context")
    place = data.axis(dim.name)
    along = data.moved(dim.name, 0)
    found = []
    for group in groups:
        part = along.at(dim.name, group)
        array = Labelled(part.values, part.dims[0].labels, dim.kind)
        values = reducer(data=array, context=context)
        found.append(one_value(values, along.values.shape[1:], along.values.dtype, "reducer"))
    shape = along.values.shape[1:]
    made = np.stack(found) if found else np.empty((0, *shape), along.values.dtype)
    dims = list(data.dims)
    dims[place] = replace(dim, labels=tuple(labels))
    return data.with_values(np.moveaxis(made, 0, place), dims)


def _within(at: Sequence[datetime], interval: Any) -> list[int]:
    if isinstance(interval, list | tuple) and len(interval) == 2 and all(_clock(bound) for bound in interval):
        start, end = (_clock(bound) for bound in interval)
        return [number for number, moment in enumerate(at) if _on_clock(moment.time(), start, end)]
    wanted = period_of(interval, "intervals")
    return [number for number, moment in enumerate(at) if moment in wanted]


def _clock(text: object) -> time | None:
    """A time of the day without a date."""
    if not isinstance(text, str) or len(text) != 8 or text[2] != ":":
        return None
    try:
        return time.fromisoformat(text)
    except ValueError:
        return None


def _on_clock(moment: time, start: time | None, end: time | None) -> bool:
    """Whether a time of the day lies in an interval, which may run over midnight."""
    assert start is not None and end is not None
    return start <= moment < end if start < end else moment >= start or moment < end


@on_cubes("resample_cube_temporal")
def resample_cube_temporal(call: Call) -> Cube:
    """Take the nearest time for each time of another cube."""
    data, target = call.cube("data"), call.type_of("target")
    within = call.value("valid_within")
    for name in _shared_times(data, target, call.value("dimension")):
        data = _resampled(data, data.dim(name), target.dim(name), None if within is None else timedelta(days=within))
    return data


def _shared_times(data: Cube, target: Cube, name: str | None) -> list[str]:
    if name is None:
        common = {dim.name for dim in target.of_kind("temporal")}
        found = [dim.name for dim in data.of_kind("temporal") if dim.name in common]
        if not found:
            raise GraphError(
                "the cubes have no temporal dimension of the same name",
                hint="rename one of them",
                fault="DimensionMismatch",
            )
        return found
    for cube in (data, target):
        if cube.dim(name).kind != "temporal":
            raise GraphError(f"dimension {name!r} is not temporal", fault="DimensionMismatch")
    return [name]


def _resampled(data: Cube, dim: Dimension, target: Dimension, within: timedelta | None) -> Cube:
    at = instants(dim.labels, dim.name)
    if not at:
        raise GraphError(f"dimension {dim.name!r} has no label to take values from", fault="DimensionMismatch")
    wanted = instants(target.labels, target.name)
    nearest = [sorted(range(len(at)), key=lambda n: (abs(at[n] - moment), at[n])) for moment in wanted]
    place = data.axis(dim.name)
    dims = list(data.dims)
    dims[place] = replace(dim, labels=target.labels)
    if within is None:
        return data.with_values(data.at(dim.name, [order[0] for order in nearest]).values, dims)
    values = np.moveaxis(with_null(data.values), place, 0)
    found = np.full((len(wanted), *values.shape[1:]), null_of(values.dtype), values.dtype)
    for made, moment, order in zip(found, wanted, nearest, strict=True):
        for n in order:
            if abs(at[n] - moment) < within:
                np.copyto(made, values[n], where=is_null(made))
    return data.with_values(np.moveaxis(found, 0, place), dims)
