"""Worker processes on this machine: units are handed out one by one, and a process that dies takes only its own.

The driver hands out a unit whenever a worker asks for one, over a pipe of that worker alone, so that a
process killed at any moment leaves no lock behind. A worker that finds its pipe closed (the driver was
killed) seals what it has and ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from hpckit.base.quantities import format_exit
from hpckit.errors import RunError
from hpckit.production.stop import AFTER_UNIT, Stop
from hpckit.production.workerprocess import start_worker
from hpckit.runs.journal import Entry, Journal
from hpckit.runs.plan import Bundle, Unit, bundles, cost_of

_SERVER_GONE: Final = 255
"""What `multiprocessing` gives as exit code where the server that forks processes has ended."""
_MAX_STILLBORN: Final = 3

OnEntry = Callable[[Entry], None]


@dataclass(slots=True)
class _Worker:
    process: Any
    pipe: Connection
    name: str
    held: list[list[Unit]] = field(default_factory=list)
    """Units handed out and not yet reported, by bundle; the last one is in work, those before it wait for a seal."""
    since: str = ""


def run_units(
    run_dir: Path,
    units: Sequence[Unit],
    *,
    workers: int,
    threads: int,
    report: OnEntry,
    name: str | None = None,
    stop: Stop | None = None,
    tiles: Sequence[str] | None = None,
    frozen: str | None = None,
) -> list[Unit]:
    """Run units in worker processes until none is left.

    The bundle of units during which its process dies (killed, out of memory, crash in a library) is journalled as
    failed; the others that the process had not yet sealed are handed out again, and a new process takes its place.
    The first Ctrl-C or SIGTERM lets the units in work finish; the second ends them at once.

    Parameters
    ----------
    run_dir : Path
        From which workers load all that they need.
    units : sequence of Unit
        In the order in which to hand them out.
    workers : int
        Processes.
    threads : int
        Threads that each process may use.
    report : callable
        Called with each journal entry, in this process.
    name : str, optional
        Of the writers of journals and spool segments, to which a number is added.
    stop : Stop, optional
        Where the process listens to signals already: that of an element of a job array. Units that cannot end
        before its deadline are not handed out.
    tiles : sequence of str, optional
        All that the units concern, where these are not all of the campaign.
    frozen : str, optional
        Digest of the frozen inputs that workers load; by default those that the run last used.

    Returns
    -------
    list of Unit
        Units that were not run since the run was stopped.
    """
    queue = deque(bundles(units))
    pool = _Pool(run_dir, queue, threads, report, name or f"local-{os.getpid()}", stop, tiles, frozen)
    with nullcontext() if stop is not None else _stop_on_signal(pool):
        try:
            for _ in range(min(workers, len(queue))):
                pool.start()
            while pool.workers:
                pool.step()
        finally:
            pool.kill()
    return [unit for bundle in (*pool.given_back, *pool.queue) for unit in bundle]


class _Pool:
    def __init__(
        self,
        run_dir: Path,
        queue: deque[Bundle],
        threads: int,
        report: OnEntry,
        name: str,
        stop: Stop | None,
        tiles: Sequence[str] | None,
        frozen: str | None,
    ) -> None:
        self.run_dir = run_dir
        self.queue = queue
        self.threads = threads
        self.report = report
        self.name = name
        self.stop = stop
        self.tiles = tiles
        self.frozen = frozen
        self.workers: list[_Worker] = []
        self.given_back: list[Bundle] = []
        self.stopping = False
        self.told = False
        self.started = 0
        self.stillborn = 0
        self.twice: set[str] = set()
        self.journal = Journal(run_dir, f"{name}-driver")

    def start(self) -> None:
        """Start one more worker."""
        name = f"{self.name}-{self.started}"
        ours, theirs = multiprocessing.Pipe()
        given = theirs, self.run_dir, name, self.threads, self.tiles, self.frozen
        process = start_worker(_serve, given, self.threads)
        theirs.close()
        self.started += 1
        self.workers.append(_Worker(process, ours, name))

    def step(self) -> None:
        """Wait for a message or the end of a worker, and answer it."""
        if self.stop is not None and self.stop.asked:
            self._pass_on(at_once=self.stop.at_once)
        by_pipe = {worker.pipe: worker for worker in self.workers}
        for pipe in wait(list(by_pipe), timeout=1.0):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
            else:
                self._answer(worker, message)

    def _pass_on(self, *, at_once: bool) -> None:
        """Hand out nothing more; if there is no time, ask workers to return what they have in work."""
        self.stopping = True
        if at_once and not self.told:
            self.told = True
            for worker in self.workers:
                worker.process.terminate()

    def _next(self) -> Bundle | None:
        """The next bundle that may be begun; those that are too long are left."""
        while self.queue and not self.stopping:
            bundle = self.queue.popleft()
            if self.stop is None or self.stop.leaves_time_for(cost_of(bundle)):
                return bundle
            self.given_back.append(bundle)
        return None

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()

    def _answer(self, worker: _Worker, message: Entry | None) -> None:
        if message is not None:
            left = ([unit for unit in bundle if unit.id != message.unit] for bundle in worker.held)
            worker.held = [bundle for bundle in left if bundle]
            self.report(message)
            return
        bundle = self._next()
        if bundle is not None:
            worker.held.append(list(bundle))
            worker.since = _now()
        try:
            worker.pipe.send(bundle)
        except OSError:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        """Account for the units of a worker that is gone, and replace it."""
        self.workers.remove(worker)
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode
        if code == 0:
            self.given_back += worker.held  # it was asked to; what it had sealed was reported
            return
        if worker.held and code == _SERVER_GONE and worker.held[-1][0].id not in self.twice:
            self.twice.add(worker.held[-1][0].id)  # whether the unit or the server's end ended it is not known
            self.queue.extendleft(reversed(worker.held))
        elif worker.held:
            *unsealed, fatal = worker.held
            self.queue.extendleft(reversed(unsealed))
            for unit in fatal:
                self._fail(unit, worker.since, f"the process that worked on it ended: {format_exit(code)}")
        else:
            self.stillborn += 1
        if self.stillborn > _MAX_STILLBORN:
            raise RunError(
                f"worker processes end before they take a unit ({format_exit(code)})",
                hint=f"see {self.run_dir / 'logs'} and the messages above",
            )
        if self.queue and not self.stopping:
            self.start()

    def _fail(self, unit: Unit, since: str, reason: str) -> None:
        entry = Entry(
            unit=unit.id,
            stage=unit.stage,
            state="failed",
            inputs=unit.inputs,
            start=since,
            seconds=_seconds_since(since),
            writer=self.journal.writer,
            reason=reason,
        )
        self.journal.append(entry)
        self.report(entry)


def _serve(
    pipe: Connection,
    run_dir: Path,
    name: str,
    threads: int,
    tiles: Sequence[str] | None,
    frozen: str | None,
    environment: Mapping[str, str],
) -> None:
    """Body of a worker process."""
    # The server may be older than variables of who asks for this work: credentials, folders.
    os.environ.update(environment)
    from hpckit.production.worker import Worker

    stop = Stop()
    stop.listen()
    for number in (signal.SIGINT, AFTER_UNIT):
        signal.signal(number, signal.SIG_IGN)  # the driver decides; both may reach the whole group

    def draw() -> Iterator[Bundle]:
        while True:
            try:
                pipe.send(None)
                bundle = pipe.recv()
            except (EOFError, OSError):
                return
            if bundle is None:
                return
            yield bundle

    def report(entry: Entry) -> None:
        try:
            pipe.send(entry)
        except OSError:
            return  # the driver is gone; the journal has it

    Worker(run_dir, name, threads, stop, tiles, frozen).work(draw(), report)


@contextmanager
def _stop_on_signal(pool: _Pool) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        if pool.stopping:
            raise KeyboardInterrupt
        pool.stopping = True

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's: that of a server, for example
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _seconds_since(start: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(start)).total_seconds()) if start else 0.0
