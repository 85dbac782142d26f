"""Examine the environment: each probe in a process of its own, so that none harms another.

Libraries that are examined may crash when they are imported, and commands and file systems may not answer at all.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hpckit.base.findings import Finding
from hpckit.base.processes import abandon

TIMEOUT_S: Final = 15.0
"""For all probes together: importing from a busy parallel file system takes some seconds."""
_AT_A_TIME: Final = 4
_LAST_LINE: Final = 300
"""Characters of an error that are shown."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A part of the environment, and the function `examine` of a module that looks at it."""

    name: str
    module: str
    title: str
    needed: bool = False
    """Whether nothing works if the probe crashes."""


PROBES: Final = (
    Probe("python", "hpckit.jobs.doctor.python", "Python", needed=True),
    Probe("packages", "hpckit.jobs.doctor.packages", "packages"),
    Probe("gdal", "hpckit.jobs.doctor.gdal", "GDAL", needed=True),
    Probe("proj", "hpckit.jobs.doctor.proj", "PROJ", needed=True),
    Probe("kernels", "hpckit.jobs.doctor.kernels", "compiled kernels"),
    Probe("mpi", "hpckit.jobs.doctor.mpi", "MPI"),
    Probe("locale", "hpckit.jobs.doctor.encoding", "locale"),
    Probe("space", "hpckit.jobs.doctor.space", "space"),
    Probe("quotas", "hpckit.jobs.doctor.quotas", "quotas"),
    Probe("limits", "hpckit.jobs.doctor.limits", "limits"),
    Probe("cluster", "hpckit.jobs.doctor.cluster", "cluster"),
    Probe("stores", "hpckit.jobs.doctor.stores", "stores"),
)


def examine(probes: Sequence[Probe] = PROBES, timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """Run probes side by side.

    Parameters
    ----------
    probes : sequence of Probe
        The parts to look at.
    timeout_s : float
        Seconds that all of them have together; what gives no answer by then is unknown.

    Returns
    -------
    list of Finding
        In the order of `probes`.
    """
    deadline = time.monotonic() + timeout_s
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        answers = pool.map(lambda probe: _ask(probe, deadline, timeout_s), probes)
        return [finding for answer in answers for finding in answer]


def _ask(probe: Probe, deadline: float, timeout_s: float) -> list[Finding]:
    late = Finding(probe.title, None, f"no answer within {timeout_s:g} s", _late_remedy(), needed=probe.needed)
    left = deadline - time.monotonic()
    if left <= 0:
        return [late]
    process = subprocess.Popen(
        [sys.executable, "-m", "hpckit.jobs.doctor", probe.module],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        answer, complaint = process.communicate(timeout=left)
    except subprocess.TimeoutExpired:
        _end(process)
        return [late]
    if process.returncode == 0:
        with suppress(ValueError, TypeError):
            return [Finding(**fields) for fields in json.loads(answer)]
    return [_crash(probe, process.returncode, complaint)]


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a probe and what it started; one that hangs in the kernel is left behind, not waited for."""
    abandon(process)
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.2)


def _late_remedy() -> str:
    return "a file system or command does not answer: try again with a longer --timeout, then ask the administrators"


def _crash(probe: Probe, code: int, complaint: str) -> Finding:
    lines = complaint.strip().splitlines() or ["without a message"]
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Finding(
        probe.title,
        False,
        f"the check ended with {ended}: {lines[-1].strip()[:_LAST_LINE]}",
        "reinstall hpckit's dependencies in a fresh virtual environment, without packages of other environments",
        needed=probe.needed,
    )
