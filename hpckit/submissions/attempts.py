"""Attempts at elements: each announces itself by a file that only one can make, and shows that it works.

::

    <submission>/working/ingest-000017.1     the second attempt at element 17 of ingest

The number goes into the names of all files that the attempt writes: a node that is lost to its scheduler may still
be writing when the element is started once more, and not every scheduler informs the job of this. The file is touched
while the attempt works, and removed when it ends in good order.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import server_time
from hpckit.base.processes import QUIET, identity, is_gone

_HEARTBEAT_S: Final = 30
_SILENT_S: Final = 300
"""Seconds without a touch after which an attempt is taken for dead: as long as a library may keep Python's lock."""
_NAME: Final = re.compile(r"(?P<stage>.+)-(?P<element>\d{6,})\.(?P<number>\d+)")


@dataclass(frozen=True, slots=True)
class Sign:
    """An attempt that works."""

    path: Path
    stage: str
    element: int
    host: str
    heard_s: float
    """Seconds since it was last touched."""


class Attempt:
    """One attempt at an element, announced.

    Parameters
    ----------
    submission : Path
        Folder of the submission.
    first : int
        Least number that it may have: above those of all attempts that left files.
    """

    def __init__(self, submission: Path, stage: str, element: int, first: int) -> None:
        folder = submission / "working"
        folder.mkdir(exist_ok=True)
        self.number, self._path = _announce(folder, f"{stage}-{element:06d}", first)
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name=f"{QUIET}-attempt", daemon=True).start()

    def leave(self) -> None:
        """Say that nothing more will be written."""
        self._ended.set()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(_HEARTBEAT_S):
            with suppress(OSError):
                os.utime(self._path)


def suffix(number: int) -> str:
    """What the names of an attempt's files end with.

    >>> suffix(0), suffix(2)
    ('', '-t2')
    """
    return f"-t{number}" if number else ""


def next_number(run_dir: Path, name: str) -> int:
    """Number above those of all attempts at an element that left a journal or a log.

    Parameters
    ----------
    name : str
        First part of the names of its files, `s0001-ingest-000/000017`.
    """
    numbers = [-1]
    for folder in ("journal", "logs"):
        path = run_dir / folder / name
        for found in path.parent.glob(f"{path.name}*"):
            match = re.match(r"-t(\d+)", found.name.removeprefix(path.name))
            numbers.append(int(match.group(1)) if match is not None else 0)
    return max(numbers) + 1


def working(submission: Path) -> list[Sign]:
    """Attempts of a submission that gave a sign of life of late."""
    folder = submission / "working"
    try:
        paths = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return []
    if not paths:
        return []
    now = server_time(folder)
    return [sign for path in paths if (sign := _sign(path, now)) is not None]


def working_in(run_dir: Path) -> list[Sign]:
    """Attempts of all submissions of a run that gave a sign of life of late."""
    return [sign for folder in sorted((run_dir / "submissions").glob("[0-9]*")) for sign in working(folder)]


def describe(signs: Sequence[Sign]) -> str:
    """Which attempts work, in words."""
    first = signs[0]
    more = f", and {len(signs) - 1} more" if len(signs) > 1 else ""
    return f"element {first.stage}:{first.element} still works on {first.host} ({first.heard_s:.0f} s ago){more}"


def _announce(folder: Path, name: str, first: int) -> tuple[int, Path]:
    number = first
    while True:
        path = folder / f"{name}.{number}"
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            number += 1
            continue
        try:
            os.write(file, json.dumps(_identity()).encode())
        finally:
            os.close(file)
        return number, path


def _sign(path: Path, now: float) -> Sign | None:
    """A file of an attempt, unless the attempt is gone."""
    match = _NAME.fullmatch(path.name)
    try:
        heard_s = max(0.0, now - path.stat().st_mtime)
        told = json.loads(path.read_text() or "{}")
    except (OSError, ValueError):
        return None
    if match is None or heard_s > _SILENT_S or not isinstance(told, dict) or is_gone(told):
        return None
    return Sign(path, match["stage"], int(match["element"]), str(told.get("host", "?")), heard_s)


def _identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        **identity(),
        "job": os.environ.get("HPCKIT_JOB", ""),
        "time": time.time(),
    }


@contextmanager
def announced(submission: Path, stage: str, element: int, first: int) -> Iterator[int]:
    """Announce an attempt while the block lasts; gives its number."""
    attempt = Attempt(submission, stage, element, first)
    try:
        yield attempt.number
    finally:
        attempt.leave()


def writer_name(number: int, stage: str, element: int) -> str:
    """First part of the names of an element's journals."""
    # A folder for each thousand: an attempt looks for earlier ones in its folder only.
    return f"s{number:04d}-{stage}-{element // 1000:03d}/{element:06d}"
