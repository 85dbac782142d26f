"""Form of the answers of the STAC API: who may read them, links that repeat the question, reports of members."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from hpckit.serve.problems import of_error
from hpckit.serve.stac.merging import Dedup
from hpckit.serve.stac.pages import JSON
from hpckit.serve.stac.query import Search, SearchError
from hpckit.serve.stac.remote import Report

_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Expose-Headers": "Link, Warning, ETag",
    "Access-Control-Max-Age": "3600",
}
"""Readers of other sites may read with a token; cookies are not sent with `*`."""


def for_all_sites(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Answers of a thread, which other sites may read."""

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_CORS)
        try:
            response = await run_in_threadpool(answer, request)
        except Exception as error:  # as the program's own handler does, and readable for other sites
            response = of_error(error).response()
        response.headers.update(_CORS)
        return response

    return endpoint


def next_by_get(request: Request, address: str) -> Callable[[str], dict[str, Any]]:
    """Makes the link to the page of a token, with the other parameters of a request."""

    def link(token: str) -> dict[str, Any]:
        parameters = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        return {"href": f"{address}?{urlencode([*parameters, ('token', token)])}"}

    return link


def dedup_of(given: object, search: Search) -> Dedup:
    """Meaning of the parameter `dedup`.

    Raises
    ------
    SearchError
        If it is another word, or one that the order of the search does not allow.
    """
    if given in (None, "", "product"):
        return "product"
    if given == "none":
        return "none"
    if given != "acquisition":
        raise SearchError("`dedup` is product, acquisition or none")
    if not search.order.by_time:
        raise SearchError(
            "`dedup=acquisition` works in the order of time only", hint="sort by datetime, or leave `sortby` out"
        )
    return "acquisition"


def members_told(reports: Sequence[Report]) -> dict[str, Any]:
    """What an answer says of members."""
    return {"federation:members": [report.told() for report in reports]} if reports else {}


def warnings_of(reports: Sequence[Report]) -> dict[str, str]:
    """Header that repeats errors of members."""
    faults = [f"{report.id}: {report.error}" for report in reports if report.error]
    if not faults:
        return {}
    text = "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "?" for letter in "; ".join(faults))
    return {"Warning": f'199 hpckit "{text[:500]}"'}


def json_response(content: Any, *, media_type: str = JSON, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON, which caches ask for again."""
    known = {"Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization", **(headers or {})}
    return Response(orjson.dumps(content), headers=known, media_type=media_type)
