"""Limits of a provider that all requests of this process keep together: connections at a time, requests a minute.

Providers count by account: the Copernicus Data Space allows four connections and 2,000 requests a minute
(https://documentation.dataspace.copernicus.eu/Quotas.html). Without limits nobody waits. Limits that several
processes share are in `shares`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import BoundedSemaphore, Lock, local
from typing import Final

MINUTE_S: Final = 60.0


class Turns:
    """Turns of threads that ask servers: so many at a time, and so many within any minute."""

    def __init__(self, connections: int, per_minute: int) -> None:
        self._slots = BoundedSemaphore(connections)
        self._begun: deque[float] = deque(maxlen=per_minute)
        self._not_before = 0.0
        self._lock = Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One request, from its begin to the end of its answer."""
        with self._slots:
            self._wait()
            yield

    def begun_lately(self) -> list[float]:
        """How many seconds ago each request of the last minute began."""
        now = time.monotonic()
        with self._lock:
            return [now - moment for moment in self._begun if now - moment < MINUTE_S]

    def remember(self, ages: Iterable[float]) -> None:
        """Count requests that others began this many seconds ago."""
        now = time.monotonic()
        with self._lock:
            self._begun.extend(now - age for age in sorted(ages, reverse=True))

    def pause(self, seconds: float) -> None:
        """Let no request begin for some time: a server that is asked too much by one thread is so by all."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _wait(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                left = self._due() - now
                if left <= 0:
                    self._begun.append(now)
                    return
            time.sleep(left)

    def _due(self) -> float:
        """When the next request may begin: a minute after the one that lies the limit before it."""
        if len(self._begun) < (self._begun.maxlen or 0):
            return self._not_before
        return max(self._not_before, self._begun[0] + MINUTE_S)


_limits: list[Turns] = []
"""The last one counts."""


@contextmanager
def limited(connections: int, per_minute: int) -> Iterator[None]:
    """Let this process keep to limits while the block lasts.

    Parameters
    ----------
    connections : int
        Requests at a time.
    per_minute : int
        Requests within any 60 seconds, repetitions and redirects included.
    """
    turns = Turns(connections, per_minute)
    _limits.append(turns)
    try:
        yield
    finally:
        _limits.remove(turns)


_own: Final = local()
"""Of a thread that has limits of its own."""


@contextmanager
def kept_to(turns: Turns) -> Iterator[None]:
    """Let this thread keep to its own limits while the block lasts, and to no others."""
    _own.turns = turns
    try:
        yield
    finally:
        _own.turns = None


def is_limited() -> bool:
    """Whether there are limits."""
    return _present() is not None


def turn() -> AbstractContextManager[None]:
    """One request, when its turn has come."""
    turns = _present()
    return nullcontext() if turns is None else turns.turn()


def pause(seconds: float) -> None:
    """Let no request begin for some time, if there are limits."""
    turns = _present()
    if turns is not None:
        turns.pause(seconds)


def _present() -> Turns | None:
    own: Turns | None = getattr(_own, "turns", None)
    return own or (_limits[-1] if _limits else None)
