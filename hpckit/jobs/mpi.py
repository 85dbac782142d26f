"""Ranks of one MPI job draw units from a shared counter: no master, and no rank that only waits.

The counter is an integer in the memory of rank 0, advanced from afar by `MPI_Rget_accumulate`. Where the network
has no such operation of its own, an MPI performs it on rank 0 while that rank is inside the library, so rank 0
has a thread that enters it every few milliseconds. Where an MPI has no one-sided operations at all (Open MPI 4
with threads, over TCP), that thread answers messages instead.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from hpckit.base import processes
from hpckit.base.distribution import DISTRIBUTION
from hpckit.base.quantities import format_count
from hpckit.errors import HpckitError, MpiError

T = TypeVar("T")
_POLL_S: Final = 0.005
_SILENCE_S: Final = 300
"""Seconds after which rank 0 is taken for dead: as long as a library may keep Python's lock."""
_ASK: Final = 1
_TELL: Final = 2
_SIZES: Final = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PALS_SIZE", "SLURM_STEP_NUM_TASKS")
"""Variables in which launchers give the number of ranks: Open MPI, MPICH and its derivatives, Cray, srun."""


@dataclass(frozen=True, slots=True)
class _Process:
    """A process, as others see it."""

    host: str | None
    """Its boot; None if unknown."""
    namespace: str | None
    """That its number belongs to; None if unknown."""
    pid: int
    started: str | None

    @staticmethod
    def own() -> _Process:
        pid = os.getpid()
        return _Process(processes.boot(), processes.namespace(), pid, processes.start_of(pid))

    def is_gone(self) -> bool:
        """Whether it certainly ended: only what shares host and namespace of numbers can say so."""
        here = (processes.boot(), processes.namespace())
        is_near = None not in here and (self.host, self.namespace) == here
        return is_near and processes.runs(self.pid, self.started) is False


class Ranks:
    """The ranks of this MPI job, or this process alone."""

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        self._counter: Any = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._first: _Process | None = None
        """The process of rank 0, if it is known."""

    def share(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, at all ranks; collective.

        Raises
        ------
        HpckitError
            At all ranks, if rank 0 could not make it.
        """
        if self._comm is None:
            return make()
        made: tuple[T | None, HpckitError | None] = (None, None)
        if self.rank == 0:
            try:
                made = (make(), None)
            except HpckitError as error:
                made = (None, error)
        shared, failure = self._comm.bcast(made, root=0)
        if failure is not None:
            raise failure
        result: T = shared
        return result

    def draw(self, count: int) -> Iterator[int]:
        """Positions below `count`, each given to one rank only, in growing order; collective to begin."""
        if self._comm is None:
            return iter(range(count))
        self._first = self._comm.bcast(_Process.own() if self.rank == 0 else None, root=0)
        window = self._window()
        return self._fetch(window, count) if window is not None else self._ask(count)

    def _window(self) -> Any | None:
        """The counter in the memory of rank 0; None if the MPI has no one-sided operations on this network."""
        from mpi4py import MPI

        window: Any
        try:
            window = MPI.Win.Allocate(8 if self.rank == 0 else 0, 8, comm=self._comm)
        except MPI.Exception:
            window = None
        if not self._comm.allreduce(window is not None, MPI.LAND):
            return None
        if self.rank == 0:
            np.frombuffer(window.tomemory(), dtype=np.int64)[0] = 0
            self._serve(lambda: self._comm.Iprobe(MPI.ANY_SOURCE, _ASK))
        # Before the barrier: a rank that is late must not ask a rank 0 for its lock that is gone.
        window.Lock_all(MPI.MODE_NOCHECK)
        self._comm.Barrier()
        return window

    def _fetch(self, window: Any, count: int) -> Iterator[int]:
        from mpi4py import MPI

        one, drawn = np.ones(1, dtype=np.int64), np.empty(1, dtype=np.int64)
        self._counter = window
        while True:
            try:
                # Fetch_and_op and its flush never return if rank 0 dies while it should answer.
                answered = self._wait(window.Rget_accumulate(one, drawn, 0, op=MPI.SUM).Test)
            except MPI.Exception:
                return  # rank 0 is gone, and the counter with it; the rest is found by a retry
            if not answered or drawn[0] >= count:
                return
            yield int(drawn[0])

    def _ask(self, count: int) -> Iterator[int]:
        """The same with messages, which the thread of rank 0 answers."""
        from mpi4py import MPI

        counter, lock = itertools.count(), threading.Lock()

        def take() -> int:
            with lock:
                return next(counter)

        def answer() -> None:
            status = MPI.Status()
            while self._comm.Iprobe(MPI.ANY_SOURCE, _ASK, status):
                self._comm.recv(source=status.source, tag=_ASK)
                self._comm.isend(take(), status.source, _TELL).Free()

        if self.rank == 0:
            self._serve(answer)
        while True:
            position = take() if self.rank == 0 else self._request()
            if position is None or position >= count:
                return
            yield position

    def _request(self) -> int | None:
        """Next position from rank 0; None if that does not answer."""
        self._comm.send(None, 0, _ASK)
        if not self._wait(lambda: self._comm.Iprobe(0, _TELL)):
            return None
        position: int = self._comm.recv(source=0, tag=_TELL)
        return position

    def _wait(self, is_answered: Callable[[], bool]) -> bool:
        """Wait for an answer of rank 0; False if there will be none."""
        limit = time.monotonic() + _SILENCE_S
        look = time.monotonic() + 1
        while not is_answered():
            now = time.monotonic()
            if now > limit or (now > look and self._first is not None and self._first.is_gone()):
                return False
            time.sleep(_POLL_S / 5)
        return True

    def everyone(self, timeout_s: float) -> bool:
        """Whether all ranks come here within a time; False when one of them died, or lasts too long."""
        if self._comm is None:
            return True
        request = self._comm.Ibarrier()
        limit = time.monotonic() + timeout_s
        while not request.Test():
            if time.monotonic() > limit:
                return False
            time.sleep(_POLL_S)
        return True

    def gather(self, value: Any) -> list[Any] | None:
        """Values of all ranks, at rank 0; only after `everyone` said so."""
        if self._comm is None:
            return [value]
        gathered: list[Any] | None = self._comm.gather(value, root=0)
        return gathered

    def leave(self) -> None:
        """End MPI in good order; only after `everyone` said so."""
        if self._comm is None:
            return
        from mpi4py import MPI

        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._counter is not None:
            self._counter.Unlock_all()
            self._counter.Free()
        MPI.Finalize()

    def _serve(self, step: Callable[[], object]) -> None:
        """Do something every few milliseconds, in a thread, until the end."""

        def serve() -> None:
            while not self._ended.wait(_POLL_S):
                step()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()


def join() -> Ranks:
    """Join the other ranks that the launcher started; alone, without MPI, where there are none.

    Raises
    ------
    MpiError
        If there are other ranks that MPI cannot reach.
    """
    if not _has_company(os.environ):
        return Ranks()
    # The wheels of mpi4py support every MPI, and load the first one that they find by default.
    if not (os.environ.get("MPI4PY_MPIABI") or os.environ.get("MPI4PY_LIBMPI")):
        os.environ["MPI4PY_MPIABI"] = _abi(os.environ)
    try:
        import mpi4py

        mpi4py.rc.finalize = False  # after a rank died, MPI_Finalize would wait for it
        mpi4py.rc.thread_level = "multiple"
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MpiError(
            "several ranks were started, and MPI cannot be used",
            hint=f"install {DISTRIBUTION}[mpi], load the site's MPI, and name it in the site file, "
            "`mpi: {flavour: openmpi}`, or mpich; "
            f"mpi4py now loads {os.environ.get('MPI4PY_MPIABI') or os.environ.get('MPI4PY_LIBMPI')}",
        ) from error
    comm, told = MPI.COMM_WORLD, _told_size(os.environ)
    if told not in (None, comm.Get_size()):
        # Each would believe to be alone, and do all the work.
        raise MpiError(
            f"the launcher started {format_count(told or 0, 'rank')}, and "
            f"{MPI.Get_library_version().splitlines()[0].strip()!r} sees {comm.Get_size()}",
            hint="mpi4py uses another MPI than the launcher's: set MPI4PY_MPIABI or `mpi` in the site file",
        )
    comm.Set_errhandler(MPI.ERRORS_RETURN)
    return Ranks(comm if comm.Get_size() > 1 else None)


def _abi(environment: Mapping[str, str]) -> str:
    """Kind of MPI by the variables of its launcher: where the site file names none, the script says nothing.

    PMIx without the ranks of PMI-1 or 2 is what `srun --mpi=pmix` gives, and it is for Open MPI.
    """
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return "openmpi"
    return "openmpi" if "PMIX_RANK" in environment and "PMI_RANK" not in environment else "mpich"


def _has_company(environment: Mapping[str, str]) -> bool:
    told = _told_size(environment)
    return told > 1 if told is not None else "PMIX_RANK" in environment


def _told_size(environment: Mapping[str, str]) -> int | None:
    """Number of ranks according to the launcher."""
    for name in _SIZES:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return None
