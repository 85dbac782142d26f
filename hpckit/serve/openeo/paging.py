"""Pages of lists: `limit` and `offset`, with links to the neighbours.

Collections and processes, those of users included, have none, which openEO leaves open: the JavaScript client and the
Web Editor ask for fifty of them and never for the next page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from starlette.datastructures import URL
from starlette.requests import Request

from hpckit.serve.openeo.errors import OpenEoError

_MOST: Final = 10_000
_Item = TypeVar("_Item")
Link = dict[str, str]


def page(request: Request, items: Sequence[_Item]) -> tuple[Sequence[_Item], list[Link]]:
    """The part of a list that a request asks for; all of it, if it does not say."""
    limit, first = _number(request, "limit"), _number(request, "offset") or 0
    if limit is None:
        return items[first:], []
    if limit < 1:
        raise OpenEoError("ParameterInvalid", "limit: write a whole number from 1")
    links = []
    if first + limit < len(items):
        links.append(_link(request, "next", limit, first + limit))
    if first > 0:
        links.append(_link(request, "prev", limit, max(0, first - limit)))
    return items[first : first + limit], links


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise OpenEoError("ParameterInvalid", f"{name}: write a whole number")
    return min(int(text), _MOST) if name == "limit" else int(text)


def _link(request: Request, rel: str, limit: int, first: int) -> Link:
    # Relative, so that it holds behind any proxy.
    query = URL(f"?{request.url.query}").include_query_params(limit=limit, offset=first).query
    return {"rel": rel, "href": f"?{query}", "type": "application/json"}
