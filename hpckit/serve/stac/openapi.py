"""OpenAPI document of the STAC API."""

from __future__ import annotations

from typing import Any, Final

from hpckit.serve.openapi import document as document_of
from hpckit.serve.openapi import in_path, in_query, operation, posted
from hpckit.serve.stac.query import DEFAULT_LIMIT, LARGEST_LIMIT

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
    "dedup": {
        "type": "string",
        "enum": ["product", "acquisition", "none"],
        "description": "Each product once, or of each acquisition what has the newest processing baseline.",
    },
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
    collection = [in_path("collection")]
    item = [*collection, in_path("item")]
    search = operation("Search items", "application/geo+json", _query(_PARAMETERS))
    paths = {
        "/": {"get": operation("Landing page", "application/json")},
        "/conformance": {"get": operation("Conformance classes", "application/json")},
        "/api": {"get": operation("This document", "application/vnd.oai.openapi+json;version=3.0")},
        "/queryables": {"get": operation("What conditions may name", "application/schema+json")},
        "/collections": {"get": operation("All collections", "application/json")},
        "/collections/{collection}": {"get": operation("A collection", "application/json", collection)},
        "/collections/{collection}/queryables": {
            "get": operation("What conditions may name", "application/schema+json", collection)
        },
        "/collections/{collection}/items": {
            "get": operation("Items of a collection", "application/geo+json", [*collection, *_query(_OF_ITEMS)])
        },
        "/collections/{collection}/items/{item}": {"get": operation("An item", "application/geo+json", item)},
        "/search": {
            "get": search,
            "post": posted(operation("Search items", "application/geo+json")),
        },
    }
    return document_of(f"{title}: STAC API", root, paths)


def _query(names: Any) -> list[dict[str, Any]]:
    found = []
    for name in names:
        schema = dict(_PARAMETERS[name])
        description = schema.pop("description", "")
        found.append(in_query(name, schema, description))
    return found
