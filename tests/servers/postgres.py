"""A PostgreSQL server of one's own, for tests and benchmarks: real, local, gone afterwards."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

_START_S = 60


class PostgresServer:
    """A server with a fresh cluster in a temporary folder, reached by a socket in it.

    PostgreSQL refuses to run as root; then it runs as the user `postgres`, or `nobody`.

    Parameters
    ----------
    settings : dict of str, optional
        Settings of postgresql.conf.

    Raises
    ------
    FileNotFoundError
        If PostgreSQL is not installed.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self._bin = _find_binaries()
        self._settings = {"listen_addresses": "", "shared_buffers": "256MB", **(settings or {})}
        self._port = self._settings.get("port", "5432")
        # Not below a private temporary folder: another user must be able to enter it.
        self.folder = Path(tempfile.mkdtemp(prefix="hpckit-pg-", dir="/tmp"))
        self._as_user: dict[str, Any] = _unprivileged(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "hpckit", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def dsn(self, database: str = "hpckit", user: str = "hpckit") -> str:
        """Connection string of a database."""
        port = "" if self._port == "5432" else f"&port={self._port}"
        return f"postgresql://{user}@/{database}?host={self.folder}{port}"

    def start(self) -> PostgresServer:
        """Start the server and wait until it answers."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-k", str(self.folder), *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._as_user,
            )
        self._wait()
        return self

    def stop(self, *, immediately: bool = False) -> None:
        """Stop the server; `immediately` without a checkpoint, as after a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    def create_database(self, name: str) -> str:
        """Make an empty database and return its connection string."""
        self._run("createdb", "-h", str(self.folder), "-p", self._port, "-U", "hpckit", name)
        return self.dsn(name)

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self.stop(immediately=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        limit = time.monotonic() + _START_S
        command = [str(self._bin / "pg_isready"), "-q", "-h", str(self.folder)]
        command += ["-p", self._port, "-d", "postgres"]
        while subprocess.run(command, check=False).returncode != 0:
            if time.monotonic() > limit or (self._process is not None and self._process.poll() is not None):
                raise RuntimeError("PostgreSQL does not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            **self._as_user,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr[-2000:]}")


def _find_binaries() -> Path:
    """Newest installed PostgreSQL server: Debian keeps `postgres` off the PATH."""
    found = shutil.which("postgres")
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))  # noqa: PTH207
    candidates = [Path(path) for path in reversed(folders)] + ([Path(found).resolve().parent] if found else [])
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise FileNotFoundError("no PostgreSQL server is installed (Debian: postgresql-15-postgis-3)")


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Arguments for `subprocess` that drop root's rights, and a folder that the other user owns."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
