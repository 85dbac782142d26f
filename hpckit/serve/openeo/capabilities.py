"""What the server says of itself: versions, addresses, logins, formats, options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.routing import Route

from hpckit.base.version import __version__
from hpckit.serve.openeo.collections import STAC_VERSION
from hpckit.serve.openeo.options import DESCRIBED
from hpckit.serve.settings import Settings

API_VERSION: Final = "1.2.0"
_UNLISTED: Final = ("HEAD", "OPTIONS")
_CONFORMANCE: Final = (
    "https://api.openeo.org/1.2.0",
    "https://api.openeo.org/extensions/processing-parameters/0.1.0",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
)
_JSON: Final = "application/json"


def well_known(root: str, *, production: bool) -> dict[str, Any]:
    """Versions that there are (`/.well-known/openeo`)."""
    return {"versions": [{"url": f"{root}/", "api_version": API_VERSION, "production": production}]}


def capabilities(settings: Settings, root: str, routes: Iterable[Route]) -> dict[str, Any]:
    """The first document (`/`)."""
    links = [
        {"rel": "self", "href": f"{root}/", "type": _JSON, "title": "This document"},
        {"rel": "conformance", "href": f"{root}/conformance", "type": _JSON, "title": "Conformance classes"},
        {"rel": "data", "href": f"{root}/collections", "type": _JSON, "title": "Collections"},
        {"rel": "version-history", "href": f"{root}/.well-known/openeo", "type": _JSON, "title": "Versions"},
    ]
    if settings.openeo.web_editor is not None:
        links.append({"rel": "web-editor", "href": settings.openeo.web_editor, "type": "text/html"})
    return {
        "api_version": API_VERSION,
        "backend_version": __version__,
        "stac_version": STAC_VERSION,
        "type": "Catalog",
        "id": "hpckit",
        "title": settings.title,
        "description": f"Data cubes on {settings.openeo.site}, computed by hpckit {__version__}.",
        "production": False,
        "conformsTo": list(_CONFORMANCE),
        "endpoints": _endpoints(routes),
        "links": links,
    }


def conformance() -> dict[str, Any]:
    """Conformance classes (`/conformance`)."""
    return {"conformsTo": list(_CONFORMANCE)}


def _endpoints(routes: Iterable[Route]) -> list[dict[str, Any]]:
    methods: dict[str, set[str]] = {}
    for route in routes:
        path = route.path.replace("{path:path}", "{path}")
        methods.setdefault(path, set()).update(set(route.methods or ()).difference(_UNLISTED))
    return [{"path": path, "methods": sorted(known)} for path, known in methods.items()]


def providers(settings: Settings) -> dict[str, Any]:
    """Providers of logins (`/credentials/oidc`)."""
    found = []
    for item in settings.oidc:
        clients = [
            {"id": client.id, "grant_types": list(client.grant_types), "redirect_urls": list(client.redirect_urls)}
            for client in settings.openeo.clients
            if client.provider == item.name
        ]
        provider: dict[str, Any] = {
            "id": item.name,
            "issuer": item.issuer.rstrip("/"),
            "title": item.title or item.name,
            "scopes": list(item.scopes),
        }
        found.append(provider | ({"default_clients": clients} if clients else {}))
    return {"providers": found}


def processing_parameters() -> dict[str, Any]:
    """Options of jobs (`/processing_parameters` of API 1.3)."""
    known = [
        {"name": name, "description": text, "optional": True, "default": None, "schema": schema}
        for name, (text, schema) in DESCRIBED.items()
    ]
    return {"create_job_parameters": known, "create_synchronous_parameters": [], "create_service_parameters": []}


def file_formats(known: Mapping[str, Any]) -> dict[str, Any]:
    """Formats of files (`/file_formats`).

    Parameters
    ----------
    known : mapping of str to Format
        Formats of results, by name.
    """
    return {"input": {}, "output": {name: _format(item.described()) for name, item in known.items()}}


def _format(described: dict[str, Any]) -> dict[str, Any]:
    # By the OpenAPI document of openEO a schema is one of `generic`, `process-graph` and `datacube`, and a schema
    # without a subtype is all three, which its validators refuse.
    known = {name: {"subtype": name.replace("_", "-"), **item} for name, item in described["parameters"].items()}
    return described | {"parameters": known}
