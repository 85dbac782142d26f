"""Means of many years, and how times differ from them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hpckit.errors import GraphError
from hpckit.processgraph.calendars import CALENDARS, Place
from hpckit.processgraph.cube import Cube, Dimension, Values
from hpckit.processgraph.cubes.alignment import arranged, require_dimensions
from hpckit.processgraph.cubes.mask import beside
from hpckit.processgraph.cubes.temporal import temporal_dimension
from hpckit.processgraph.process import Call, on_cubes
from hpckit.processgraph.replacing import null_of, with_null

_WHOLE: Final = ("climatology-period", "single-period")
_NORMALS: Final = {
    "month": tuple(f"{month:02}" for month in range(1, 13)),
    "season": ("djf", "mam", "jja", "son"),
    "tropical-season": ("ndjfma", "mjjaso"),
}


@on_cubes("climatological_normal")
def climatological_normal(call: Call) -> Cube:
    """Mean of all values of a day, month or season over several years; null values do not count.

    Days are numbered from the first of January, so a leap year has a day 366.
    """
    data, period = call.cube("data"), call.value("period")
    dim = temporal_dimension(data, None)
    first, last = _years(call.value("climatology_period", [1981, 2010]))
    calendar = CALENDARS["year" if period == "climatology-period" else _known(period, (*_NORMALS, "day"))]
    places = _places(dim, period if period != "climatology-period" else "year")
    _require_span(dim, first, last)
    groups: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        if _counts(period, place, first, last, places):
            part = period if period == "climatology-period" else calendar.part(place)
            groups.setdefault(part, []).append(number)
    labels = _labels(period, groups)
    axis = data.axis(dim.name)
    along = np.moveaxis(with_null(data.values), axis, 0)
    made = [_mean(along[groups[label]]) if label in groups else _none(along) for label in labels]
    dims = list(data.dims)
    dims[axis] = replace(dim, labels=labels)
    return data.with_values(np.moveaxis(np.stack(made), 0, axis), dims)


@on_cubes("anomaly")
def anomaly(call: Call) -> Cube:
    """Subtract from each time the normal of its period."""
    data, period = call.cube("data"), call.value("period")
    normals = beside(call, "normals", data)
    dim, known = temporal_dimension(data, None), temporal_dimension(normals, None)
    chosen = _normals_of(dim, known, period)
    matched = normals.at(known.name, chosen)
    matched = replace(matched, dims=tuple(dim if each.name == known.name else each for each in matched.dims))
    require_dimensions(matched, data, "the cube of normals")
    values = with_null(data.values)
    found = values - arranged(matched, data.dims)
    return data.with_values(found)


def _normals_of(dim: Dimension, known: Dimension, period: str) -> Sequence[int]:
    """For each label of the data, which label of the normals belongs to it."""
    if period in _WHOLE:
        if len(known.labels) != 1:
            raise GraphError(
                f"the normals have {len(known.labels)} labels, and need one for the period {period!r}",
                fault="ProcessParameterInvalid",
            )
        return [0] * len(dim.labels)
    calendar = CALENDARS[_known(period, tuple(CALENDARS))]
    at = {str(label): place for place, label in enumerate(known.labels)}
    found = []
    for label, place in zip(dim.labels, _places(dim, period), strict=True):
        part = calendar.part(place)
        if part not in at:
            listed = ", ".join(at)
            raise GraphError(
                f"the normals have no label {part!r}, which {label!r} needs",
                hint=f"they have {listed}",
                fault="ProcessParameterInvalid",
            )
        found.append(at[part])
    return found


def _known(period: Any, names: Sequence[str]) -> str:
    if period not in names:
        listed = ", ".join((*names, *_WHOLE))
        raise GraphError(
            f"there is no period {period!r}", hint=f"it is one of {listed}", fault="ProcessParameterInvalid"
        )
    return str(period)


def _years(given: Any) -> tuple[int, int]:
    try:
        first, last = (int(year) for year in given)
    except (TypeError, ValueError) as error:
        raise GraphError(
            f"argument 'climatology_period' is {given!r}, and must be two years", fault="ProcessParameterInvalid"
        ) from error
    if last < first:
        raise GraphError("the climatology period ends before it begins", fault="ProcessParameterInvalid")
    return first, last


def _places(dim: Dimension, period: str) -> list[Place]:
    found = []
    for label in dim.labels:
        place = CALENDARS[period].place_of(label)
        if place is None:
            raise GraphError(
                f"label {label!r} of dimension {dim.name!r} is neither a date nor a {period}",
                hint="aggregate with aggregate_temporal_period, or rename the labels to dates",
                fault="ProcessParameterInvalid",
            )
        found.append(place)
    return found


def _require_span(dim: Dimension, first: int, last: int) -> None:
    years = [int(str(label)[:4]) for label in dim.labels if str(label)[:4].isdigit()]
    if not years or min(years) > first or max(years) < last:
        there = f"{min(years)} to {max(years)}" if years else "none"
        raise GraphError(
            f"the data do not span the years {first} to {last}",
            hint=f"they have {there}; load more of them, or give another `climatology_period`",
            fault="ProcessParameterInvalid",
        )


def _counts(period: str, place: Place, first: int, last: int, places: Sequence[Place]) -> bool:
    """Whether a period belongs to the years: of those over New Year the years that they end in count."""
    over_new_year = period in ("season", "tropical-season") and CALENDARS[period].part(place) in ("djf", "ndjfma")
    return first <= place[0] + over_new_year <= last


def _labels(period: str, groups: dict[str, list[int]]) -> tuple[str, ...]:
    if period == "climatology-period":
        return (period,)
    if period == "day":
        return tuple(f"{day:03}" for day in range(1, 367 if "366" in groups else 366))
    return _NORMALS[period]


def _mean(values: Values) -> Values:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but null: null
        return np.nanmean(values, axis=0, dtype=np.float64).astype(values.dtype)


def _none(along: Values) -> Values:
    return np.full(along.shape[1:], null_of(along.dtype), along.dtype)
