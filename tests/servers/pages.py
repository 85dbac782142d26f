"""Web applications of others on loopback, from folders that were built from their sources."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to the output of the tests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Windows that close leave requests behind."""


def require_pages(variable: str, what: str) -> Path:
    """Folder that an environment variable names; the test is skipped where there is none."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} does not name a built {what} (its folder dist)")
    folder = Path(named)
    if not (folder / "index.html").exists():
        pytest.fail(f"{variable}: {folder} holds no index.html")
    return folder


@contextmanager
def serving_pages(folder: Path) -> Iterator[str]:
    """The pages while the block runs; yields their address without a slash at its end."""
    handler = partial(_Quiet, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
