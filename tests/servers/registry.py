"""An OCI registry of one's own, for tests: Debian's `docker-registry` on loopback, gone afterwards."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

USER: Final = "eo"
PASSWORD: Final = "secret"
_HASH: Final = "$2b$05$GmXIbtnPWK5e0mYcwVb1MuFTahlcO45YIe4kR8PWYhBoYcHvAqktK"
"""The password by bcrypt."""
_START_S: Final = 20


class Registry:
    """A registry without TLS in a temporary folder.

    Parameters
    ----------
    closed : bool
        Whether it wants USER and PASSWORD.

    Raises
    ------
    FileNotFoundError
        If the program is missing.
    """

    def __init__(self, *, closed: bool = False) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            raise FileNotFoundError("docker-registry is not installed")
        self._program = program
        self._closed = closed
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="hpckit-registry-", dir="/tmp"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> Registry:
        """Start it, and wait until it answers."""
        settings = self.folder / "config.json"
        settings.write_text(json.dumps(self._settings()))  # YAML holds JSON
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen([self._program, "serve", settings], stdout=log, stderr=log)
        end = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                said = (self.folder / "log").read_text()[-500:]
                self.__exit__()
                raise RuntimeError(f"the registry does not start: {said}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and delete all that it holds."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settings(self) -> dict[str, object]:
        (self.folder / "passwords").write_text(f"{USER}:{_HASH}\n")
        lock = {"auth": {"htpasswd": {"realm": "eo", "path": str(self.folder / "passwords")}}}
        return {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": {"addr": self.host},
            **(lock if self._closed else {}),
        }

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.host}/v2/", timeout=1).close()
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
        return True
