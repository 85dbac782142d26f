"""Progress in the output of a notebook's cell: HTML that is updated in place, plain lines where there is no HTML."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from hpckit.base.console import Advance, Console
from hpckit.base.quantities import format_duration

_EVERY_S: Final = 0.25
_MESSAGES: Final = 20
"""Messages that are shown: the last ones."""
_CELL: Final = "text-align: left; padding: 0 1em 0 0"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


@dataclass
class _Task:
    """Something long that is worked on."""

    what: str
    start: float = field(default_factory=time.monotonic)
    done: float = 0.0
    total: float = 0.0
    end: float | None = None
    failed: bool = False

    @property
    def share(self) -> float:
        if self.total:
            return self.done / self.total
        return 0.0 if self.end is None or self.failed else 1.0

    @property
    def text(self) -> str:
        if self.end is not None:
            return f"{'stopped' if self.failed else 'done'} after {format_duration(self.end - self.start)}"
        if not 0 < self.share < 1:
            return "running"
        return f"about {format_duration((time.monotonic() - self.start) * (1 / self.share - 1))} left"


class NotebookConsole(Console):
    """Messages and progress in the output of one cell."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: list[_Task] = []
        self._messages: list[str] = []
        self._state: Any = None
        self._output: Any = None
        self._drawn = 0.0

    @contextmanager
    def progress(self, what: str, *, total: float | None = None, unit: str = "") -> Iterator[Advance]:
        """Show the progress of something long while the block lasts."""
        task = _Task(what, total=total or 0.0)
        self._tasks.append(task)
        self._draw()

        def report(done: float, total: float) -> None:
            task.done, task.total = done, total
            self._draw(at_once=False)

        task.failed = True
        try:
            yield report
            task.failed = False
        finally:
            task.end = time.monotonic()
            self._draw()

    def state(self, what: object) -> None:
        """Show something with a description in HTML below the progress, in the place of what was shown before."""
        self._state = what
        self._draw()

    def _print(self, text: str) -> None:
        self._messages.append(text)
        self._draw()

    def _draw(self, *, at_once: bool = True) -> None:
        now = time.monotonic()
        if not at_once and now - self._drawn < _EVERY_S:
            return
        self._drawn = now
        bundle = {"text/plain": self._text(), "text/html": self._html()}
        if self._output is None:
            import IPython.display

            show: Any = IPython.display.display
            self._output = show(bundle, raw=True, display_id=True)
        else:
            self._output.update(bundle, raw=True)

    def _text(self) -> str:
        lines = [f"{task.what}: {100 * task.share:.0f} %, {task.text}" for task in self._tasks]
        return "\n".join([*lines, *self._shown_messages()])

    def _html(self) -> str:
        rows = "".join(
            f'<tr><td style="{_CELL}">{html.escape(task.what)}</td>'
            f'<td style="{_CELL}"><progress value="{task.share:.3f}" max="1" aria-label="{html.escape(task.what)}">'
            f"</progress></td>"
            f'<td style="{_CELL}">{100 * task.share:.0f} %</td>'
            f'<td style="{_CELL}; opacity: 0.7">{html.escape(task.text)}</td></tr>'
            for task in self._tasks
        )
        messages = "".join(f"<div>{html.escape(text)}</div>" for text in self._shown_messages())
        state = "" if self._state is None else self._state._repr_html_()
        return f'<div class="hpckit-progress"><table>{rows}</table>{messages}{state}</div>'

    def _shown_messages(self) -> list[str]:
        left_out = len(self._messages) - _MESSAGES
        more = [f"{left_out:,} messages before"] if left_out > 0 else []
        return [*more, *self._messages[-_MESSAGES:]]
