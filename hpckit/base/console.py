"""What people see while something long runs: a progress bar on a terminal, plain lines in a log.

All of it goes to stderr; stdout is for answers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SAYS_ENOUGH: Final = 0.02
"""Share that is done from which the rest of the time is estimated."""
_LINE_EVERY_S: Final = 10.0

Advance = Callable[[float, float], None]
"""Called with how much is done, and how much there is."""


class Console:
    """Messages and progress on stderr."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.is_terminal = sys.stderr.isatty()
        self._rich: Any = None

    def say(self, text: str) -> None:
        """Print a message."""
        if not self.quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        """Print what went wrong and was got over; always shown."""
        self._print(f"warning: {text}")

    def state(self, what: object) -> None:
        """Show the state of something that is followed, where a display can keep it in one place."""

    @contextmanager
    def progress(self, what: str, *, total: float | None = None, unit: str = "") -> Iterator[Advance]:
        """Show the progress of something long while the block lasts."""
        if self.quiet:
            yield lambda done, total: None
        elif self.is_terminal:
            with self._bar(what, total) as report:
                yield report
        else:
            with self._lines(what) as report:
                yield report

    def _print(self, text: str) -> None:
        if self._rich is not None:
            self._rich.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def _bar(self, what: str, total: float | None) -> Iterator[Advance]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<14}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._rich = RichConsole(stderr=True)
        try:
            with Progress(*columns, console=self._rich) as bar:
                task = bar.add_task(what, total=total)
                yield lambda done, total: bar.update(task, completed=done, total=total)
        finally:
            self._rich = None

    @contextmanager
    def _lines(self, what: str) -> Iterator[Advance]:
        start = shown = time.monotonic()
        self._print(f"{what}: started")
        last = (0.0, 0.0)

        def report(done: float, total: float) -> None:
            nonlocal shown, last
            last = (done, total)
            now = time.monotonic()
            if now - shown < _LINE_EVERY_S:
                return
            shown = now
            share = done / total if total else 0.0
            # What is left cannot be said from the first few: they wait for what is started.
            left = f", about {(now - start) * (1 - share) / share:.0f} s left" if share >= _SAYS_ENOUGH else ""
            self._print(f"{what}: {100 * share:.0f} %{left}")

        yield report
        percent = 100 * last[0] / last[1] if last[1] else 100
        self._print(f"{what}: {percent:.0f} % after {time.monotonic() - start:.1f} s")
