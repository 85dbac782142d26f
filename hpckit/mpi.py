"""Ranks of one MPI job draw units from a shared counter: no master, and no rank that only waits.

The counter is an integer in the memory of rank 0, advanced from afar by `MPI_Fetch_and_op`. Where the network
has no such operation of its own, an MPI performs it on rank 0 while that rank is inside the library, so rank 0
has a thread that enters it every few milliseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from hpckit.errors import MpiError

_POLL_S: Final = 0.005
_SIZES: Final = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PALS_SIZE", "SLURM_STEP_NUM_TASKS")
"""Variables by which launchers tell how many ranks there are: Open MPI, MPICH and its kin, Cray, srun."""


class Ranks:
    """The ranks of this MPI job, or this process alone."""

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        self._ended = threading.Event()
        self._progress: threading.Thread | None = None

    def draw(self, count: int) -> Iterator[int]:
        """Positions below `count`, each given to one rank only, in growing order; collective to begin."""
        if self._comm is None:
            yield from range(count)
            return
        from mpi4py import MPI

        window = MPI.Win.Allocate(8 if self.rank == 0 else 0, 8, comm=self._comm)
        if self.rank == 0:
            np.frombuffer(window.tomemory(), dtype=np.int64)[0] = 0
            self._start_progress(MPI)
        self._comm.Barrier()
        one, drawn = np.ones(1, dtype=np.int64), np.empty(1, dtype=np.int64)
        window.Lock_all()
        while True:
            try:
                window.Fetch_and_op(one, drawn, 0, 0, MPI.SUM)
                window.Flush(0)
            except MPI.Exception:
                return  # rank 0 is gone, and the counter with it; the rest is found by a retry
            if drawn[0] >= count:
                return
            yield int(drawn[0])

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
        if self._progress is not None:
            self._progress.join()
        MPI.Finalize()

    def _start_progress(self, mpi: Any) -> None:
        def enter() -> None:
            while not self._ended.wait(_POLL_S):
                self._comm.Iprobe(mpi.ANY_SOURCE, mpi.ANY_TAG)

        self._progress = threading.Thread(target=enter, daemon=True)
        self._progress.start()


def join() -> Ranks:
    """Join the other ranks that the launcher started; alone, without MPI, where there are none.

    Raises
    ------
    MpiError
        If there are other ranks that MPI cannot reach.
    """
    if not _has_company(os.environ):
        return Ranks()
    # The wheels of mpi4py serve any MPI, and take the first that they find unless told which.
    os.environ.setdefault("MPI4PY_MPIABI", "openmpi" if "OMPI_COMM_WORLD_SIZE" in os.environ else "mpich")
    try:
        import mpi4py

        mpi4py.rc.finalize = False  # after a rank died, MPI_Finalize would wait for it
        mpi4py.rc.thread_level = "multiple"
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MpiError(
            "several ranks were started, and MPI cannot be used", hint="install hpckit[mpi], and load the site's MPI"
        ) from error
    comm, told = MPI.COMM_WORLD, _told_size(os.environ)
    if told not in (None, comm.Get_size()):
        # Each would believe to be alone, and do all the work.
        raise MpiError(
            f"the launcher started {told} ranks, and {MPI.Get_library_version().splitlines()[0].strip()!r} "
            f"sees {comm.Get_size()}",
            hint="mpi4py uses another MPI than the launcher's: set MPI4PY_MPIABI or `mpi` in the site file",
        )
    comm.Set_errhandler(MPI.ERRORS_RETURN)
    return Ranks(comm if comm.Get_size() > 1 else None)


def _has_company(environment: Mapping[str, str]) -> bool:
    told = _told_size(environment)
    return told > 1 if told is not None else "PMIX_RANK" in environment


def _told_size(environment: Mapping[str, str]) -> int | None:
    """Number of ranks as the launcher tells it."""
    for name in _SIZES:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return None
