"""What holds for all addresses of openEO, before anything else looks at a request.

Pages of other sites may ask (CORS), since everything that matters needs a bearer, which browsers do not add
themselves; two slashes are one; bodies may be longer than elsewhere; errors have the form of openEO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpckit.serve.bodies import BODY, PROVED, Body
from hpckit.serve.openeo.errors import openeo_answer
from hpckit.serve.problems import FORM
from hpckit.serve.settings import Settings

ROOT: Final = "/openeo"
WELL_KNOWN: Final = "/.well-known/openeo"
_FILES: Final = "/files/"
_SIGNED: Final = f"{ROOT}/1.2/download/"
_UPLOAD_S: Final = 3600.0
_EXPOSED: Final = (
    "Location, OpenEO-Identifier, OpenEO-Costs, Link, Content-Length, Content-Range, Accept-Ranges, ETag, Retry-After"
)
_CORS: Final = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED}
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "OPTIONS, GET, HEAD, POST, PATCH, PUT, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept, Range, If-None-Match",
    "Access-Control-Max-Age": "86400",
    "Content-Type": "application/json",
}


@dataclass(frozen=True)
class Border:
    """Stands before the program; requests that are not for openEO pass.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    settings : Settings
        Of the server.
    """

    app: ASGIApp
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = re.sub("/{2,}", "/", scope["path"]) if scope["type"] == "http" else ""
        inside = path.removeprefix(self.settings.prefix)
        if not (inside in (ROOT, WELL_KNOWN) or inside.startswith(f"{ROOT}/")):
            await self.app(scope, receive, send)
            return
        limits = self.settings.openeo
        is_upload = _FILES in inside and scope["method"] == "PUT"
        most = limits.quota_mib * 2**20 if is_upload else limits.graph_kib * 1024
        body = Body(most, _UPLOAD_S) if is_upload else Body(most)
        bearer = Headers(scope=scope).get("authorization", "").lower().startswith("bearer ")
        is_proved = bearer or inside.startswith(_SIGNED)
        scope = {**scope, "path": path, FORM: openeo_answer, BODY: body, PROVED: is_proved}

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).update(_CORS)
            await send(message)

        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, sent)
            return
        await self.app(scope, receive, sent)
