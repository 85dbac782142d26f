"""Settings of glibc's allocator, for processes whose need of memory is known. Other C libraries are left alone."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
"""Of `malloc.h`."""
_ARENAS: Final = 2
_KEPT: Final = 256 * 2**20
_OWN_MAPPING: Final = 128 * 2**20
"""Bytes from which an array has a mapping of its own: those of a block of a process graph have up to 100 MB each."""


def spare_address_space() -> None:
    """Keep glibc from reserving 64 MiB for each thread that allocates, in this process and in those that it starts.

    For where `ulimit -v` limits the address space: libraries that are loaded later find room then.
    """
    os.environ.setdefault("MALLOC_ARENA_MAX", str(_ARENAS))
    _set(_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))


def keep_freed_memory() -> None:
    """Let this process keep up to 256 MiB that it freed, for its next arrays.

    For workers that compute block after block: else each array of some megabytes is new memory, which the system
    fills with zeros, and that takes as long as a simple computation on it. With arrays of many sizes, the peak of
    memory grew by 7 %.
    """
    _set(_MMAP_THRESHOLD, _OWN_MAPPING)
    _set(_TRIM_THRESHOLD, _KEPT)


def _set(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(option, value)
