"""Limits of a provider that processes on any nodes keep together: a folder with one share for each connection.

A share is one connection and its part of the requests a minute. Whoever fetches a file holds a share meanwhile, by a
claim (`base.claims`): so there are never more connections than shares, however many processes fetch, and the share of
a process that was killed comes back. A share also says which requests were made with it in the last minute. One whose
holder was killed does not, so its next holder waits a minute. `Retry-After` holds for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from hpckit.base import claims
from hpckit.base.files import make_folder, write_json
from hpckit.base.reading import read_json
from hpckit.errors import BusyError, HpckitError
from hpckit.inputs.turns import MINUTE_S, Turns, kept_to

_LONGEST_PAUSE_S: Final = 3600.0
"""That a file may ask for: what clocks of nodes say differs."""
_LOOK_S: Final = 0.25
"""Between two looks for a free share."""


class Shares:
    """Shares of a provider's limits, in a folder that all processes see.

    Parameters
    ----------
    folder : Path
        Made when it is needed.
    connections : int
        Requests at a time, of all processes: the number of shares.
    per_minute : int
        Requests within any minute, of all processes.
    """

    def __init__(self, folder: Path, connections: int, per_minute: int) -> None:
        self._folder = folder
        self._connections = min(connections, per_minute)
        self._per_minute = per_minute

    @contextmanager
    def held(self, stopped: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Wait for a share, and let this thread keep to it while the block lasts.

        Parameters
        ----------
        stopped : callable
            Asked while there is none: whether to give up.

        Yields
        ------
        bool
            Whether there is one: not, if it gave up.
        """
        with ExitStack() as stack:
            turns = self._wait(stack, stopped)
            if turns is not None:
                stack.enter_context(kept_to(turns))
            yield turns is not None

    def are_idle(self) -> bool:
        """Whether no process holds a share.

        Raises
        ------
        FileUnavailableError
            If that cannot be seen at the moment.
        """
        return not any(claims.holder(path) for path in self._folder.glob("share-*.lock"))

    def _wait(self, stack: ExitStack, stopped: Callable[[], bool]) -> Turns | None:
        make_folder(self._folder)
        while not stopped():
            for number in range(self._connections):
                with suppress(BusyError):
                    stack.enter_context(claims.hold(self._folder / f"share-{number}.lock", "a connection"))
                    return stack.enter_context(self._turns(number))
            time.sleep(_LOOK_S)
        return None

    @contextmanager
    def _turns(self, number: int) -> Iterator[Turns]:
        """Turns of a share, after those that its holders before have had."""
        path = self._folder / f"share-{number}.json"
        most = self._per_minute // self._connections + (number < self._per_minute % self._connections)
        turns = _Turns(most, self._folder / "pause.json")
        known = _read(path)
        if known.get("held"):  # its holder was killed: nobody knows what it asked last
            turns.pause_alone(MINUTE_S)
        passed = time.time() - float(known.get("time", 0))
        turns.remember(age + passed for age in known.get("ages", ()) if 0 <= age + passed < MINUTE_S)
        write_json(path, {"held": True})
        try:
            yield turns
        finally:
            with suppress(OSError):
                write_json(path, {"time": time.time(), "ages": turns.begun_lately()})


class _Turns(Turns):
    """Turns of one share; a pause is one of all shares."""

    def __init__(self, per_minute: int, notice: Path) -> None:
        super().__init__(1, per_minute)
        self._notice = notice

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One request, from its begin to the end of its answer."""
        left = float(_read(self._notice).get("until", 0)) - time.time()
        if 0 < left <= _LONGEST_PAUSE_S:
            self.pause_alone(left)
        with super().turn():
            yield

    def pause_alone(self, seconds: float) -> None:
        """Let no request of this share begin for some time."""
        super().pause(seconds)

    def pause(self, seconds: float) -> None:
        """Let no request of any share begin for some time."""
        super().pause(seconds)
        with suppress(OSError):
            until = time.time() + min(seconds, _LONGEST_PAUSE_S)
            if until > float(_read(self._notice).get("until", 0)):
                write_json(self._notice, {"until": until})


def _read(path: Path) -> dict[str, Any]:
    """What a file says; nothing, if it is not there or was cut."""
    try:
        return read_json(path)
    except (FileNotFoundError, HpckitError):
        return {}
