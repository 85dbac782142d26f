"""The program: doors on one address, behind checks that hold for all of them."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpckit.base.version import __version__
from hpckit.serve import files, oidclogins, sessions
from hpckit.serve.bodies import BODY, PROVED, Body
from hpckit.serve.identity.access import client_address
from hpckit.serve.problems import Problem, answer, answer_problem, of_error
from hpckit.serve.service import Service
from hpckit.serve.settings import Door

_LOG: Final = logging.getLogger("hpckit.serve.requests")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_READING_POSTS: Final = frozenset({"/stac/search"})
"""Questions that are too long for an address; pages of other sites may ask them, since nothing is changed."""
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
    " connect-src 'self'; worker-src 'self' blob:; font-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'self'"
)
"""No scripts but our own files; inline styles are those that the map's library sets on its elements."""
_LOOPBACK: Final = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_LOOPBACK_ORIGIN: Final = re.compile(rf"https?://{_LOOPBACK.pattern}", _LOOPBACK.flags)
_SET_URL: Final = "behind a proxy, set `public_url` in a settings file"
_NOT_BEGUN: Final = 0
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def build(service: Service) -> Starlette:
    """Make the program of a service."""
    routes: list[BaseRoute] = [
        Route("/health", _health, name="health"),
        Route("/metrics", _metrics, name="metrics"),
        *sessions.routes(service),
        *oidclogins.routes(service),
        *files.routes(service),
    ]
    doors = _doors()
    for door in service.settings.doors:
        routes += doors[door](service)
    if service.settings.prefix:
        routes = [Mount(service.settings.prefix, routes=routes)]
    app = Starlette(
        routes=routes,
        exception_handlers={
            Problem: answer_problem,
            Exception: answer_problem,
            HTTPException: answer_problem,
        },
        middleware=[*_borders(service), Middleware(Checks, service=service)],
    )
    app.state.service = service
    app.router.redirect_slashes = False
    return app


def _doors() -> dict[Door, Callable[[Service], Sequence[BaseRoute]]]:
    from hpckit.serve.jrc import routes as jrc
    from hpckit.serve.openeo import routes as openeo
    from hpckit.serve.stac import routes as stac
    from hpckit.serve.viewer import routes as viewer

    return {"jrc": jrc.routes, "openeo": openeo.routes, "stac": stac.routes, "viewer": viewer.routes}


def _borders(service: Service) -> Sequence[Middleware]:
    """What doors say of their requests before the checks."""
    if "openeo" not in service.settings.doors:
        return []
    from hpckit.serve.openeo.border import Border

    return [Middleware(Border, settings=service.settings)]


def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


def _metrics(request: Request) -> Response:
    service: Service = request.app.state.service
    return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")


class Checks:
    """What holds for all doors: limits, bodies, requests from other sites, headers, figures and the log.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    service : Service
        What the doors share.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        # `frame-ancestors` is the last rule.
        policy = " ".join([_CSP, *service.settings.frames])
        self._headers = _HEADERS | {"Content-Security-Policy": policy}
        settings = service.settings
        named = settings.public_url is not None or bool(settings.prefix)
        self._is_for_this_machine = settings.is_open and settings.is_loopback and not named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, request = time.perf_counter(), _NOT_BEGUN, Request(scope)

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(request)
            await self.app(scope, self._body(scope).bounded(receive), sent)
        except Exception as error:
            problem = of_error(error)
            if status != _NOT_BEGUN:
                raise  # an answer that has begun cannot become another one
            await answer(scope, problem)(scope, receive, sent)
        finally:
            self._note(request, status or 500, time.perf_counter() - started)

    def _check(self, request: Request) -> None:
        # By what is proved, or else by address: a client cannot have more by headers of its own invention.
        wait = self.service.buckets.wait_s(self.service.access.known(request) or client_address(request))
        if wait > 0:
            raise Problem(429, "too-many-requests", "too many requests", headers={"Retry-After": str(int(wait) + 1)})
        if self._is_for_this_machine:
            _require_this_machine(request.headers, is_proved=bool(request.scope.get(PROVED)))
        # `request.url` is put together from many parts, which takes as long as the rest of this.
        if request.method not in _SAFE_METHODS:
            reading = request.url.path.removeprefix(self.service.settings.prefix) in _READING_POSTS
            if not reading:
                _require_same_site(request.headers, request.url.netloc, self.service.settings.public_url)
        self._body(request.scope).require_short(request.headers)

    def _body(self, scope: Scope) -> Body:
        found: Body = scope.get(BODY) or Body(self.service.settings.limits.body_bytes)
        return found

    def _note(self, request: Request, status: int, seconds: float) -> None:
        route = request.scope.get("route")
        name = getattr(route, "path", None) or "unknown"
        self.service.metrics.count(name, status, seconds)
        if _LOG.isEnabledFor(logging.INFO):
            reader = request.scope.get("hpckit.reader")
            facts = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "method": request.method,
                "path": request.url.path,
                "status": status,
                "ms": round(1000 * seconds, 1),
                "address": client_address(request),
                "user": getattr(reader, "name", ""),
            }
            _LOG.info(json.dumps(facts, ensure_ascii=False))


def _require_this_machine(headers: Headers, *, is_proved: bool) -> None:
    """Refuse pages of other sites, which the browser of somebody on this machine asks to read what is open here."""
    if not _LOOPBACK.fullmatch(headers.get("host", "")):
        # A page whose host's name has become 127.0.0.1 for the browser (DNS rebinding) would read everything.
        raise Problem(421, "other-host", "this server is known as 127.0.0.1 and localhost only", hint=_SET_URL)
    if not is_proved and not _LOOPBACK_ORIGIN.fullmatch(headers.get("origin", "http://localhost")):
        # STAC and files allow all origins, since elsewhere they ask for a token or a signed link.
        raise Problem(403, "other-site", "the request comes from a page of another site")


def _require_same_site(headers: Headers, host: str, public_url: str | None) -> None:
    """Refuse what a page of another site sends by a reader's browser (CSRF); programs send no such headers."""
    if headers.get("authorization", "").lower().startswith("bearer "):
        return  # pages of other sites cannot send it; a name and password, browsers add themselves
    origin = headers.get("origin")
    allowed = {f"http://{host}", f"https://{host}"} | ({_origin(public_url)} if public_url else set())
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") or (origin and origin not in allowed):
        raise Problem(403, "other-site", "the request comes from a page of another site", hint=_SET_URL)


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def log_to_stderr(*, requests: bool) -> None:
    """Write the log to stderr: a JSON line for each request, if asked for, and for each fault of the server."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger("hpckit.serve")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.WARNING)
    _LOG.setLevel(logging.INFO if requests else logging.WARNING)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.name == _LOG.name:
            return record.getMessage()
        facts: dict[str, Any] = {"level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)
