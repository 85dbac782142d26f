"""How much one client may ask for: requests, wrong passwords, pictures at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial, wraps
from typing import Any, Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from hpckit.serve.problems import busy

_MOST_CLIENTS: Final = 50_000
_MINUTE: Final = 60.0
_CLIENT_GONE: Final = 499
"""What nginx notes for it; nobody reads the answer."""


class Buckets:
    """A token bucket for each client.

    Parameters
    ----------
    per_second : float
        Requests in the mean.
    burst : int
        Requests at once.
    now : callable
        Seconds.
    """

    def __init__(self, per_second: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: Hashable) -> float:
        """Take one request of a client; seconds to wait if there is none, else 0."""
        now = self._now()
        left, last = self._left.pop(client, (float(self._burst), now))
        left = min(float(self._burst), left + (now - last) * self._per_second)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second


class Attempts:
    """Attempts of the last minute that were not right, by address and by user.

    Parameters
    ----------
    per_minute : int
        After this number of either, all must wait.
    now : callable
        Seconds.
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most = per_minute
        self._now = now
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, who: Sequence[str]) -> float:
        """Note an attempt of an address and user; gives what `forgive` takes."""
        at = self._now()
        with self._lock:
            for key in enumerate(who):
                times = self._times.pop(key, None) or deque(maxlen=self._most)
                times.append(at)
                self._times[key] = times
            while len(self._times) > _MOST_CLIENTS:
                self._times.popitem(last=False)
        return at

    def forgive(self, who: Sequence[str], counted: float) -> None:
        """Take back an attempt that was right."""
        with self._lock:
            for key in enumerate(who):
                times = self._times.get(key)
                if times is not None and counted in times:
                    times.remove(counted)

    def wait_s(self, who: Sequence[str]) -> float:
        """Seconds until an address and user may try again; 0 for now."""
        with self._lock:
            return max(self._wait(key) for key in enumerate(who))

    def _wait(self, key: Hashable) -> float:
        times = self._times.get(key)
        if times is None or len(times) < self._most:
            return 0.0
        return max(0.0, times[0] + _MINUTE - self._now())


class Turns:
    """Threads of their own for what takes long, such as pictures, and a number of requests that may wait for them.

    In the threads of all other answers, waiting pictures would keep series waiting, too.

    Parameters
    ----------
    at_once : int
        Workers at a time.
    waiting : int
        Requests that may wait.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._slots, self._threads = CapacityLimiter(at_once), CapacityLimiter(at_once)
        self._most = at_once + waiting
        self._held = 0

    async def run(self, request: Request, work: Callable[..., Response], *arguments: Any) -> Response:
        """Work in a thread when it is one's turn; not at all if the client has gone by then.

        Raises
        ------
        Problem
            503 if too many wait.
        """
        if self._held >= self._most:
            raise busy()
        self._held += 1
        try:
            async with self._slots:
                if await request.is_disconnected():
                    return Response(status_code=_CLIENT_GONE)
                return await run_sync(partial(work, *arguments), limiter=self._threads)
        finally:
            self._held -= 1

    def taking(self, endpoint: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that waits for its turn."""

        @wraps(endpoint)
        async def answer(request: Request) -> Response:
            return await self.run(request, endpoint, request)

        return answer
