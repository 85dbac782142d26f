"""The openEO Web Editor on loopback, from a folder that was built from its sources."""

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

VARIABLE = "HPCKIT_OPENEO_EDITOR"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to the output of the tests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Windows that close leave requests behind."""


def require_editor() -> Path:
    """Folder with the editor; the test is skipped where there is none."""
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"{VARIABLE} does not name a built openEO Web Editor (its folder dist)")
    folder = Path(named)
    if not (folder / "index.html").exists():
        pytest.fail(f"{VARIABLE}: {folder} holds no index.html")
    return folder


@contextmanager
def web_editor() -> Iterator[str]:
    """The editor while the block runs; yields its address without a slash at its end."""
    handler = partial(_Quiet, directory=str(require_editor()))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
