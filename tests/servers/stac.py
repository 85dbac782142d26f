"""A STAC API on loopback that answers as real ones do, and misbehaves as asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

FILTER = [
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
]
SORT = ["https://api.stacspec.org/v1.0.0/item-search#sort"]


@dataclass(slots=True)
class StacServer:
    """What it holds, and how it answers."""

    items: Sequence[Mapping[str, Any]]
    page: int = 10
    """Items of a page at most, whatever is asked."""
    post: bool = True
    """Whether it knows searches by POST."""
    conforms: Sequence[str] = ()
    extent: Mapping[str, Any] | None = None
    """Of every collection; the whole world if not given."""
    collections: Sequence[str] | None = None
    """That it has; those of its items if not given."""
    faults: dict[int, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    """By the number of the search request, from 0: answers instead of the page."""
    every: Callable[[BaseHTTPRequestHandler], None] | None = None
    """Answers every request, of whatever kind."""
    selects: bool = False
    """Whether it selects by days and ids, and sorts as asked; else it gives what it holds in its own order."""
    next_link: Callable[[int], Mapping[str, Any] | None] | None = None
    """Another link to the page after position N."""
    searches: list[Mapping[str, Any]] = field(default_factory=list)
    """Bodies or parameters of the search requests."""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        """Answer a request."""
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else {}
        self.requests.append(f"{method} {parts.path}")
        if self.every is not None:
            self.every(handler)
        elif parts.path == "/":
            methods = ["GET", "POST"] if self.post else ["GET"]
            links = [{"rel": "search", "href": f"{self.url}/search", "method": one} for one in methods]
            links.append({"rel": "data", "href": f"{self.url}/collections"})
            send(handler, {"type": "Catalog", "id": "x", "conformsTo": list(self.conforms), "links": links})
        elif parts.path == "/collections":
            names = self.collections or sorted({item["collection"] for item in self.items})
            send(handler, {"collections": [self._described(name) for name in names], "links": []})
        elif "/items/" in parts.path:
            name = unquote(parts.path.rpartition("/")[2])
            found = next((item for item in self.items if item["id"] == name), None)
            send(handler, found or {"code": "NotFoundError"}, 200 if found else 404)
        elif parts.path.startswith("/collections/"):
            self._collection(handler, unquote(parts.path.rpartition("/")[2]))
        elif method == "POST" and not self.post:
            send(handler, {"detail": "Method Not Allowed"}, 405)
        else:
            self._search(handler, body or dict(parse_qsl(parts.query)), method)

    def _collection(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        known = self.collections or sorted({item["collection"] for item in self.items})
        if name not in known:
            send(handler, {"code": "NotFoundError"}, 404)
            return
        send(handler, self._described(name))

    def _described(self, name: str) -> dict[str, Any]:
        world = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "description": f"Collection {name}",
            "license": "other",
            "extent": self.extent or world,
            "links": [{"rel": "self", "href": f"{self.url}/collections/{name}"}],
        }

    def _search(self, handler: BaseHTTPRequestHandler, asked: Mapping[str, Any], method: str) -> None:
        number = len(self.searches)
        self.searches.append(asked)
        if number in self.faults:
            self.faults[number](handler)
            return
        start = int(asked.get("token") or 0)
        size = min(self.page, int(asked.get("limit") or 10))
        items = self._selected(asked) if self.selects else self.items
        some = items[start : start + size]
        links: list[Mapping[str, Any]] = []
        if self.next_link is not None:
            link = self.next_link(start)
            links = [link] if link else []
        elif start + size < len(items) and method == "POST":
            body = {"token": str(start + size)}
            links = [{"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": body, "merge": True}]
        elif start + size < len(items):
            more = urlencode({**asked, "limit": size, "token": start + size})
            links = [{"rel": "next", "href": f"{self.url}/search?{more}"}]
        send(handler, {"type": "FeatureCollection", "features": list(some), "links": links})

    def _selected(self, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Items by days and ids, sorted as asked, as servers with a database do."""
        start, end = ([*str(asked.get("datetime") or "../..").split("/")] * 2)[:2]
        ids = asked.get("ids")
        names = ids.split(",") if isinstance(ids, str) else ids

        def when(item: Mapping[str, Any]) -> datetime:
            return datetime.fromisoformat(item["properties"]["datetime"])

        found = [
            item
            for item in self.items
            if (names is None or item["id"] in names)
            and (start == ".." or when(item) >= datetime.fromisoformat(start))
            and (end == ".." or when(item) <= datetime.fromisoformat(end))
        ]
        sort = asked.get("sortby") or []
        if isinstance(sort, str):
            sort = [
                {"field": one.lstrip("+-"), "direction": "desc" if one[0] == "-" else "asc"}
                for one in sort.split(",")
            ]
        for key in reversed(sort):
            name = key["field"].removeprefix("properties.")
            found.sort(
                key=lambda item: item["id"] if name == "id" else item["properties"].get(name, 0),
                reverse=key["direction"] == "desc",
            )
        return found


def send(handler: BaseHTTPRequestHandler, content: Any, status: int = 200, **headers: str) -> None:
    """Send JSON."""
    body = json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a status."""
    return lambda handler: send(handler, {"detail": f"status {code}"}, code, **headers)


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Say that more comes than does."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"type": "FeatureCollection", ')
    handler.close_connection = True


def silent(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer too late."""

    def wait(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return wait


def page_of_text(handler: BaseHTTPRequestHandler) -> None:
    """Answer with a page for people, as proxies and logins do."""
    body = b"<html>Please log in</html>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serve(server: StacServer) -> Iterator[StacServer]:
    """Serve while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.answer(self, "GET")

        def do_POST(self) -> None:
            server.answer(self, "POST")

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is no news."""

    http = Server(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
