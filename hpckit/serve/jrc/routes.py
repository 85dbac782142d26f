"""Addresses of JRC's interface, `/query/…`, with the parameters and answers that its clients know.

Parcels come as lists in columns, and `{}` where nothing is found. Everything else is a JSON problem: 400 for
parameters, 401 without a login, 403 and 404 for data sets that the reader may not use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from hpckit.errors import ZoneError
from hpckit.serve import markerdata
from hpckit.serve.answers import json_answer, number_of, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.jrc import info, parcels, series
from hpckit.serve.jrc.images import image_routes
from hpckit.serve.jrc.names import series_kind
from hpckit.serve.jrc.openapi import jrc_document
from hpckit.serve.jrc.questions import (
    aoi_of,
    count_of,
    datasets_of,
    period_of,
    pid_of,
    place_of,
    polygon_of,
    switch,
)
from hpckit.serve.openapi import MEDIA_TYPE
from hpckit.serve.problems import Problem, bad_value
from hpckit.serve.service import Service
from hpckit.serve.settings import Action

_BASIC: Final = {"WWW-Authenticate": 'Basic realm="hpckit", charset="UTF-8"'}

Endpoint = Callable[[Request], Response]


def routes(service: Service) -> Sequence[BaseRoute]:
    """Addresses of the interface."""
    door = _Door(service)
    by_get: dict[str, Endpoint] = {
        "info": door.info,
        "parcelByLocation": door.parcel_by_location,
        "parcelByID": door.parcel_by_id,
        "parcelsByPolygon": door.parcels_by_polygon,
        "parcelPeers": door.parcel_peers,
        "parcelStatsPeers": door.parcel_stats_peers,
        "parcelTimeSeries": door.parcel_time_series,
        "weatherTimeSeries": door.nothing_known,
        "markers": door.markers,
    }
    signed, asked, posted = image_routes(service)
    slow, in_turn = {"parcelStatsPeers", *asked}, service.turns.taking
    found: list[BaseRoute] = []
    for name, endpoint in (by_get | asked).items():
        answer = in_turn(_with_login(endpoint)) if name in slow else _with_login(endpoint)
        for spelt in dict.fromkeys((name, name.replace("ID", "Id"))):
            found.append(Route(f"/query/{spelt}", answer, methods=["GET"]))
    found.append(Route("/query", door.described, methods=["GET"]))
    for name, with_body in posted.items():
        found.append(Route(f"/query/{name}", _with_body(service, with_body), methods=["POST"]))
    return [*found, *(Route(path, in_turn(endpoint), methods=["GET"]) for path, endpoint in signed.items())]


def _with_login(endpoint: Endpoint) -> Endpoint:
    """Tell clients that they may log in by name and password."""

    @wraps(endpoint)
    def answer(request: Request) -> Response:
        try:
            return endpoint(request)
        except Problem as problem:
            raise _asking(problem) from None

    return answer


def _with_body(
    service: Service, endpoint: Callable[[Request, dict[str, Any]], Response]
) -> Callable[[Request], Awaitable[Response]]:
    """Read the JSON object of a POST."""

    async def answer(request: Request) -> Response:
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            raise Problem(400, "bad-body", "the body is no JSON") from None
        if not isinstance(body, dict):
            raise Problem(400, "bad-body", "the body is no JSON object")
        try:
            return await service.turns.run(request, endpoint, request, body)
        except Problem as problem:
            raise _asking(problem) from None

    return answer


def _asking(problem: Problem) -> Problem:
    if problem.status == 401:
        problem.headers = _BASIC | problem.headers
    return problem


class _Door:
    """What the addresses answer."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def info(self, request: Request) -> Response:
        """Areas, years and examples that the reader may use."""
        readable = [item for item in self.service.readable(request) if item.campaign.signatures]
        if not readable and not self.service.reader(request).is_signed_in:
            raise Problem(401, "login-needed", "log in first")
        aoi = text_of(request, "aoi", "").casefold()
        chosen = [item for item in readable if not aoi or aoi_of(item).casefold() == aoi]
        found = info.describe(self.service.address(request), self.service.settings.title, chosen)
        return json_answer(request, found)

    def parcel_by_location(self, request: Request) -> Response:
        """The parcels that contain a place."""
        dataset = self._parcels(request)
        rows = dataset.edition.zones().at(*place_of(request.query_params))
        return self._described(request, dataset, rows)

    def parcel_by_id(self, request: Request) -> Response:
        """One parcel."""
        dataset = self._parcels(request)
        row = parcels.find(dataset.edition.zones(), pid_of(request))
        return self._described(request, dataset, [] if row is None else [row])

    def parcels_by_polygon(self, request: Request) -> Response:
        """Parcels that touch a polygon, at most 100."""
        corners = polygon_of(request)
        dataset = self._parcels(request)
        zones = dataset.edition.zones()
        rows = parcels.in_polygon(zones, corners)
        if not switch(request, "only_ids", default=True):
            return self._described(request, dataset, rows)
        self.service.note(request, "parcels", dataset, zones=len(rows))
        if not rows:
            return json_answer(request, {})
        columns = parcels.describe(zones, rows, geometry=_wants_geometry(request), wgs84=switch(request, "wgs84"))
        return json_answer(request, {name: columns[name] for name in ("pid", "geom") if name in columns})

    def parcel_peers(self, request: Request) -> Response:
        """Near parcels with the same crop."""
        dataset, row = self._parcel(request, "info")
        if row is None:
            return json_answer(request, {})
        distance_m = number_of(request, "distance", 1000.0, 0.0, 1e7)
        found = parcels.near(dataset.edition.zones(), row, distance_m, count_of(request, "max", 10))
        self.service.note(request, "peers", dataset, zone=pid_of(request))
        return json_answer(request, found if found["pids"] else {})

    def parcel_stats_peers(self, request: Request) -> Response:
        """Parcels that had a statistic between two values in a period."""
        dataset = _of_kind(datasets_of(self.service, request, "series"), "s2")
        days, values = period_of(request), _range_of(text_of(request, "values"))
        most = min(count_of(request, "max", 100), parcels.MOST_PEERS)
        statistic = text_of(request, "stype", "mean")
        found = series.zones_between(dataset, text_of(request, "band"), statistic, values, days, most)
        self.service.note(request, "peers by statistic", dataset, zones=len(found))
        return json_answer(request, {"pids": found} if found else {})

    def parcel_time_series(self, request: Request) -> Response:
        """Series of a parcel."""
        kind = series_kind(text_of(request, "tstype", "s2"))
        pid, band = pid_of(request), text_of(request, "band", "")
        dataset = _of_kind(datasets_of(self.service, request, "series"), kind)
        self.service.note(request, "series", dataset, zone=pid)
        try:
            if kind == "scl":
                found = series.class_series(dataset, pid)
            else:
                classes, reference = switch(request, "scl", default=True), switch(request, "ref")
                found = series.time_series(dataset, pid, kind, band, classes=classes, reference=reference)
        except ZoneError:
            found = {}
        if not any(found.values()):
            return json_answer(request, {})
        if text_of(request, "tsformat", "json").lower() == "csv":
            return PlainTextResponse(series.as_csv(found), media_type="text/csv")
        return json_answer(request, found)

    def described(self, request: Request) -> Response:
        """OpenAPI document."""
        title, address = self.service.settings.title, self.service.address(request)
        return json_answer(request, jrc_document(title, address), media_type=MEDIA_TYPE)

    def markers(self, request: Request) -> Response:
        """Events that the marker rules of the campaigns found in the series of a parcel."""
        pid, found = pid_of(request), dict[str, list[Any]]()
        for dataset in datasets_of(self.service, request, "series"):
            self.service.note(request, "markers", dataset, zone=pid)
            for name, values in markerdata.as_columns(markerdata.read_markers(dataset, pid)).items():
                found.setdefault(name, []).extend(values)
        return json_answer(request, found)

    def nothing_known(self, request: Request) -> Response:
        """Weather, which hpckit does not have: nothing is found."""
        pid_of(request)
        datasets_of(self.service, request, "series")
        return JSONResponse({})

    def _parcels(self, request: Request) -> Dataset:
        """Data set whose parcels are asked for."""
        return datasets_of(self.service, request, "geometry" if _wants_geometry(request) else "info")[0]

    def _parcel(self, request: Request, action: Action) -> tuple[Dataset, int | None]:
        dataset = datasets_of(self.service, request, action)[0]
        return dataset, parcels.find(dataset.edition.zones(), pid_of(request))

    def _described(self, request: Request, dataset: Dataset, rows: Sequence[int]) -> Response:
        zones = dataset.edition.zones()
        self.service.note(request, "parcels", dataset, zones=[zones.ids[row].as_py() for row in rows[:10]])
        if not rows:
            return json_answer(request, {})
        found = parcels.describe(zones, rows, geometry=_wants_geometry(request), wgs84=switch(request, "wgs84"))
        return json_answer(request, found)


def _wants_geometry(request: Request) -> bool:
    return switch(request, "withGeometry")


def _of_kind(datasets: Sequence[Dataset], kind: str) -> Dataset:
    """Of data sets of one area and year the one with series of a kind; the first one, if none has."""
    return next((item for item in datasets if series.has_series(item, kind)), datasets[0])


def _range_of(text: str) -> tuple[float, float]:
    """Two values, `100-200`, or one of both ends."""
    low, dash, high = text.partition("-") if not text.startswith("-") else (text, "", "")
    try:
        found = (float(low), float(high if dash else low))
    except ValueError:
        raise bad_value("values", "is neither a value nor a range, such as 100-200") from None
    if not found[0] <= found[1]:
        raise bad_value("values", "goes from a greater to a smaller value")
    return found
