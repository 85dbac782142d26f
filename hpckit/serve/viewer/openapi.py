"""OpenAPI document of the viewer's answers."""

from __future__ import annotations

from typing import Any, Final

from hpckit.look.quality import FLAGS
from hpckit.serve.openapi import document, in_path, in_query, operation, posted
from hpckit.serve.viewer.marks import STATES

_JSON: Final = "application/json"
_TEXT: Final = {"type": "string"}
_DAY: Final = {"type": "string", "format": "date"}
_DATASET: Final = in_path("dataset")
_ZONE: Final = in_query("zone", _TEXT, "Identifier of a zone.", required=True)
_REDUCTION: Final = in_query("reduction", _TEXT, "Name of a reduction; the first one if not given.")
_PERIOD: Final = (in_query("start", _DAY, "First day."), in_query("end", _DAY, "Last day."))
_LAYER: Final = in_query("layer", _TEXT, "Key of a layer, as the data set lists them.")
_TILE: Final = tuple(in_path(name, {"type": "integer", "minimum": 0}) for name in "zxy")
_BOUNDS: Final = (
    in_query("gap_days", {"type": "number", "minimum": 1, "maximum": 1000}, "Flag gaps above this."),
    in_query("pixels", {"type": "number", "minimum": 0}, "Flag zones with fewer pixels."),
    in_query("inside", {"type": "number", "minimum": 0, "maximum": 1}, "Flag zones of which less is seen."),
    in_query("std", {"type": "number", "minimum": 0}, "Flag standard deviations above this."),
)


def viewer_document(title: str, root: str) -> dict[str, Any]:
    """OpenAPI 3.0 of all addresses that programs may use."""
    return document(f"{title}: results", root, {path: _with_dataset(item) for path, item in _paths().items()})


def _paths() -> dict[str, dict[str, Any]]:
    place = [
        in_query("q", _TEXT, "Begin of an identifier, or part of a label."),
        in_query("lon", {"type": "number", "minimum": -180, "maximum": 180}),
        in_query("lat", {"type": "number", "minimum": -90, "maximum": 90}),
        in_query("limit", {"type": "integer", "minimum": 1, "maximum": 50}),
    ]
    band = in_query("band", _TEXT, "Band or index; NDVI if not given.")
    flags = in_query("flags", _TEXT, f"Some of {', '.join(FLAGS)}, with commas between.")
    form = in_query("format", {"type": "string", "enum": ["csv", "gpkg"]})
    mark = {
        "type": "object",
        "required": ["zone"],
        "properties": {"zone": _TEXT, "state": {"enum": list(STATES)}, "note": {"type": "string", "maxLength": 2000}},
    }
    zone_tile = operation(
        "Vector tile of zones", "application/vnd.mapbox-vector-tile", [*_TILE, _REDUCTION], may_be_empty=True
    )
    raster = [*_TILE, _LAYER, in_query("day", _DAY), in_query("period", _TEXT)]
    return {
        "/api/me": {"get": operation("Who asks, and what they may read", _JSON)},
        "/api/d/{dataset}": {"get": operation("What a data set has", _JSON)},
        "/api/d/{dataset}/zones": {"get": operation("Find zones", _JSON, [*place, _REDUCTION])},
        "/api/d/{dataset}/zone": {"get": operation("A zone", _JSON, [_ZONE, _REDUCTION])},
        "/api/d/{dataset}/series": {
            "get": operation("Series of a zone", _JSON, [_ZONE, in_query("bands", _TEXT), _REDUCTION])
        },
        "/api/d/{dataset}/peers": {
            "get": operation(
                "Near zones with the same label",
                _JSON,
                [
                    _ZONE,
                    band,
                    in_query("distance", {"type": "number", "minimum": 1, "maximum": 50000}),
                    in_query("max", {"type": "integer", "minimum": 1, "maximum": 200}),
                    _REDUCTION,
                ],
            )
        },
        "/api/d/{dataset}/calendar": {
            "get": operation("Chips of a zone", _JSON, [_ZONE, _LAYER, *_PERIOD, _REDUCTION])
        },
        "/api/d/{dataset}/flags": {
            "get": operation(
                "Quality of observations", [_JSON, "text/csv"], [*_BOUNDS, *_PERIOD, band, flags, form, _REDUCTION]
            )
        },
        "/api/d/{dataset}/marks": {
            "get": operation("Marked zones", _JSON, [_REDUCTION]),
            "post": posted(operation("Mark a zone", _JSON), mark),
            "delete": operation("Take a mark away", _JSON, [_ZONE, _REDUCTION], may_be_empty=True),
        },
        "/api/d/{dataset}/export": {
            "get": operation(
                "Series as a file", ["text/csv", "application/geopackage+sqlite3"], [_ZONE, form, _REDUCTION]
            )
        },
        "/api/d/{dataset}/tiles/zones/{z}/{x}/{y}": {"get": zone_tile},
        "/api/d/{dataset}/tiles/raster/{z}/{x}/{y}": {"get": operation("Raster tile", "image/png", raster)},
    }


def _with_dataset(item: dict[str, Any]) -> dict[str, Any]:
    """Add the name of the data set to operations of `/api/d/{dataset}/…`."""
    return {
        method: made
        if made["summary"].startswith("Who")
        else made | {"parameters": [_DATASET, *made.get("parameters", [])]}
        for method, made in item.items()
    }
