"""Kernels, compiled once a machine: before workers start, at `submit`, and into images.

Where all is compiled, numpy and numba are not imported: `submit` asks that of the hpckit of the nodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from hpckit.base.collector import without_collector
from hpckit.base.compiled import compile_only, is_ready, mark_ready
from hpckit.base.processes import without_main
from hpckit.base.quantities import available_cores
from hpckit.production.workerprocess import start_process

_SOURCES: Final = (
    *("reduce/kernels/*.py", "reduce/signatures/*.py", "sensors/sentinel1/*.py", "space/warp.py"),
    *("processgraph/kernels/*.py", "base/sorting.py", "production/tasks.py"),
)
_PACKAGE: Final = Path(__file__).parents[1]


def everything() -> list[str]:
    """Names of all tasks."""
    return sorted(_tasks())


def _tasks() -> dict[str, tuple[float, Callable[[], None]]]:
    from hpckit.production.tasks import TASKS

    return TASKS


def lacking(names: Iterable[str], level: str | None = None, *, named: bool = False) -> list[str]:
    """Those whose kernels are neither on this machine nor came with its image, for these versions.

    Parameters
    ----------
    level : str, optional
        Instruction set; that of this processor if not given.
    named : bool, optional
        Ask only the folder that is written, whatever an image or environment has.

    Returns
    -------
    list of str
        None of them where no folder can be written.
    """
    return [name for name in sorted(names) if not is_ready(_mark(name), level, named=named)]


def compile_kernels(
    names: Iterable[str], *, processes: int | None = None, levels: Sequence[str] = (), named: bool = False
) -> None:
    """Compile kernels side by side, and keep them for the workers to come.

    Parameters
    ----------
    processes : int, optional
        At a time; by default the cores of this machine.
    levels : sequence of str, optional
        Instruction sets; that of this processor if not given.
    named : bool, optional
        Fill the folder that is written, whatever an image or environment has.
    """
    for level in levels or (None,):
        left = lacking(names, level, named=named)
        if left and not _compile_all(left, processes or available_cores(), level, named):
            return  # workers will say why


def _compile_all(names: Sequence[str], processes: int, level: str | None, named: bool) -> bool:
    """Compile for a level, and note that it is done; return whether it is."""
    started = [_start(share, level, named) for share in _shares(names, min(processes, len(names)))]
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        return False
    for name in names:
        mark_ready(_mark(name), level)
    return True


def _shares(names: Iterable[str], count: int) -> list[list[str]]:
    """Names for each of some processes, so that all take about as long."""
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [0.0] * count
    seconds = {name: _tasks()[name][0] for name in names}
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        place = loads.index(min(loads))
        shares[place].append(name)
        loads[place] += seconds[name]
    return shares


def _start(names: Sequence[str], level: str | None, named: bool) -> Any:
    # No pool: its processes would wait for ever if this one were killed.
    with without_main():
        return start_process(_compile, (names, level, named))


def _compile(names: Sequence[str], level: str | None, named: bool) -> None:
    if level is not None:
        os.environ["NUMBA_CPU_NAME"] = level
    with without_collector(), compile_only(afresh=named):
        for name in names:
            _tasks()[name][1]()


def _mark(name: str) -> list[bytes | str]:
    """What decides whether compiled code is that of these sources."""
    return [name, *_sources()]


@cache
def _sources() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for pattern in _SOURCES for path in sorted(_PACKAGE.glob(pattern)))
