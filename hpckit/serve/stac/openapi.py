"""OpenAPI document of the STAC API."""

from __future__ import annotations

from typing import Any, Final

from hpckit.base.version import __version__
from hpckit.serve.stac.query import DEFAULT_LIMIT, LARGEST_LIMIT

_ID: Final = {"type": "string"}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "collections": {"type": "string", "description": "Names of collections, with commas between."},
    "ids": {"type": "string", "description": "Ids of items, with commas between."},
    "bbox": {"type": "string", "description": "West, south, east, north, in degrees; with heights 6 numbers."},
    "intersects": {"type": "string", "description": "GeoJSON geometry."},
    "datetime": {"type": "string", "description": "A moment of RFC 3339, or START/END; `..` is open."},
    "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT},
    "token": {"type": "string", "description": "Of the link `next`."},
    "filter": {"type": "string", "description": "CQL2."},
    "filter-lang": {"type": "string", "enum": ["cql2-text", "cql2-json"]},
    "sortby": {
        "type": "string",
        "description": "Fields with commas between; a minus sign before a field that falls.",
    },
    "fields": {"type": "string", "description": "Fields with commas between; a minus sign before those left out."},
    "dedup": {"type": "string", "enum": ["product", "none"], "description": "Whether products are given once."},
    "strict": {"type": "boolean", "description": "Answer 502 if a member of the federation fails."},
}
_OF_ITEMS: Final = ("bbox", "datetime", "limit", "token", "filter", "filter-lang", "sortby", "fields", "ids")


def document(title: str, root: str) -> dict[str, Any]:
    """OpenAPI 3.0.

    Parameters
    ----------
    root : str
        Address of the landing page.
    """
    collection = [{"name": "collection", "in": "path", "required": True, "schema": _ID}]
    item = [*collection, {"name": "item", "in": "path", "required": True, "schema": _ID}]
    search = _operation("Search items", "application/geo+json", _query(_PARAMETERS))
    return {
        "openapi": "3.0.3",
        "info": {"title": f"{title}: STAC API", "version": __version__},
        "servers": [{"url": root}],
        "paths": {
            "/": {"get": _operation("Landing page", "application/json")},
            "/conformance": {"get": _operation("Conformance classes", "application/json")},
            "/api": {"get": _operation("This document", "application/vnd.oai.openapi+json;version=3.0")},
            "/queryables": {"get": _operation("What conditions may name", "application/schema+json")},
            "/collections": {"get": _operation("All collections", "application/json")},
            "/collections/{collection}": {"get": _operation("A collection", "application/json", collection)},
            "/collections/{collection}/queryables": {
                "get": _operation("What conditions may name", "application/schema+json", collection)
            },
            "/collections/{collection}/items": {
                "get": _operation("Items of a collection", "application/geo+json", [*collection, *_query(_OF_ITEMS)])
            },
            "/collections/{collection}/items/{item}": {"get": _operation("An item", "application/geo+json", item)},
            "/search": {
                "get": search,
                "post": {
                    **_operation("Search items", "application/geo+json"),
                    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                },
            },
        },
    }


def _operation(summary: str, media_type: str, parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    problem = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
    return {
        "summary": summary,
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            "200": {"description": "The answer", "content": {media_type: {"schema": {"type": "object"}}}},
            "default": {"description": "A problem (RFC 9457)", **problem},
        },
    }


def _query(names: Any) -> list[dict[str, Any]]:
    found = []
    for name in names:
        schema = dict(_PARAMETERS[name])
        description = schema.pop("description", "")
        told = {"name": name, "in": "query", "required": False, "schema": schema}
        found.append({**told, "description": description} if description else told)
    return found
