"""Requests to an ASGI program byte by byte, as a server hands them over: nothing tidies paths and headers before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Answer:
    """What the program answered."""

    status: int
    headers: dict[str, str]
    cookies: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | Sequence[bytes] = b"",
    client: str = "192.0.2.7",
    host: str = "127.0.0.1:8642",
) -> Answer:
    """Ask for a path, with what follows the question mark."""
    raw, _, query = path.partition("?")
    given = {"host": host, **{name.lower(): value for name, value in (headers or {}).items()}}
    parts = [body] if isinstance(body, bytes) else list(body)
    if isinstance(body, bytes) and body:
        given.setdefault("content-length", str(len(body)))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode("ascii", "replace"),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": (client, 5000),
        "server": ("127.0.0.1", 8642),
        "state": {},
    }
    return asyncio.run(_run(app, scope, parts))


async def _run(app: Any, scope: dict[str, Any], parts: list[bytes]) -> Answer:
    messages: list[dict[str, Any]] = []
    waiting = [
        {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
        for number, part in enumerate(parts)
    ]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await asyncio.wait_for(app(scope, receive, send), 60)
    starts = [message for message in messages if message["type"] == "http.response.start"]
    assert len(starts) == 1, "an answer begins once"
    headers: dict[str, str] = {}
    cookies: dict[str, str] = {}
    for name, value in starts[0]["headers"]:
        assert b"\r" not in value and b"\n" not in value, "a header ends where it says"
        headers[name.decode()] = value.decode("latin-1")
        if name == b"set-cookie":
            key, _, rest = value.decode().partition("=")
            cookies[key] = rest.partition(";")[0].strip('"')
    whole = b"".join(message.get("body", b"") for message in messages if message["type"] == "http.response.body")
    return Answer(starts[0]["status"], headers, cookies, whole)


def basic(name: str, password: str) -> dict[str, str]:
    """The header of a name and password."""
    import base64

    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}
