"""The follower: one process that starts, watches and ends the runs of all jobs, and writes what became of them.

`python -m hpckit.serve.openeo.follower FOLDER --poll SECONDS`

The gateway starts it and holds its standard input; a line there, the id of a job, means that its owner wants
something new. It may be killed at any time: what it had begun stands in the folders of jobs and in their runs.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import select
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from hpckit.base.claims import hold
from hpckit.errors import BusyError, HpckitError
from hpckit.serve.openeo import advance
from hpckit.serve.openeo.expiring import ends_at, remove_results
from hpckit.serve.openeo.jobfolder import BUSY, JobFolder, folders, tidy

_AT_ONCE: Final = 4
"""Jobs that are submitted, ended or indexed at a time."""
_SOON_S: Final = 0.5
_LEAST_POLL_S: Final = 2.0
_GROWTH: Final = 1.3
LOCK: Final = "follower.lock"
_LOG: Final = logging.getLogger("hpckit.serve.openeo")


def main() -> None:
    """Follow until standard input ends."""
    parser = argparse.ArgumentParser(prog="follower", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--poll", type=float, default=15.0)
    parser.add_argument("--result-days", type=float, default=None)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, format="hpckit: follower: %(message)s", level=logging.WARNING)
    while True:
        try:
            with hold(arguments.folder / LOCK, "the jobs of this server"):
                tidy(arguments.folder)
                Follower(arguments.folder, arguments.poll, arguments.result_days).run()
            return
        except BusyError:  # of a server that was killed, whose last steps are not done yet
            if not _wait_for_input(1.0):
                return


class Follower:
    """Looks after all jobs of a folder.

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
        self._result_days = result_days
        self._ends: dict[str, tuple[int, float]] = {}
        """Of jobs that rest, the wish that is fulfilled and when their results end."""
        self._poll_s = poll_s
        self._interval_s = min(_LEAST_POLL_S, poll_s)
        self._asked = 0.0
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="errand")
        self._errands: dict[str, Future[None]] = {}
        self._quiet: dict[str, int] = {}
        """Jobs that rest, with the number of the wish that is fulfilled."""

    def run(self) -> None:
        """Look after jobs until standard input ends; errands that have begun are finished."""
        try:
            while _wait_for_input(self._pause_s()):
                self.look()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def look(self) -> None:
        """Do what there is to do now."""
        self._collect()
        free = [job for job in folders(self.folder) if job.id not in self._errands]
        idle = [job for job in free if not self._rests(job)]
        for job in free:
            if self._has_ended(job):
                self._send(job, self._remove)
        watched = []
        for job in idle:
            if advance.is_wish_open(job):
                self._send(job, advance.fulfil)
            else:
                watched.append(job)
        if watched and time.monotonic() - self._asked >= self._interval_s:
            self._asked = time.monotonic()
            self._watch(watched)

    def _watch(self, watched: Sequence[JobFolder]) -> None:
        changed = False
        for group in advance.by_site(watched):
            for job, is_over in advance.observe(group):
                changed = True
                if is_over:
                    self._send(job, advance.conclude)
        self._interval_s = min(_LEAST_POLL_S if changed else self._interval_s * _GROWTH, self._poll_s)

    def _rests(self, job: JobFolder) -> bool:
        """Whether nothing is to be done for a job, as far as its files say."""
        try:
            wanted = job.wanted()
            if wanted is None or self._quiet.get(job.id) == wanted.number:
                return True
            state = job.state()
        except (OSError, ValueError):
            return True  # being removed, or not to be read at the moment
        if state is None or state.number != wanted.number or state.status in BUSY:
            return False
        self._quiet[job.id] = wanted.number
        return True

    def _has_ended(self, job: JobFolder) -> bool:
        """Whether the results of a job that rests are to be removed."""
        number = self._quiet.get(job.id)
        if self._result_days is None or number is None:
            return False
        if self._ends.get(job.id, (0, 0.0))[0] != number:
            state = job.state()
            end = None if state is None or state.expired else ends_at(state, self._result_days)
            self._ends[job.id] = number, math.inf if end is None else end
        return time.time() >= self._ends[job.id][1]

    def _remove(self, job: JobFolder) -> None:
        assert self._result_days is not None
        self._ends.pop(job.id, None)
        remove_results(job, self._result_days, time.time())

    def _send(self, job: JobFolder, errand: advance.Errand) -> None:
        self._interval_s = min(_LEAST_POLL_S, self._poll_s)
        self._errands[job.id] = self._pool.submit(_done, errand, job)

    def _collect(self) -> None:
        self._errands = {name: errand for name, errand in self._errands.items() if not errand.done()}

    def _pause_s(self) -> float:
        if self._errands:
            return _SOON_S
        return max(_SOON_S, min(self._interval_s, self._asked + self._interval_s - time.monotonic()))


def _done(errand: advance.Errand, job: JobFolder) -> None:
    """Do an errand; a fault that passes lets it be tried again at the next look."""
    try:
        errand(job)
    except FileNotFoundError:
        if job.path.exists():
            _LOG.exception("%s", job.id)
    except (HpckitError, OSError) as error:
        _LOG.warning("%s: %s", job.id, error)
        time.sleep(_LEAST_POLL_S)
    except Exception as error:
        _LOG.exception("%s", job.id)
        advance.give_up(job, error)


def _wait_for_input(seconds: float) -> bool:
    """Wait for a line, or for some time; False once standard input has ended."""
    ready, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
    return not ready or bool(os.read(sys.stdin.fileno(), 65_536))


if __name__ == "__main__":
    main()
