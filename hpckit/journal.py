"""The journal: what became of each unit, one JSON line per attempt, appended and never changed.

Every writer (a worker process, an MPI rank) has a file of its own, `<run>/journal/<writer>.jsonl`, so that no
locks are needed; the name may have a folder. An element joins those of its ranks when all have ended. Order
between writers does not matter: a unit is done if any line says so for its present inputs. Clocks of nodes may
differ, and do not decide anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from hpckit.files import append_line

State = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt at one unit."""

    unit: str
    """`ingest/31UFU/r10m/B04/b0000/w03`"""
    stage: str
    state: State
    inputs: str
    """Digest of all that the unit is a function of; the line counts only while this is unchanged."""
    start: str
    """Start of the attempt, ISO 8601, UTC."""
    seconds: float
    """Wall time of the attempt."""
    writer: str
    reason: str | None = None
    """Why it failed, in one sentence."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Counts of the attempt: `decoded_pixels`, `written_bytes`, `rows`, …"""
    segment: str | None = None
    """Name of the spool segment that holds its results."""


class Journal:
    """Appends entries to the file of one writer."""

    def __init__(self, run_dir: Path, writer: str) -> None:
        self.writer = writer
        self._path = run_dir / "journal" / f"{writer}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _end_with_newline(self._path)

    def append(self, entry: Entry) -> None:
        """Append one entry and flush it to disk."""
        append_line(self._path, json.dumps(asdict(entry), separators=(",", ":")))


def read_journal(run_dir: Path) -> list[Entry]:
    """Return all entries of all writers, in the order of their start.

    A line that was cut by a crash is left out: its unit counts as not done.
    """
    return sorted(_entries(sorted((run_dir / "journal").rglob("*.jsonl"))), key=lambda entry: entry.start)


def read_attempts(run_dir: Path, writer: str) -> list[Entry]:
    """Return the entries of all writers whose names begin so: earlier attempts at the same element."""
    path = run_dir / "journal" / writer
    return _entries(sorted(path.parent.glob(f"{path.name}*.jsonl")))


def flat(writer: str) -> str:
    """Name of a writer for files in one folder."""
    return writer.replace("/", "-")


def outcomes(entries: Iterable[Entry], inputs: Mapping[str, str]) -> dict[str, Entry]:
    """Return what became of each unit that was tried with its present inputs.

    Parameters
    ----------
    entries : iterable of Entry
        In the order of their start, as `read_journal` gives them.
    inputs : mapping of str to str
        Present inputs digest by unit id; entries of other units or other inputs are ignored.

    Returns
    -------
    dict of str to Entry
        Per unit the entry that says done, or else the last failure.
    """
    result: dict[str, Entry] = {}
    for entry in entries:
        if inputs.get(entry.unit) != entry.inputs:
            continue
        known = result.get(entry.unit)
        if known is None or known.state != "done" or entry.state == "done":
            result[entry.unit] = entry
    return result


def _entries(paths: Iterable[Path]) -> list[Entry]:
    lines = (line for path in paths for line in _lines(path))
    return [entry for line in lines if (entry := _parse(line)) is not None]


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []  # joined with others at this moment


def _parse(line: bytes) -> Entry | None:
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _end_with_newline(path: Path) -> None:
    """Close a line that an earlier writer of the same name left cut, so that the next one is whole."""
    if path.exists() and path.read_bytes()[-1:] not in (b"\n", b""):
        append_line(path, "")
