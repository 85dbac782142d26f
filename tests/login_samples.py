"""What the tests of logins share: a home folder of their own, a site file, hpckit's command line, a person."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hpckit.sites.site import Site, load_site

# Works before and after the command is listed in hpckit.cli.
_MAIN = (
    "import sys; from hpckit import cli; "
    "cli._COMMANDS.setdefault('Site', {})['login'] = ('hpckit.cli.login:login', ''); cli.main(sys.argv[1:])"
)


@contextmanager
def short_home() -> Iterator[Path]:
    """A home folder with a path short enough for sockets."""
    home = Path(tempfile.mkdtemp(prefix="hl-", dir="/tmp"))
    (home / ".ssh").mkdir(mode=0o700)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def write_site(path: Path, name: str = "delena", scheduler: str = "slurm", **login: object) -> Site:
    """Write a site file with a login section."""
    facts = {"host": "delena.example", "user": "sram-{co}-{uid}", "federation": "sram", "service": "hpc", **login}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": name, "scheduler": scheduler, "login": facts}))
    return load_site(path)


def hpckit(*words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", _MAIN, *words],
        env=_environment(home, environment),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        timeout=120,
        check=False,
    )


class Person:
    """Somebody at a terminal, who reads and types."""

    def __init__(self, words: Sequence[str], home: Path) -> None:
        self.seen = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execve(sys.executable, [sys.executable, "-c", _MAIN, *words], _environment(home, {}))

    def expect(self, text: str, timeout_s: float = 30) -> None:
        """Read until a text is there."""
        limit = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < limit, f"{text!r} did not come:\n{self.seen}"
            assert self._read(0.2) is not None, f"ended without {text!r}:\n{self.seen}"

    def type(self, line: str) -> None:
        """Type a line; what was seen before is forgotten."""
        self.seen = ""
        os.write(self._terminal, f"{line}\n".encode())

    def finish(self, timeout_s: float = 30) -> int:
        """Wait for the end and give the exit code."""
        limit = time.monotonic() + timeout_s
        # The end of the process, not of the terminal: ssh's helper for jump hosts stays with that.
        while not (ended := os.waitpid(self._pid, os.WNOHANG))[0]:
            self._read(0.1)
            if time.monotonic() > limit:
                os.kill(self._pid, signal.SIGKILL)
        while self._read(0):
            pass
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(ended[1])

    def _read(self, wait_s: float) -> bool | None:
        """Whether something was read; None at the end."""
        if not select.select([self._terminal], [], [], wait_s)[0]:
            return False
        with suppress(OSError):
            if data := os.read(self._terminal, 4096):
                self.seen += data.decode(errors="replace")
                return True
        return None


def _environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    dropped = ("SSH_", "HPCKIT_", "XDG_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "HOME": str(home), "TERM": "dumb", **more}
