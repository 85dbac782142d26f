"""The server process of the PBS stand-in: takes commands from a socket and looks after jobs in between."""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import socket
import sys
import traceback
from pathlib import Path
from typing import Final

from tests.servers.pbs.commands import COMMANDS, Answer, RefusedError, Request
from tests.servers.pbs.daemon import Daemon
from tests.servers.pbs.qstat import qstat
from tests.servers.pbs.qsub import qsub

_COMMANDS: Final = {"qsub": qsub, "qstat": qstat, **COMMANDS}
_BUSY_S: Final = 0.02
_IDLE_S: Final = 0.2
_CLIENT_S: Final = 10


def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    daemon = Daemon(folder, json.loads((folder / "settings.json").read_text()))
    os.chdir(folder)
    Path("socket").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    listener.listen(64)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        busy, open_input = False, True
        while open_input:
            for key, _ in selector.select(_BUSY_S if busy else _IDLE_S):
                if key.fileobj is listener:
                    _talk(daemon, listener)
                else:
                    open_input = bool(os.read(sys.stdin.fileno(), 1))
            busy = daemon.work()
    Path("socket").unlink()
    daemon.stop()


def _talk(daemon: Daemon, listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(_CLIENT_S)
        try:
            with connection.makefile("rb") as incoming:
                request = Request(**json.loads(incoming.read()))
            connection.sendall(json.dumps(dataclasses.asdict(_answer(daemon, request))).encode())
        except (OSError, ValueError):
            # A client that was killed half-way harms nobody else.
            traceback.print_exc()


def _answer(daemon: Daemon, request: Request) -> Answer:
    try:
        return _COMMANDS[request.argv[0]](daemon, request)
    except RefusedError as error:
        return Answer(stderr=str(error), code=error.code)
    except Exception:
        text = f"{request.argv[0]}: the stand-in failed\n{traceback.format_exc()}"
        sys.stderr.write(text)
        return Answer(stderr=text, code=254)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
