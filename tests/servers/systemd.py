"""A real systemd with logind for tests: the first process of namespaces of its own, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

_BOOT: Final = Path(__file__).with_name("systemd.sh")
_NEEDED: Final = ("/lib/systemd/systemd", "/lib/systemd/systemd-logind", "/usr/bin/dbus-daemon")
_START_S: Final = 60


class Systemd:
    """A systemd where root has logged in: its user manager runs.

    Parameters
    ----------
    home : Path
        Root's home folder there.

    Raises
    ------
    FileNotFoundError
        If systemd or its bus is not installed.
    PermissionError
        If this is not root.
    """

    def __init__(self, home: Path) -> None:
        missing = [path for path in _NEEDED if not Path(path).exists()]
        if missing:
            raise FileNotFoundError(f"{missing[0]} is not installed (Debian: systemd, dbus)")
        if os.getuid() != 0:
            raise PermissionError("only root can start a systemd of its own")
        self.home = home
        self.folder = Path(tempfile.mkdtemp(prefix="hpckit-systemd-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def start(self) -> Systemd:
        """Start it, and log in; return this."""
        with (self.folder / "log").open("wb") as log:
            python = " ".join({sys.prefix, sys.base_prefix})
            words = ["unshare", "-mpiuC", "--fork", "sh", str(_BOOT), str(self.folder), str(self.home), python]
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_S
        while not self._first or self.run("systemctl", "start", "user@0.service").returncode != 0:
            if time.monotonic() > end or self._process.poll() is not None:
                said = (self.folder / "log").read_text(errors="replace")[-1000:]
                self.stop()
                raise RuntimeError(f"systemd does not start: {said}")
            time.sleep(0.1)
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            self._first = int(children[0]) if children else 0
        return self

    def entering(self, program: str) -> list[str]:
        """Words that start a program in its namespaces, as root after a login."""
        session = ["env", "XDG_RUNTIME_DIR=/run/user/0", "HOME=/root", "USER=root"]
        return ["nsenter", "-t", str(self._first), "-m", "-p", "-i", "-u", "-C", *session, program]

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program there."""
        return subprocess.run([*self.entering(program), *words], capture_output=True, text=True, check=False)

    def stop(self) -> None:
        """End all of its processes at once."""
        if self._process is not None:
            if self._first:
                os.kill(self._first, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait(timeout=_START_S)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)
