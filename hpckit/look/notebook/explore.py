"""The viewer of `hpckit serve` in a notebook: a server for each campaign and kernel, and a frame that shows it.

The server is a process on 127.0.0.1 that ends with the pipe from this one, however the kernel ends. Each time that
the frame is shown, it gives another address, which opens one session.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hpckit.errors import HpckitError

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign

_HUB: Final = "JUPYTERHUB_SERVICE_PREFIX"
_PAGES: Final = tuple(f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1"))
"""Where notebooks of this machine are."""
_TRIES: Final = 3
_END_S: Final = 10

_running: dict[tuple[Path, str | None], _Server] = {}
_lock: Final = Lock()


@dataclass(frozen=True, slots=True)
class Explorer:
    """The viewer of a campaign; a notebook shows it by itself."""

    _server: _Server
    height_px: int

    @property
    def address(self) -> str:
        """A new address of the viewer; it works once, in one browser."""
        return self._server.address()

    def stop(self) -> None:
        """End the server; without this, it ends with the kernel."""
        self._server.stop()

    def _repr_html_(self) -> str:
        parts = urlsplit(self.address)
        path = f"{parts.path}?{parts.query}"
        name = f"hpckit-{secrets.token_hex(6)}"
        look = f"width:100%;height:{self.height_px}px;border:1px solid rgba(128,128,128,.4);border-radius:4px"
        frame = f'<iframe id="{name}" title="hpckit" style="{look}" allow="clipboard-write"'
        if self._server.is_proxied:
            return f'{frame} src="{escape(path)}"></iframe>'
        # By the name that the page has: a browser keeps no session in a frame of another site.
        script = (
            f"(() => {{ const frame = document.getElementById({json.dumps(name)});"
            " const host = location.hostname === 'localhost' ? 'localhost' : '127.0.0.1';"
            f" frame.src = `http://${{host}}:{parts.port}` + {json.dumps(path)}; }})()"
        )
        return f"{frame}></iframe><script>{script}</script>"


class _Server:
    """A server as a process that ends with this one."""

    def __init__(self, campaign: Path, proxy: str | None) -> None:
        self.is_proxied = proxy is not None
        self._lock = Lock()
        for last in range(_TRIES):
            port = _free_port()
            prefix = f"/{secrets.token_hex(4)}" if proxy is None else f"{proxy.rstrip('/')}/proxy/absolute/{port}"
            with tempfile.TemporaryFile("w+") as told:
                self._process = _start(campaign, port, prefix, told, frames=() if self.is_proxied else _PAGES)
                self._first: str | None = self._read()
                if self._first:
                    return
                self._process.wait()
                told.seek(0)
                text = told.read().strip()
            if "cannot listen" not in text or last == _TRIES - 1:
                raise HpckitError(f"the viewer did not start: {text or 'it said nothing'}")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def address(self) -> str:
        """The address that it gave when it started, or a new one."""
        with self._lock:
            first, self._first = self._first, None
            if first is not None:
                return first
            try:
                pipe = self._process.stdin
                assert pipe is not None
                pipe.write("\n")
                pipe.flush()
                found = self._read()
            except (OSError, ValueError):  # its end of the pipe is closed, or ours
                found = ""
            if not found:
                raise HpckitError("the viewer has ended", hint="call `explore` again")
            return found

    def stop(self) -> None:
        """Close the pipe, and wait for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def explore(campaign: Campaign, *, height_px: int = 720, proxy: str | None = None) -> Explorer:
    """Show the viewer in a notebook; one server for each campaign, until the kernel ends.

    Parameters
    ----------
    height_px : int
        Height of the frame.
    proxy : str, optional
        Path of the notebook's server, where jupyter-server-proxy passes requests on: `/`, `/user/anna/`. Taken from
        JupyterHub if not given; without it, the browser must run on this machine.

    Raises
    ------
    HpckitError
        If the server does not start, for example because its packages are missing.
    """
    proxy = proxy if proxy is not None else os.environ.get(_HUB)
    key = (campaign.path.absolute(), proxy)
    with _lock:
        server = _running.get(key)
        if server is None or not server.is_alive:
            server = _running[key] = _Server(*key)
    return Explorer(server, height_px)


def _start(
    campaign: Path, port: int, prefix: str, told: IO[str], *, frames: tuple[str, ...]
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hpckit", "serve", "run", str(campaign), "--attached"]
    command += ["--listen", f"127.0.0.1:{port}", "--prefix", prefix]
    command += [part for frame in frames for part in ("--frames", frame)]
    # In a session of its own, so that an interrupt of the kernel does not reach it.
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, text=True, start_new_session=True
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
