"""Peers of a parcel: parcels near it with the same label, and how their series run together."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hpckit.serve.answers import json_answer, number_of, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.peers import peer_statistics, peers
from hpckit.serve.problems import bad_value
from hpckit.serve.seriesdata import zone_row
from hpckit.serve.service import Service


def answer(request: Request, service: Service, dataset: Dataset) -> Response:
    """Answer with up to `max` peers within `distance` metres, and quartiles of their middles by day."""
    reduction, name = request.query_params.get("reduction"), text_of(request, "zone")
    row = zone_row(dataset, name, reduction)
    zones = dataset.edition.zones(reduction)
    distance = number_of(request, "distance", 2000, 1, 50_000)
    most = int(number_of(request, "max", 20, 1, 200))
    chosen = dataset.view.reduction(reduction)
    band = text_of(request, "band", dataset.view.band(None, chosen.name))
    if band not in (*chosen.bands, *chosen.indices):
        raise bad_value("band", f"there is no band {band!r}")
    found = peers(zones, row, distance, most)
    service.note(request, "peers", dataset, zone=name)
    middle = "p50" if "p50" in chosen.statistics else "mean"
    statistics = peer_statistics(dataset, [each for each, _ in found], band, middle, reduction)
    listed = [
        {"id": zones.ids[each].as_py(), "label": zones.labels[each], "distance_m": round(m)} for each, m in found
    ]
    return json_answer(
        request, {"zone": name, "label": zones.labels[row], "peers": listed, "band": band} | statistics
    )
