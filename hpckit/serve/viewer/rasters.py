"""Raster tiles of the map: a day or period of a layer."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from hpckit.look.tiles import draw_tile
from hpckit.serve.answers import bytes_answer
from hpckit.serve.dataset import Dataset
from hpckit.serve.service import Service
from hpckit.serve.viewer.shownlayers import layer_of

_KEEP: Final = {"Cache-Control": "private, max-age=60"}
"""A cube may be written while it is shown."""


def tile(request: Request, service: Service, dataset: Dataset, z: int, x: int, y: int) -> Response:
    """Answer with a tile of 256² or, with `@2x` in its address, 512² pixels."""
    size = 512 if "@2x" in request.path_params["y"] else 256
    layer = layer_of(request, dataset)
    drawn = draw_tile(dataset.view, layer, z, x, y, size, cache=service.overviews)
    # Latin-1 is what headers hold.
    notes = "; ".join(drawn.notes)[:500].encode("latin-1", "replace").decode("latin-1")
    return bytes_answer(request, drawn.png, "image/png", headers=_KEEP | ({"X-Note": notes} if notes else {}))
