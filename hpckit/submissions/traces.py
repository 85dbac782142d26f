"""Last words of elements: how they ended, from the end of their output on the shared file system.

Schedulers forget: PBS without job history as soon as a job has ended, Slurm without accounting after some
minutes. The script's last line stays. It counts only where the scheduler does not list the element any more: one
that was asked to end, and is started once more, has said it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.sites.scheduler.answers import shortened
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import State

_TAIL: Final = 16384
"""Bytes of an output that are read: sites print tables of what a job used after its last word."""
_TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
_BEGUN: Final = re.compile(_TIME + r"\S+ (?:element \d+|of submission \d+) on ", re.MULTILINE)
_EXIT: Final = re.compile(_TIME + r"exit code (\d+)\s*$", re.MULTILINE)
_STOPPED: Final = re.compile(r"^hpckit: .*; no unit was begun$", re.MULTILINE)
"""Ends of scripts before their first word."""
_NOISE: Final = re.compile(
    _TIME + r"exit code|^hint: |returned a non-zero exit code|Primary job +terminated"
    r"|[\d,]+ units? (?:were )?given back|^={3,} |^#\d+ "
)
"""What launchers and we say at many ends."""
_FAULT: Final = re.compile(
    r"^hpckit: |\b(?:error|fatal|exception|denied|refused|killed|cannot|unable|failed|no such|not found|no space)\b"
    r"|^[\w.]*(?:Error|Exception|Interrupt)\b",
    re.IGNORECASE,
)
_KILLED: Final = 137
"""Exit code of a worker that got SIGKILL, which is what a kernel out of memory sends."""


@dataclass(frozen=True, slots=True)
class LastWord:
    """How the latest attempt at an element ended."""

    state: State
    exit_code: int | None = None
    """None where only the scheduler wrote why it was killed."""


def last_word(output: Path, scheduler: Scheduler) -> LastWord | None:
    """How an element ended; None where its output does not contain this, or does not exist."""
    text = _end(output)
    if text is None:
        return None
    begun = [match.end() for match in _BEGUN.finditer(text)]
    text = text[begun[-1] :] if begun else text
    exits = _EXIT.findall(text)
    code = int(exits[-1]) if exits else 1 if _STOPPED.search(text) else None
    killed = next((state for state, words in scheduler.said.items() if words.search(text)), None)
    if killed is not None:
        return LastWord(killed, code)
    return None if code is None else LastWord(state_of(code), code)


def last_line(output: Path, scheduler: Scheduler) -> str | None:
    """The line that says most of why an element failed: the last that speaks of a fault, or else the last of all.

    What the job script, the launcher and the scheduler say at every end is none.
    """
    text = _end(output)
    if text is None:
        return None
    begun = [match.end() for match in _BEGUN.finditer(text)]
    latest = text[begun[-1] :].partition("\n")[2] if begun else text
    lines = [line.strip() for line in latest.splitlines()]
    said = [line for line in lines if re.search(r"\w", line) and not _is_noise(line, scheduler)]
    faults = [line for line in said if _FAULT.search(line)]
    return shortened((faults or said)[-1]) if said else None


def _is_noise(line: str, scheduler: Scheduler) -> bool:
    return any(words is not None and words.search(line) for words in (_NOISE, scheduler.noise))


def state_of(exit_code: int) -> State:
    """What the exit code of an element means."""
    known = {0: State.SUCCEEDED, _KILLED: State.OUT_OF_MEMORY}
    return known.get(exit_code, State.FAILED)


def _end(output: Path) -> str | None:
    """The end of a file; None if it cannot be read."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return None
