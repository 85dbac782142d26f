"""Logging in and out: the address that the server prints, passwords, tokens for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from hpckit.serve.identity.access import COOKIE, SESSION_S, TOKEN_S, Reader, client_address
from hpckit.serve.problems import Problem
from hpckit.serve.service import Service

_LONGEST: Final = 1024


def routes(service: Service) -> Sequence[BaseRoute]:
    """Addresses of the login."""

    async def login(request: Request) -> Response:
        form = await request.form(max_fields=10, max_files=0)
        name, password = str(form.get("name", "")), str(form.get("password", ""))
        if len(name) > _LONGEST or len(password) > _LONGEST:
            raise Problem(400, "bad-parameter", "name or password are too long")
        from starlette.concurrency import run_in_threadpool

        try:
            reader = await run_in_threadpool(service.access.check_password, name, password, client_address(request))
        except Problem as problem:
            service.audit.note(name, client_address(request), "login refused", code=problem.code)
            raise
        service.audit.note(reader.name, client_address(request), "login", by="password")
        return with_session(service, request, reader, JSONResponse({"user": reader.name}))

    def logout(request: Request) -> Response:
        response = JSONResponse({"user": None})
        response.set_cookie(COOKIE, max_age=0, path=_path(service, request))
        return response

    def token(request: Request) -> Response:
        """A token with which other programs read for a week: `Authorization: Bearer …`."""
        reader = service.reader(request)
        if not reader.is_signed_in:
            raise Problem(401, "login-needed", "log in first")
        service.audit.note(reader.name, client_address(request), "token")
        made = service.access.token_for(reader, TOKEN_S)
        return JSONResponse({"token": made, "days": round(TOKEN_S / 86400)}, headers={"Cache-Control": "no-store"})

    return [
        Route("/enter", lambda request: _enter(service, request), methods=["GET"]),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/token", token, methods=["POST"]),
    ]


def _enter(service: Service, request: Request) -> Response:
    """Take the one-time token of a printed address, and forget it."""
    # What follows is relative: a proxy may have removed a prefix that nobody here knows.
    if request.method == "HEAD":  # of a program that looks at links: the token is for a person
        return Response(status_code=200, headers={"Cache-Control": "no-store"})
    home = RedirectResponse("./", 303)
    reader = service.access.use_first_token(request.query_params.get("token", ""))
    if reader is not None:
        service.audit.note(reader.name, client_address(request), "login", by="first-token")
        return with_session(service, request, reader, home)
    if service.reader(request).is_signed_in:  # a notebook loads its frame again when it scrolls into view
        home.headers["Cache-Control"] = "no-store"
        return home
    detail = "this address worked once and does not any more"
    raise Problem(401, "used-token", detail, hint="start the server again")


def with_session(service: Service, request: Request, reader: Reader, response: Response) -> Response:
    """Add the cookie of a session to an answer."""
    public = service.settings.public_url
    is_secure = (urlsplit(public).scheme if public else request.url.scheme) == "https"
    response.set_cookie(
        COOKIE,
        service.access.token_for(reader),
        max_age=int(SESSION_S),
        path=_path(service, request),
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _path(service: Service, request: Request) -> str | None:
    """Below which the cookie is sent: not to other servers behind the same proxy.

    Where nobody has told what a proxy removes, the browser knows it: a cookie without a path is for the folder of the
    address that set it, which is that of the server.
    """
    removed = urlsplit(service.settings.public_url or "").path.rstrip("/")
    known = f"{removed}{service.settings.prefix}"
    return known or (None if request.url.path.count("/") == 1 else "/")
