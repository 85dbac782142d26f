"""Limits of this session: open files, memory, processes, shared memory."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from typing import Final

from hpckit.base.findings import Finding
from hpckit.base.quantities import available_cores, available_memory, format_bytes, format_count

_OPEN_FILES: Final = 1024
_PROCESSES: Final = 256
_MEMORY: Final = 2 * 2**30
_SHARED_MEMORY: Final = 64 * 2**20


def examine() -> Iterator[Finding]:
    """What processes of this session may use."""
    yield _limit(
        "open files",
        resource.RLIMIT_NOFILE,
        _OPEN_FILES,
        f"`ulimit -n {_OPEN_FILES}`, also in `setup` of the site file",
    )
    yield _limit(
        "processes",
        resource.RLIMIT_NPROC,
        _PROCESSES,
        "use fewer workers, or ask the administrators for a higher `ulimit -u`",
    )
    yield from _memory()
    try:
        shared = os.statvfs("/dev/shm")
    except OSError as error:
        says, free = f"/dev/shm: {error.strerror}", 0
    else:
        free = shared.f_bavail * shared.f_frsize
        says = f"/dev/shm: {format_bytes(free)} free"
    yield Finding(
        "shared memory",
        free >= _SHARED_MEMORY,
        says,
        "ranks of MPI exchange data there: mount /dev/shm with more space (containers: `--shm-size`)",
        needed=False,
    )


def _limit(what: str, limit: int, least: int, remedy: str) -> Finding:
    soft, hard = resource.getrlimit(limit)
    if soft == resource.RLIM_INFINITY:
        return Finding(what, True, "no limit", needed=False)
    says = f"at most {soft}" + ("" if hard in (soft, resource.RLIM_INFINITY) else f", can be raised to {hard}")
    return Finding(what, soft >= least, says, remedy, needed=False)


def _memory() -> Iterator[Finding]:
    free = available_memory()
    yield Finding(
        "memory",
        free >= _MEMORY,
        f"{format_bytes(free)} free, {format_count(available_cores(), 'core')}",
        "use fewer workers (--workers), or a compute node instead of a login node",
        needed=False,
    )
    address, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address != resource.RLIM_INFINITY:
        yield Finding(
            "address space",
            None,
            f"limited to {format_bytes(address)}",
            "`ulimit -v unlimited`: mapped files count, so processes fail long before memory is full",
            needed=False,
        )
