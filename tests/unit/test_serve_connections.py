"""Clients that open connections and send no request, or never the end of one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from hpckit.serve import connections
from hpckit.serve.connections import PatientProtocol
from tests.waiting import until

pytestmark = pytest.mark.slow


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = b""
    while scope["path"] == "/echo":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_WAITING_PLACES", 20)


@pytest.fixture
def place() -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=PatientProtocol, lifespan="off", log_config=None, limit_concurrency=30, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(20)
    listener.close()


def asked(place: tuple[str, int], path: str = "/", body: bytes = b"") -> bytes:
    with socket.create_connection(place, timeout=5) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode() + body)
        found = b""
        while part := client.recv(65536):
            found += part
    return found


def is_over(client: socket.socket) -> bool:
    client.settimeout(0.01)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_there_is_place_for_others_though_many_wait(place):
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(place, timeout=5)) for _ in range(60)]
        for client in slow[-10:]:
            client.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert asked(place).startswith(b"HTTP/1.1 200"), "uvicorn alone answers 503 from 30 on"
        assert not is_over(slow[-1]), "the newest ones may still send their request"
        slow[-1].sendall(b" x\r\n\r\n")
        slow[-1].settimeout(5)
        assert slow[-1].recv(12) == b"HTTP/1.1 200"
        assert is_over(slow[0]), "those that have waited longest make place"


def test_the_head_of_a_request_has_a_time(place, monkeypatch):
    monkeypatch.setattr(connections, "_HEAD_S", 0.4)
    with socket.create_connection(place, timeout=5) as client:
        started = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        while not is_over(client) and time.monotonic() < started + 10:
            try:
                client.sendall(b"X")  # bytes that come do not buy time
            except OSError:
                break
            time.sleep(0.05)
        assert 0.3 < time.monotonic() - started < 5
    with socket.create_connection(place, timeout=5) as client:
        until(lambda: is_over(client), 5, "for the end of one that says nothing")


def test_a_connection_is_used_again(place, monkeypatch):
    monkeypatch.setattr(connections, "_HEAD_S", 1.5)
    with socket.create_connection(place, timeout=5) as client:
        for _ in range(4):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)


def test_a_head_has_a_size_and_a_body_its_own(place):
    whole = bytes(range(256)) * 2000
    assert asked(place, "/echo", whole).endswith(whole)
    with socket.create_connection(place, timeout=5) as client:
        sent = 0
        client.sendall(b"GET / HTTP/1.1\r\n")
        try:
            while sent < 2**26:
                client.sendall(b"X-Y: " + b"y" * 8000 + b"\r\n")
                sent += 8000
        except OSError:
            pass
        assert sent < 2**26


def test_uvicorn_has_what_is_built_on():
    for name in ("connection_made", "data_received", "on_response_complete", "connection_lost"):
        assert callable(getattr(AutoHTTPProtocol, name)), name
