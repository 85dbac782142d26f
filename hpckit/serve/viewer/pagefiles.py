"""The pages of the viewer and what they consist of; nothing is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hpckit.base.distribution import pip_install
from hpckit.errors import ServeError
from hpckit.serve.answers import bytes_answer
from hpckit.serve.problems import not_found
from hpckit.serve.service import Service

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_OWN: Final = (
    "index.html",
    "style.css",
    "viewer.js",
    "map.js",
    "panel.js",
    "chart.js",
    "calendar.js",
    "flags.js",
    "ask.js",
    "icon.svg",
)
_LIBRARY: Final = {"maplibre-gl.js": "srcjs/maplibre-gl.js", "maplibre-gl.css": "srcjs/maplibre-gl.css"}
"""MapLibre GL, of the package `maplibre`."""


def routes(service: Service) -> Sequence[BaseRoute]:
    """Addresses of the pages."""

    def index(request: Request) -> Response:
        # Relative addresses in the page count from here, whatever prefix a proxy adds.
        return _file(request, "index.html")

    def part(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _OWN and name not in _LIBRARY:
            raise not_found()
        return _file(request, name)

    return [
        Route("/", index, methods=["GET"]),
        Route("/viewer/{name}", part, methods=["GET"]),
    ]


def _file(request: Request, name: str) -> Response:
    return bytes_answer(request, content(name), _TYPES[name.rpartition(".")[2]])


@cache
def content(name: str) -> bytes:
    """Content of a part of the pages.

    Raises
    ------
    ServeError
        If the map's library is not installed.
    """
    if name not in _LIBRARY:
        return (files("hpckit.serve.viewer") / "pages" / name).read_bytes()
    # The package is not imported: only its files are needed.
    spec = find_spec("maplibre")
    places = (
        [] if spec is None else [Path(folder) / _LIBRARY[name] for folder in spec.submodule_search_locations or ()]
    )
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ServeError("the map's library is not installed", hint=pip_install("serve"))
    return found.read_bytes()
