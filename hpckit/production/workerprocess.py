"""How worker processes are started: by a server that has imported all they need, and forks.

A fork takes milliseconds, imports take seconds; and the server has none of the threads of the process that asks.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.forkserver as forkserver
import multiprocessing.resource_tracker as resource_tracker
import multiprocessing.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

from hpckit.base.processes import may_fork, without_main

_PRELOADED: Final = ["hpckit.production.preloaded"]
_THREAD_VARIABLES: Final = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
_SETTING: Final = threading.RLock()


def make_ready(threads: int) -> None:
    """Start the server that forks workers, which imports while this process goes on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    with suppress(OSError):  # see `start_worker`
        # numba takes the number of threads when it is imported.
        if may_fork() and "numba" not in sys.modules:
            with _forked(_variables(threads)):
                forkserver.ensure_running()
        else:
            with _thread_variables(threads), without_main():
                forkserver.ensure_running()


def start_worker(target: Callable[..., None], arguments: Sequence[Any], threads: int) -> Any:
    """Start a worker process.

    Parameters
    ----------
    target : callable
        Called with the arguments, and then the variables of this process's environment.
    threads : int
        For the libraries that it uses.

    Returns
    -------
    multiprocessing.Process
    """
    make_ready(threads)
    with _thread_variables(threads), without_main():
        return start_process(target, (*arguments, dict(os.environ)))


def start_process(target: Callable[..., None], arguments: Sequence[Any]) -> Any:
    """Start a process by the server of workers, or anew where it cannot be asked."""
    try:
        process: Any = multiprocessing.get_context("forkserver").Process(target=target, args=arguments, daemon=True)
        process.start()
    except OSError:
        # It is asked over a socket below TMPDIR, whose path may be too long for one, or which may be full.
        process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
        process.start()
    return process


@contextmanager
def _forked(variables: dict[str, str]) -> Iterator[None]:
    """Let the server be a copy of this process, which has imported half of what workers need."""

    def fork(_program: Any, arguments: Sequence[Any], files: Sequence[int]) -> int:
        pid = os.fork()
        if pid == 0:
            os.environ.update(variables)
            _serve(arguments[-1], files)
        return pid

    resource_tracker.ensure_running()  # a program of its own
    before = multiprocessing.util.spawnv_passfds
    multiprocessing.util.spawnv_passfds = fork  # type: ignore[assignment]
    try:
        yield
    finally:
        multiprocessing.util.spawnv_passfds = before


def _serve(command: str, files: Sequence[int]) -> NoReturn:
    """What a new interpreter would do with `-c command` and these open files; never returns."""
    code = 1
    try:
        gc.enable()
        first = 3
        for kept in sorted(files):
            os.closerange(first, kept)
            first = kept + 1
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))
        forkserver._forkserver._lock = threading.Lock()  # type: ignore[attr-defined] # the copy is locked
        exec(command, {"__name__": "__main__"})
    except SystemExit:
        code = 0
    finally:
        os._exit(code)


@contextmanager
def _thread_variables(threads: int) -> Iterator[None]:
    """Set what libraries read once when they are loaded, for a process that is about to start."""
    # One at a time: else what one thread takes for the variables before is what another one has set for a while.
    with _SETTING:
        values = _variables(threads)
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _variables(threads: int) -> dict[str, str]:
    # Nothing uses BLAS, whose threads would start with numpy.
    return {**dict.fromkeys(_THREAD_VARIABLES, str(threads)), "OPENBLAS_NUM_THREADS": "1"}
