"""`hpckit serve` on loopback, in a thread of the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep

import uvicorn

from hpckit.api import QUIET
from hpckit.serve.app import build
from hpckit.serve.service import Service, open_service
from hpckit.serve.settings import Settings


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, Service]]:
    """Serve while the block lasts; gives the address and the service."""
    service = open_service(settings, QUIET)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build(service), log_level="error", access_log=False, lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    end = monotonic() + 30
    while not server.started and monotonic() < end:
        sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", service
    finally:
        server.should_exit = True
        thread.join(10)
        service.close()
        listener.close()
