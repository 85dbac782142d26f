"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_S, _MOST_S = 0.1, 1.0


def until(
    condition: Callable[[], object], timeout_s: float = 90, what: str = "", *, least_s: float = _LEAST_S
) -> None:
    """Wait until a condition holds.

    Pauses are twice as long as the question took, and `least_s` at least: a question that starts programs leaves the
    processors to what it waits for.
    """
    limit = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        assert now < limit, f"waited too long {what}"
        time.sleep(min(_MOST_S, max(least_s, 2 * (now - asked))))
