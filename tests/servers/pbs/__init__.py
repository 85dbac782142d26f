"""A stand-in for OpenPBS, for tests: its commands, answering and refusing as 23.06.06 does, running real processes.

It is strict: what OpenPBS refuses is refused with the same exit code and message, what it accepts and never
runs waits for ever, and an array's Exit_status is whatever subjob ended last, as there. It is no PBS: one host,
no accounts, no hooks, no reservations, no `-I`, `-a`, `-u`.

    with PbsServer(tmp_path / "pbs", queues={"workq": {"resources_max.walltime": "01:00:00"}}) as server:
        answer = server.run("qsub", "-J", "0-3", "work.sh")
        server.wait()
"""

from __future__ import annotations

import atexit
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_COMMANDS: Final = ("qsub", "qstat", "qdel", "qhold", "qrls", "qrerun", "qmgr", "pbsnodes", "lose")
_LIMITS: Final = ("resources_max.", "resources_min.", "resources_default.")
_SWITCHES: Final = ("enabled", "started", "max_array_size")
_START_S: Final = 20
_CLIENT: Final = '''#!{python} -IS
"""Hands a command line of {command} to the stand-in's server and prints its answer."""
import json, os, socket, sys

def ask(stdin):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("socket")
    request = {{"argv": ["{command}", *sys.argv[1:]], "cwd": cwd, "env": dict(os.environ), "stdin": stdin}}
    connection.sendall(json.dumps(request).encode())
    connection.shutdown(socket.SHUT_WR)
    return json.load(connection.makefile())

cwd = os.environ.get("PWD", "")
if not (cwd and os.path.isdir(cwd) and os.path.samefile(cwd, ".")):
    cwd = os.getcwd()
try:
    os.chdir({folder!r})  # the path of a socket may have 107 characters at most
    answer = ask(None)
    if answer["wants_stdin"]:
        answer = ask(sys.stdin.buffer.read().decode(errors="surrogateescape"))
except OSError:
    sys.stderr.write("Connection refused\\n{command}: cannot connect to server {name} (errno=111)\\n")
    sys.exit(111)
sys.stdout.buffer.write(answer["stdout"].encode(errors="surrogateescape"))
sys.stderr.buffer.write(answer["stderr"].encode(errors="surrogateescape"))
sys.exit(answer["code"])
'''


class PbsServer:
    """Commands in `folder/bin` and the server behind them.

    Parameters
    ----------
    folder : Path
        Made where it is missing; holds state, spool and node files. A server started again in it has its history.
    queues : mapping, optional
        Limits by queue, in the words of qmgr (`resources_max.walltime`, `resources_default.mem`,
        `max_array_size`, `enabled`, …); the first is the default queue. One queue `workq` if left out.
    ncpus : int
        Cores of the host; jobs run within them.
    max_array_size : int
        Subjobs that an array may have.
    history : bool
        `job_history_enable`, which is off unless an admin sets it: then jobs that ended are unknown, and `qstat -x`
        is refused for all jobs, with exit code 0.
    name : str
        Name of server and host.
    mem_kb : int, optional
        Memory of the host; that of this machine if left out.
    kill_delay_s : float
        Time between SIGTERM and SIGKILL.
    home : Path, optional
        Where jobs start, and their HOME; the user's own if left out. Its profile is read by each job.
    resources : mapping, optional
        Further resources that qsub knows, by kind: `long`, `size`, `time` or `text`.
    max_queued : int, optional
        Jobs and elements that a user may have in the queues.

    Attributes
    ----------
    env : dict of str
        PATH that finds the commands first.
    """

    def __init__(
        self,
        folder: Path,
        queues: Mapping[str, Mapping[str, object]] | None = None,
        ncpus: int = 8,
        max_array_size: int = 10000,
        history: bool = True,
        *,
        name: str = "vm",
        mem_kb: int | None = None,
        kill_delay_s: float = 10,
        home: Path | None = None,
        resources: Mapping[str, str] | None = None,
        max_queued: int | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.name = name
        self._settings: dict[str, Any] = {
            "name": name,
            "queues": {queue: _limits(limits) for queue, limits in (queues or {"workq": {}}).items()},
            "ncpus": ncpus,
            "mem_kb": mem_kb or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024,
            "max_array_size": max_array_size,
            "history": history,
            "kill_delay_s": kill_delay_s,
            "home": str(home) if home else "",
            "resources": dict(resources or {}),
            "max_queued": max_queued,
        }
        self.env = {"PATH": f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PbsServer:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> PbsServer:
        """Write the commands, start the server and wait until it answers."""
        (self.folder / "bin").mkdir(parents=True, exist_ok=True)
        for command in _COMMANDS:
            path = self.folder / "bin" / command
            path.write_text(
                _CLIENT.format(python=sys.executable, command=command, folder=str(self.folder), name=self.name)
            )
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        (self.folder / "settings.json").write_text(json.dumps(self._settings))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.pbs.serve", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        atexit.register(self.stop)
        self._wait_for_answer(self._process)
        return self

    def stop(self) -> None:
        """Kill all jobs and end the server; files stay. Commands then say that they cannot connect."""
        atexit.unregister(self.stop)
        if self._process is None:
            return
        # The server ends when its standard input does, so also when this process is killed.
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=_START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def run(
        self,
        *command: str,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a client command."""
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            env={**os.environ, **self.env, **(env or {})},
            capture_output=True,
            text=True,
            check=check,
            cwd=cwd,
            input=stdin,
        )

    def lose(self, *ids: str) -> None:
        """Let the server lose the node of jobs: it starts them once more, while what ran there goes on."""
        self.run("lose", *ids)

    def attributes(self, *ids: str) -> dict[str, dict[str, str]]:
        """Attributes of jobs (all, if none is named) with their subjobs, as `qstat -x -f -w -t` prints them.

        Without history only of those that are not over.
        """
        found: dict[str, dict[str, str]] = {}
        words = ["-x", "-f", "-w", "-t"] if self._settings["history"] else ["-f", "-w", "-t"]
        for line in self.run("qstat", *words, *ids, check=self._settings["history"]).stdout.splitlines():
            if line.startswith("Job Id: "):
                values = found.setdefault(line.removeprefix("Job Id: "), {})
            elif line:
                name, _, value = line.strip().partition(" = ")
                values[name] = value
        return found

    def wait(self, *ids: str, timeout_s: float = 60) -> dict[str, dict[str, str]]:
        """Wait until the jobs (all, if none is named) are over; their attributes, where there is a history."""
        limit = time.monotonic() + timeout_s
        while True:
            found = self.attributes(*ids)
            if all(values["job_state"] == "F" for values in found.values()):
                return found
            if time.monotonic() > limit:
                states = {identifier: values["job_state"] for identifier, values in found.items()}
                raise TimeoutError(f"not over after {timeout_s} s: {states}")
            time.sleep(0.05)

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        limit = time.monotonic() + _START_S
        while self.run("qstat", check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the server does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)


def _limits(limits: Mapping[str, object]) -> dict[str, str]:
    for name in limits:
        if name not in _SWITCHES and not name.startswith(_LIMITS):
            raise ValueError(f"queues have no limit {name!r} here; known are {(*_LIMITS, *_SWITCHES)}")
    return {name: str(value) for name, value in limits.items()}
