"""What all OpenAPI documents of the server consist of (OpenAPI 3.0.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hpckit.base.version import __version__

MEDIA_TYPE: Final = "application/vnd.oai.openapi+json;version=3.0"

Schema = dict[str, Any]


def document(title: str, root: str, paths: Mapping[str, Any]) -> dict[str, Any]:
    """A document.

    Parameters
    ----------
    root : str
        Address below which the paths lie.
    """
    return {
        "openapi": "3.0.3",
        "info": {"title": title, "version": __version__},
        "servers": [{"url": root}],
        "paths": dict(paths),
    }


def operation(
    summary: str, media_types: str | Sequence[str], parameters: Sequence[Schema] = (), *, may_be_empty: bool = False
) -> dict[str, Any]:
    """An operation that answers with one of some media types, or with a problem (RFC 9457).

    Parameters
    ----------
    may_be_empty : bool
        Whether the answer may be that there is nothing (204).
    """
    types = [media_types] if isinstance(media_types, str) else media_types
    problem = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
    responses: dict[str, Any] = {
        "200": {"description": "The answer", "content": {name: _content(name) for name in types}}
    }
    if may_be_empty:
        responses["204"] = {"description": "Nothing is there"}
    responses["default"] = {"description": "A problem (RFC 9457)", **problem}
    return {"summary": summary, **({"parameters": list(parameters)} if parameters else {}), "responses": responses}


def posted(made: dict[str, Any], schema: Schema | None = None) -> dict[str, Any]:
    """An operation with a body of JSON."""
    return made | {"requestBody": {"content": {"application/json": {"schema": schema or {"type": "object"}}}}}


def in_query(name: str, schema: Schema, description: str = "", *, required: bool = False) -> Schema:
    """A parameter after the question mark."""
    made = {"name": name, "in": "query", "required": required, "schema": schema}
    return made | ({"description": description} if description else {})


def in_path(name: str, schema: Schema | None = None) -> Schema:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema or {"type": "string"}}


def _content(media_type: str) -> dict[str, Any]:
    if "json" in media_type:
        return {"schema": {"type": "object"}}
    return {"schema": {"type": "string"} | ({} if media_type.startswith("text/") else {"format": "binary"})}
