"""Memory of a process that works through units, apart from their data."""

from __future__ import annotations

from typing import Final

LIBRARIES: Final = 420 * 2**20
"""Bytes of a worker apart from its data: interpreter, libraries, GDAL's cache, compiled kernels; as measured."""


def unit_memory_mib(process_mib: int) -> int:
    """Memory that a process of this many MiB leaves to the command of a step."""
    return max(16, process_mib - LIBRARIES // 2**20)
