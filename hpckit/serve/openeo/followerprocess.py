"""The follower as a process of the gateway: started when there is something to follow, and again when it dies."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from hpckit.serve.openeo.jobfolder import folders

_LOG: Final = logging.getLogger("hpckit.serve.openeo")
_AGAIN_S: Final = 1.0
_LONGEST_AGAIN_S: Final = 60.0
_ENDING_S: Final = 10.0


class FollowerProcess:
    """Starts and wakes the follower.

    Parameters
    ----------
    folder : Path
        Of the jobs.
    poll_s : float
        Longest time between two queries of the scheduler.
    result_days : float, optional
        Days after which results are removed; they stay if it is not given.
    """

    def __init__(self, folder: Path, poll_s: float, result_days: float | None = None) -> None:
        self.folder = folder
        self._poll_s = poll_s
        self._result_days = result_days
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Identifier of the process; None if it was never started."""
        return None if self._process is None else self._process.pid

    def start_if_needed(self) -> None:
        """Start it if there are jobs that were started once."""
        if any((item.path / "wanted.json").exists() for item in folders(self.folder)):
            self.wake("")

    def wake(self, job: str) -> None:
        """Tell it that the owner of a job wants something new; start it if it does not run."""
        with self._lock:
            if self._is_closed:
                return
            if self._process is None:
                self._start()
                threading.Thread(target=self._keep, daemon=True).start()
            else:
                self._write(job)

    def close(self) -> None:
        """End it in good order: what was submitted goes on."""
        with self._lock:
            self._is_closed = True
            process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [str(self.folder.absolute()), "--poll", str(self._poll_s)]
        if self._result_days is not None:
            words += ["--result-days", str(self._result_days)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hpckit.serve.openeo.follower", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
        )

    def _write(self, job: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(f"{job}\n".encode())
        except OSError:
            return  # it has died; the next one looks at all jobs

    def _keep(self) -> None:
        """Start it again when it dies; less and less often, if it dies at once."""
        pause = _AGAIN_S
        while True:
            process, begun = self._process, time.monotonic()
            if process is None:
                return
            code = process.wait()
            with self._lock:
                if self._is_closed:
                    return
            _LOG.warning("the follower of jobs ended with code %s, and is started again", code)
            pause = _AGAIN_S if time.monotonic() - begun > _LONGEST_AGAIN_S else min(2 * pause, _LONGEST_AGAIN_S)
            time.sleep(pause)
            with self._lock:
                if self._is_closed:
                    return
                self._start()
