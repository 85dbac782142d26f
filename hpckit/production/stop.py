"""Being asked to end: after the unit in work (USR1), or at once, giving the unit back (USR2, TERM).

Schedulers send a signal some time before they kill. What was sealed until then is kept; a unit that was
given back has no line in the journal, and is done by whoever comes next.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

AFTER_UNIT: Final = signal.SIGUSR1
AT_ONCE: Final = (signal.SIGUSR2, signal.SIGTERM)


class GiveBack(BaseException):
    """Raised inside a unit that must be given back."""


class Stop:
    """Whether, and how, this process was asked to end.

    Parameters
    ----------
    deadline : float, optional
        Second since 1970 by which all must have ended; units that cannot are not begun.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.asked = False
        self.at_once = False
        self._in_unit = False

    @classmethod
    def from_environment(cls) -> Stop:
        """With the deadline that job scripts set in HPCKIT_DEADLINE."""
        text = os.environ.get("HPCKIT_DEADLINE", "")
        return cls(float(text) if text.isdigit() else None)

    def listen(self) -> None:
        """Install the handlers; in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        signal.signal(AFTER_UNIT, self._after_unit)
        for number in AT_ONCE:
            signal.signal(number, self._at_once)

    def leaves_time_for(self, seconds: float) -> bool:
        """Whether something that lasts so long may still be begun."""
        return not self.asked and (self.deadline is None or time.time() + seconds < self.deadline)

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Surround a unit: only here `GiveBack` is raised, never while results are sealed."""
        if self.at_once:
            raise GiveBack
        self._in_unit = True
        try:
            yield
        finally:
            self._in_unit = False

    def _after_unit(self, _number: int, _frame: object) -> None:
        self.asked = True

    def _at_once(self, _number: int, _frame: object) -> None:
        self.asked = self.at_once = True
        if self._in_unit:
            self._in_unit = False
            raise GiveBack
