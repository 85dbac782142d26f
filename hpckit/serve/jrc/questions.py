"""What requests of JRC's clients ask for: data sets by area and year, places, periods, switches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from starlette.requests import Request

from hpckit.serve.answers import day_of, number_of, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.identity.access import require
from hpckit.serve.problems import Problem, bad_value
from hpckit.serve.service import Service
from hpckit.serve.settings import Action

LARGEST_CHIP_M: Final = 5120
SMALLEST_CHIP_M: Final = 20
_LONGEST_POLYGON: Final = 50_000
_NUMBER: Final = r"(-?\d{1,3}(?:\.\d{1,20})?)"
_CORNER: Final = re.compile(rf"{_NUMBER}_{_NUMBER}(?:-|$)")
_TRUE: Final = frozenset({"true", "1", "yes"})


def aoi_of(dataset: Dataset) -> str:
    """Name of a data set's area for JRC's clients."""
    return dataset.settings.aoi or dataset.name


def year_of(dataset: Dataset) -> int:
    """Year of a data set for JRC's clients."""
    return dataset.settings.year or dataset.campaign.period.start.year


def datasets_of(service: Service, request: Request, action: Action) -> list[Dataset]:
    """Data sets of the area, year and kind of parcels that a request names; of optical and radar images, several.

    Raises
    ------
    Problem
        400 if the area or the year is missing; 401 without a login, 404 if there is none that the reader may know
        of, 403 if they may do other things only.
    """
    aoi, text, ptype = text_of(request, "aoi"), text_of(request, "year"), text_of(request, "ptype", "")
    if not re.fullmatch(r"\d{4}", text, re.ASCII):
        raise bad_value("year", "is no year, such as 2024")
    reader = service.reader(request)
    named = [
        dataset
        for dataset in service.datasets.values()
        if aoi_of(dataset).casefold() == aoi.casefold()
        and dataset.settings.ptype == ptype
        and year_of(dataset) == int(text)
    ]
    granted = [dataset for dataset in named if action in service.access.actions(reader, dataset.name)]
    if not granted:
        held = [service.access.actions(reader, dataset.name) for dataset in named]
        require(frozenset().union(*held), reader, action)
    return granted


def chip_datasets(service: Service, request: Request) -> list[Dataset]:
    """Data sets of whose cubes the reader may see pixels.

    Raises
    ------
    Problem
        401 without a login, if there are none without one.
    """
    reader = service.reader(request)
    found = [
        dataset
        for name, dataset in service.datasets.items()
        if "chips" in service.access.actions(reader, name) and dataset.campaign.cube.keep
    ]
    if not found and not reader.is_signed_in:
        raise Problem(401, "login-needed", "log in first")
    return found


def pid_of(request: Request) -> str:
    """Identifier of a parcel.

    Raises
    ------
    Problem
        400 if it is missing.
    """
    pid = text_of(request, "pid")
    if not pid:
        raise bad_value("pid", "is missing")
    return pid


def switch(request: Request, name: str, *, default: bool = False) -> bool:
    """A parameter that is `True` or `False`."""
    text = request.query_params.get(name)
    return default if text is None or not text.strip() else text.strip().lower() in _TRUE


def count_of(request: Request, name: str, default: int) -> int:
    """A parameter that is a count; JRC's clients write `10.0`, too.

    Raises
    ------
    Problem
        400 if it is none.
    """
    return int(number_of(request, name, default, 0, 1_000_000))


def place_of(values: Mapping[str, Any]) -> tuple[float, float]:
    """Longitude and latitude.

    Raises
    ------
    Problem
        400 if one of them is missing, no number, or out of range.
    """
    return _degrees(values, "lon", 180), _degrees(values, "lat", 90)


def _degrees(values: Mapping[str, Any], name: str, most: float) -> float:
    value = values.get(name)
    if value is None or isinstance(value, bool):
        raise bad_value(name, "is missing")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise bad_value(name, "is no number") from None
    if not -most <= number <= most:
        raise bad_value(name, f"must lie between -{most:g} and {most:g}")
    return number


def chip_size(values: Mapping[str, Any], default: int = 1280) -> int:
    """Edge of a chip in metres; longer ones are made the longest, as JRC does.

    Raises
    ------
    Problem
        400 if it is no number, or too small.
    """
    value = values.get("chipsize")
    try:
        size = float(default if value is None or value == "" else value)
        if not size >= SMALLEST_CHIP_M:
            raise ValueError
    except (TypeError, ValueError):
        raise bad_value("chipsize", f"is no size in metres, from {SMALLEST_CHIP_M} to {LARGEST_CHIP_M}") from None
    return int(min(size, LARGEST_CHIP_M))


def period_of(request: Request) -> tuple[date, date]:
    """First and last day.

    Raises
    ------
    Problem
        400 if one of them is missing or no day, or the first one is later.
    """
    start, end = day_of(request, "start_date"), day_of(request, "end_date")
    for name, day in (("start_date", start), ("end_date", end)):
        if day is None:
            raise bad_value(name, "is missing")
    assert start is not None and end is not None
    if start > end:
        raise bad_value("start_date", "is after end_date")
    return start, end


def polygon_of(request: Request) -> list[tuple[float, float]]:
    """Corners of `lon_lat-lon_lat-…`; degrees west and south are negative.

    Raises
    ------
    Problem
        400 if it is missing, of another form, or has fewer than three corners.
    """
    text = request.query_params.get("polygon")
    if text is None:
        raise bad_value("polygon", "is missing")
    if len(text) > _LONGEST_POLYGON:
        raise bad_value("polygon", f"is longer than {_LONGEST_POLYGON} characters")
    corners = list(_corners(text.strip()))
    if len(corners) < 3:
        raise bad_value("polygon", "has fewer than three corners")
    return corners


def _corners(text: str) -> Iterator[tuple[float, float]]:
    start = 0
    while start < len(text):
        match = _CORNER.match(text, start)
        if match is None:
            raise bad_value("polygon", "is not of the form lon_lat-lon_lat-lon_lat, in degrees")
        lon, lat = place_of({"lon": match[1], "lat": match[2]})
        yield lon, lat
        start = match.end()
