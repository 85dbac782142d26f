"""The calendar of a parcel: a chip for each date, in one picture."""

from __future__ import annotations

import base64
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from hpckit.look.chips import calendar
from hpckit.serve.answers import day_of, json_answer, number_of, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.problems import bad_value
from hpckit.serve.seriesdata import zone_row
from hpckit.serve.viewer.shownlayers import layer_of


def answer(request: Request, dataset: Dataset) -> Response:
    """Answer with chips of the zone `zone` in the layer `layer`, from `start` to `end`."""
    reduction = request.query_params.get("reduction")
    row = zone_row(dataset, text_of(request, "zone"), reduction)
    zones = dataset.edition.zones(reduction)
    start, end = day_of(request, "start"), day_of(request, "end")
    if start is not None and end is not None and end < start:
        raise bad_value("end", "lies before start")
    margin = number_of(request, "margin", 100, 0, 2000)
    sprite = calendar(
        dataset.view, zones.geometry(row), layer_of(request, dataset), start, end, crs=zones.crs, margin_m=margin
    )
    picture = base64.b64encode(sprite.png).decode()
    found = {
        "sprite": f"data:image/png;base64,{picture}",
        "width": sprite.width,
        "height": sprite.height,
        "outline": sprite.outline,
        "cells": [asdict(cell) for cell in sprite.cells],
        "tile": sprite.tile,
        "notes": list(sprite.notes),
    }
    return json_answer(request, found)
