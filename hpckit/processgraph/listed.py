"""Which processes are offered: those that are there, and that pass all official tests of openEO."""

from __future__ import annotations

from typing import Final

from hpckit.processgraph.process import processes
from hpckit.processgraph.specs import specification
from hpckit.processgraph.usercode import PROCESS

INCOMPLETE: Final[frozenset[str]] = frozenset()
"""Processes that are there, and that fail official tests (`python -m hpckit.testing.openeo`)."""


def listed(*, user_code: bool = False) -> list[str]:
    """Names of the processes that a server offers.

    Parameters
    ----------
    user_code : bool
        Whether code of users can run.
    """
    left_out = INCOMPLETE if user_code else INCOMPLETE | {PROCESS}
    return [name for name in sorted(processes()) if name not in left_out and specification(name) is not None]
