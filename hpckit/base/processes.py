"""Which process is it, and does it still run? Asked of the machine it runs on; of others nobody can know."""

from __future__ import annotations

import os
from pathlib import Path


def boot() -> str | None:
    """Identifier of this boot of this kernel: no other machine has it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def namespace() -> str | None:
    """Namespace that numbers of processes belong to: containers count for themselves."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def start_of(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot: distinguishes a process from a later one with its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def runs(pid: object, started: object) -> bool | None:
    """Whether a process of this machine runs; None if that cannot be known."""
    if not isinstance(pid, int) or pid <= 0:
        return None
    start = start_of(pid)
    if start is not None:
        return start == started
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return None  # /proc hides processes of others
    return None
