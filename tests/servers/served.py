"""`hpckit serve` in a thread of the tests, on a free port of this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from hpckit.base.console import Console
from hpckit.serve.app import build
from hpckit.serve.service import Service, open_service
from hpckit.serve.settings import Settings


@contextmanager
def serving(settings: Settings, service: Service | None = None) -> Iterator[str]:
    """Serve while the block runs; yields the address without a slash at its end."""
    service = service or open_service(settings, Console(quiet=True))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(build(service), log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive() and time.monotonic() < deadline, "the server does not start"
                time.sleep(0.02)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}{settings.prefix}"
        finally:
            server.should_exit = True
            thread.join(10)
            service.close()
