"""The log of a job: lines of JSON, of which the number is the id that clients page by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.files import append_line
from hpckit.serve.openeo.jobfolder import stamp

Level = Literal["error", "warning", "info", "debug"]
LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "info", "debug")
"""From the one that matters most."""
_LONGEST: Final = 8_000


def note(log: Path, level: Level, message: str, **facts: Any) -> None:
    """Append an entry; only one process does so at a time.

    Parameters
    ----------
    facts : JSON
        `code`, `data`, `usage` and what else openEO's log entries have.
    """
    entry = {"level": level, "message": message[:_LONGEST], "time": stamp(), **facts}
    append_line(log, json.dumps(entry, ensure_ascii=False))


def entries(log: Path, level: Level, after: int = 0) -> Iterator[dict[str, Any]]:
    """Entries of a level, or of one that matters more, that stand behind the first `after` lines."""
    shown = LEVELS[: LEVELS.index(level) + 1]
    try:
        lines = log.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for number, line in enumerate(lines[after:], after + 1):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the end of the file, or cut by a crash
        if entry["level"] in shown:
            yield {"id": str(number), **entry}


def last_error(log: Path) -> dict[str, Any] | None:
    """The last entry that says what failed."""
    found = list(entries(log, "error"))
    return found[-1] if found else None
