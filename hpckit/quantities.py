"""Numbers as people read them: bytes, durations, counts; and what this machine has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def format_bytes(count: float) -> str:
    """`12.3 GiB`; binary units.

    >>> format_bytes(0), format_bytes(1536), format_bytes(20 * 2**30)
    ('0 B', '1.5 KiB', '20.0 GiB')
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while abs(count) >= 1023.95 and power < len(units) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} B" if power == 0 else f"{count:.1f} {units[power]}"


def format_duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s`, `4.2 s`.

    >>> format_duration(4.2), format_duration(200), format_duration(3900)
    ('4.2 s', '3 min 20 s', '1 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def available_memory() -> int:
    """Memory in bytes that processes here may use now: free memory, or what the control group leaves."""
    free = _meminfo().get("MemAvailable", 0)
    for path in _CGROUP_LIMITS:
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):
            continue
        return min(free, limit)
    return free


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
