"""Which processes are offered: those that are there, and that pass all official tests of openEO."""

from __future__ import annotations

from typing import Final

from hpckit.processgraph.process import processes
from hpckit.processgraph.specs import specification

INCOMPLETE: Final[frozenset[str]] = frozenset()
"""Processes that are there, and that fail official tests (`python -m hpckit.testing.openeo`)."""


def listed() -> list[str]:
    """Names of the processes that a server offers."""
    return [name for name in sorted(processes()) if name not in INCOMPLETE and specification(name) is not None]
