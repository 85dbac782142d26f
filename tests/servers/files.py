"""A web server on loopback that gives files in ranges as real ones do, and misbehaves as asked."""

from __future__ import annotations

import mmap
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import unquote, urlsplit

Content = mmap.mmap | bytes
Fault = Callable[["Handler", Content, int, int], None]
"""Answers instead of the server: with the content of the file, and the range asked for."""


@dataclass(slots=True)
class FileServer:
    """Files below a folder, and how they are given."""

    folder: Path
    faults: dict[int, Fault] = field(default_factory=dict)
    """By the number of the request, from 0."""
    every: Fault | None = None
    """Answers every request."""
    delay_s: float = 0.0
    """Before each answer."""
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    """Path, and bytes from and to, of each."""
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    lock: Lock = field(default_factory=Lock)

    @property
    def nbytes(self) -> int:
        """Asked for so far."""
        return sum(stop - start for _, start, stop in self.requests)

    def answer(self, handler: Handler) -> None:
        """Answer a request."""
        path = unquote(urlsplit(handler.path).path).lstrip("/")
        file = self.folder / path
        if not file.is_file():
            status(404)(handler, b"", 0, 0)
            return
        with file.open("rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            handler.tag = f"{os.fstat(opened.fileno()).st_mtime_ns:x}"
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        last = int(match[2] or len(content)) if match else len(content)
        start, stop = int(match[1]) if match else 0, min(last + 1, len(content))
        with self.lock:
            number = len(self.requests)
            self.requests.append((path, start, stop))
            self.headers.append(dict(handler.headers))
        time.sleep(self.delay_s)
        (self.faults.get(number) or self.every or give)(handler, content, start, stop)


class Handler(BaseHTTPRequestHandler):
    """Of one connection."""

    protocol_version = "HTTP/1.1"
    files: FileServer
    tag = ""
    """Of the file that was asked for last."""

    def do_GET(self) -> None:
        """Answer."""
        self.files.answer(self)

    def do_HEAD(self) -> None:
        """Answer without content, as GDAL asks."""
        file = self.files.folder / unquote(urlsplit(self.path).path).lstrip("/")
        self.files.requests.append((file.name, 0, 0))
        self.send_response(200 if file.is_file() else 404)
        self.send_header("Content-Length", str(file.stat().st_size if file.is_file() else 0))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(server: FileServer) -> Iterator[FileServer]:
    """Run it on a free port."""
    handler = type("Bound", (Handler,), {"files": server})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def give(handler: Handler, content: Content, start: int, stop: int) -> None:
    """A range as it should be."""
    if start >= len(content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    _head(handler, content, start, stop, stop - start)
    handler.wfile.write(content[start:stop])


def _head(handler: Handler, content: Content, start: int, stop: int, length: int) -> None:
    handler.send_response(206 if "Range" in handler.headers else 200)
    handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
    handler.send_header("Content-Length", str(length))
    handler.send_header("ETag", f'"{handler.tag}"')
    handler.end_headers()


def status(code: int, **headers: str) -> Fault:
    """A status without a file."""

    def answer(handler: Handler, content: Content, start: int, stop: int) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "5")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(b"fault")

    return answer


def cut(handler: Handler, content: Content, start: int, stop: int) -> None:
    """Half of what is promised."""
    _head(handler, content, start, stop, stop - start)
    handler.wfile.write(content[start : (start + stop) // 2])
    handler.close_connection = True


def shorter(handler: Handler, content: Content, start: int, stop: int) -> None:
    """Fewer bytes than were asked for, as if that were all."""
    _head(handler, content, start, stop - 10, stop - start - 10)
    handler.wfile.write(content[start : stop - 10])


def another(handler: Handler, content: Content, start: int, stop: int) -> None:
    """Another range than was asked for."""
    _head(handler, content, start + 1, stop, stop - start - 1)
    handler.wfile.write(content[start + 1 : stop])


def whole(handler: Handler, content: Content, start: int, stop: int) -> None:
    """All of it, whatever was asked for."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    try:
        handler.wfile.write(content[:])
    except OSError:
        handler.close_connection = True


def slow(handler: Handler, content: Content, start: int, stop: int) -> None:
    """A byte now and then."""
    _head(handler, content, start, stop, stop - start)
    try:
        for position in range(start, stop):
            handler.wfile.write(content[position : position + 1])
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        handler.close_connection = True


def hang_up(handler: Handler, content: Content, start: int, stop: int) -> None:
    """Nothing at all."""
    handler.close_connection = True
