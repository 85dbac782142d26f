"""Addresses of logins by OpenID Connect: to the provider and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from hpckit.serve.identity.access import client_address
from hpckit.serve.identity.oidc import LOGIN_S
from hpckit.serve.problems import Problem
from hpckit.serve.service import Service
from hpckit.serve.sessions import with_session

COOKIE: Final = "hpckit_login"
_LONGEST: Final = 4096
_PARAMETERS: Final = ("state", "code", "error", "iss")


def routes(service: Service) -> Sequence[BaseRoute]:
    """Addresses of the logins; none without providers."""
    oidc = service.oidc
    if oidc is None:
        return []
    folder = f"{service.settings.prefix}/login/oidc"

    def begin(request: Request) -> Response:
        name = request.path_params["name"]
        redirect_uri = f"{service.address(request)}/login/oidc/{name}/callback"
        begun = oidc.begin(name, redirect_uri, _target(service, request.query_params.get("to", "")))
        response = RedirectResponse(begun.address, 303, headers={"Cache-Control": "no-store"})
        # Lax: the browser comes back from another site by following an address.
        is_secure = urlsplit(redirect_uri).scheme == "https"
        response.set_cookie(
            COOKIE, begun.ticket, int(LOGIN_S), path=folder, secure=is_secure, httponly=True, samesite="lax"
        )
        return response

    def finish(request: Request) -> Response:
        name, given = request.path_params["name"], request.query_params
        answer = {key: given[key][:_LONGEST] for key in _PARAMETERS if key in given}
        try:
            finished = oidc.finish(name, request.cookies.get(COOKIE, ""), answer)
            service.access.require_member(finished.reader, oidc.providers[name].settings.join)
        except Problem as problem:
            service.audit.note(name, client_address(request), "login refused", code=problem.code, by="oidc")
            raise
        service.audit.note(finished.reader.name, client_address(request), "login", by="oidc")
        response = with_session(service, request, finished.reader, RedirectResponse(finished.target, 303))
        response.delete_cookie(COOKIE, path=folder)
        return response

    return [
        Route("/login/oidc/{name}", _for_people(service, begin), methods=["GET"]),
        Route("/login/oidc/{name}/callback", _for_people(service, finish), methods=["GET"]),
    ]


def _target(service: Service, text: str) -> str:
    """Path to go on to: one of this server, and the viewer if it is not."""
    home = f"{service.settings.prefix}/"
    is_here = text.startswith(home) and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_here and len(text) <= 500 else home


def _for_people(service: Service, endpoint: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Answer browsers with a page where others get a JSON problem."""

    def answer(request: Request) -> Response:
        try:
            return endpoint(request)
        except Problem as problem:
            if "text/html" not in request.headers.get("accept", ""):
                raise
            hint = f"<p>{escape(problem.hint)}</p>" if problem.hint else ""
            page = (
                f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Login</title></head><body>'
                f"<h1>The login did not work</h1><p>{escape(problem.detail)}</p>{hint}"
                f'<p><a href="{escape(service.settings.prefix, quote=True)}/">Back</a></p></body></html>'
            )
            headers = {"Cache-Control": "no-store"} | problem.headers
            return HTMLResponse(page, problem.status, headers)

    return answer
