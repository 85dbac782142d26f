"""Addresses of the viewer: its pages, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hpckit.serve.answers import bytes_answer, json_answer, number_of, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.markerdata import as_events, read_markers
from hpckit.serve.openapi import MEDIA_TYPE
from hpckit.serve.problems import bad_value, not_found
from hpckit.serve.seriesdata import read_series, zone_row
from hpckit.serve.service import Service
from hpckit.serve.settings import Action
from hpckit.serve.viewer import calendar, describe, exports, flagging, marks, pagefiles, peerseries, rasters
from hpckit.serve.viewer.openapi import viewer_document
from hpckit.serve.viewer.zonetiles import zone_tile

_MOST_FOUND = 50
_MOST_BANDS = 40
_VECTOR_TILE = "application/vnd.mapbox-vector-tile"

Answer = Callable[[Request, Dataset], Response]


def routes(service: Service) -> Sequence[BaseRoute]:
    """All addresses of the viewer."""

    def of(
        address: str, action: Action, answer: Answer, methods: Sequence[str] = ("GET",), *, drawn: bool = False
    ) -> Route:
        def checked(request: Request) -> Response:
            return answer(request, service.dataset(request, request.path_params["dataset"], action))

        endpoint = service.turns.taking(checked) if drawn else checked
        return Route(f"/api/d/{{dataset}}{address}", endpoint, methods=list(methods))

    def me(request: Request) -> Response:
        return json_answer(request, describe.visitor(service, request))

    def zone(request: Request, dataset: Dataset) -> Response:
        name, reduction = text_of(request, "zone"), request.query_params.get("reduction")
        row = zone_row(dataset, name, reduction)
        service.note(request, "zone", dataset, zone=name)
        with_outline = "geometry" in service.access.actions(service.reader(request), dataset.name)
        return json_answer(request, describe.zone(dataset.edition.zones(reduction), row, outline=with_outline))

    def series(request: Request, dataset: Dataset) -> Response:
        name, reduction = text_of(request, "zone"), request.query_params.get("reduction")
        found = read_series(dataset, name, reduction)
        known = found.records.layout.bands
        bands = [each for each in text_of(request, "bands", ",".join(known)).split(",") if each]
        unknown = [each for each in bands if each not in known]
        if unknown or len(bands) > _MOST_BANDS:
            raise bad_value("bands", f"there is no band {unknown[0]!r}" if unknown else "are too many")
        service.note(request, "series", dataset, zone=name)
        events = as_events(read_markers(dataset, name, reduction))
        return json_answer(request, {"zone": name} | found.columns(bands) | {"markers": events})

    def chips(request: Request, dataset: Dataset) -> Response:
        service.note(request, "chips", dataset, zone=text_of(request, "zone"))
        return calendar.answer(request, dataset)

    def zone_tiles(request: Request, dataset: Dataset) -> Response:
        z, x, y = tile_of(request)
        reduction = request.query_params.get("reduction")
        zones = dataset.edition.zones(reduction)
        extra = flagging.attributes(request, dataset) | marks.attributes(dataset, zones, reduction)
        data = zone_tile(zones, z, x, y, extra)
        return bytes_answer(request, data, _VECTOR_TILE, status=200 if data else 204)

    def raster_tiles(request: Request, dataset: Dataset) -> Response:
        z, x, y = tile_of(request)
        return rasters.tile(request, service, dataset, z, x, y)

    return [
        *pagefiles.routes(service),
        Route("/api", partial(_document, service), methods=["GET"]),
        Route("/api/me", me, methods=["GET"]),
        of("", "info", lambda request, dataset: json_answer(request, describe.dataset(service, request, dataset))),
        of("/zones", "info", _zones),
        of("/zone", "info", zone),
        of("/series", "series", series),
        of("/peers", "series", lambda request, dataset: peerseries.answer(request, service, dataset)),
        of("/calendar", "chips", chips, drawn=True),
        of("/flags", "series", flagging.answer),
        of("/marks", "info", lambda request, dataset: marks.listed(request, dataset)),
        of("/marks", "mark", lambda request, dataset: marks.removed(request, service, dataset), ["DELETE"]),
        Route("/api/d/{dataset}/marks", marks.adding(service), methods=["POST"]),
        of("/export", "export", lambda request, dataset: exports.answer(request, service, dataset)),
        of("/tiles/zones/{z}/{x}/{y}", "geometry", zone_tiles),
        of("/tiles/raster/{z}/{x}/{y}", "chips", raster_tiles, drawn=True),
    ]


def _document(service: Service, request: Request) -> Response:
    about = viewer_document(service.settings.title, service.address(request))
    return json_answer(request, about, media_type=MEDIA_TYPE)


def _zones(request: Request, dataset: Dataset) -> Response:
    """Search: by the begin of an identifier or by label (`q`), or by place (`lon`, `lat`)."""
    zones = dataset.edition.zones(request.query_params.get("reduction"))
    most = int(number_of(request, "limit", 12, 1, _MOST_FOUND))
    if "lon" in request.query_params:
        rows = zones.at(number_of(request, "lon", 0, -180, 180), number_of(request, "lat", 0, -90, 90))[:most]
    else:
        rows = zones.find(text_of(request, "q", ""), most)
    found: list[dict[str, Any]] = [describe.short(zones, row) for row in rows]
    return json_answer(request, {"zones": found})


def tile_of(request: Request) -> tuple[int, int, int]:
    """Zoom, column and row of an address.

    Raises
    ------
    Problem
        404 if there is no such tile.
    """
    texts = [request.path_params[name] for name in ("z", "x", "y")]
    texts[2] = texts[2].partition(".")[0]
    if not all(text.isascii() and text.isdecimal() and len(text) < 9 for text in texts):
        raise not_found("there is no such tile")
    z, x, y = map(int, texts)
    if z > 24 or x >= 2**z or y >= 2**z:
        raise not_found("there is no such tile")
    return z, x, y
