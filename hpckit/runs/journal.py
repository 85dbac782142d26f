"""The journal: what became of each unit, one JSON line per attempt, appended and never changed.

Every writer (a worker process, an MPI rank) has a file of its own, `<run>/journal/<writer>.jsonl`, so that no
locks are needed; the name may have a folder. An element joins those of its ranks when all have ended. Order
between writers does not matter: a unit is done if any line says so for its present inputs. Clocks of nodes may
differ, and do not decide anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.base.arrow import numbers_of, rows_of, text
from hpckit.base.files import append_line, make_folder, remove_tree, write_bytes
from hpckit.base.reading import is_there, read_below, read_bytes, typed_line

_BEGIN: Final = b'\n{"unit":"'
_OBJECTS: Final = 2
"""Of each entry: itself and its metrics."""
_DEEP: Final = 1000
"""Objects within each other that Arrow's parser surely bears."""

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
    temporary: bool | None = None
    """It failed because a file system or server refused, which may pass; None if not."""


class Journal:
    """Appends entries to the file of one writer."""

    def __init__(self, run_dir: Path, writer: str) -> None:
        self.writer = writer
        self._path = run_dir / "journal" / f"{writer}.jsonl"
        make_folder(self._path.parent)

    def append(self, entry: Entry) -> None:
        """Append one entry and flush it to disk."""
        append_line(self._path, line_of(entry))


def line_of(entry: Entry) -> str:
    """An entry as JSON; what it lacks is left out, since status reads millions of lines."""
    known = {name: value for name, value in asdict(entry).items() if value is not None}
    return json.dumps(known, separators=(",", ":"))


def read_journal(run_dir: Path) -> list[Entry]:
    """Return all entries of all writers, in the order of their start.

    A line that was cut by a crash is left out: its unit counts as not done.

    Raises
    ------
    FileUnavailableError
        If a journal cannot be read at the moment: what it says is unknown, not "nothing".
    """
    return sorted(_entries(read_below(run_dir / "journal", ".jsonl").values()), key=lambda entry: entry.start)


def read_attempts(run_dir: Path, writer: str) -> list[Entry]:
    """Return the entries of all writers whose names begin so: earlier attempts at the same element."""
    path = run_dir / "journal" / writer
    found = read_below(path.parent, ".jsonl")
    return _entries(content for name, content in found.items() if Path(name).name.startswith(path.name))


def compact(run_dir: Path) -> None:
    """Join the journals of each thousand elements to one file. Only while no element works."""
    for folder in sorted(path for path in (run_dir / "journal").glob("*") if path.is_dir()):
        whole = folder.with_suffix(".jsonl")
        contents = [read_bytes(whole)] if is_there(whole) else []
        lines = [line for content in [*contents, *read_below(folder, ".jsonl").values()] for line in _lines(content)]
        if lines:
            write_bytes(whole, b"".join(line + b"\n" for line in dict.fromkeys(lines)))
        remove_tree(folder)


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


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of many units, by their position in a list."""

    done: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.bool_]
    """Tried with its present inputs, and never done."""
    seconds: npt.NDArray[np.float64]
    """Of the last attempt."""
    start: npt.NDArray[np.float64]
    """Of the last attempt, seconds since 1970; NaN where there was none, or its time cannot be read."""
    slivers: float
    """Sum over units that are done."""
    reasons: Mapping[int, str]
    """Why a unit failed the last time."""


def tally(run_dir: Path, units: Any, inputs: Any) -> Tally:
    """Count what became of units: as `outcomes` of `read_journal`, for millions of them.

    Parameters
    ----------
    units, inputs : pyarrow.Array of string
        Ids, and digests of their present inputs.
    """
    import pyarrow.compute as pc

    table = _journal_table(run_dir)
    place = pc.index_in(table.column("unit"), value_set=units)
    table, place = table.filter(pc.is_valid(place)), pc.drop_null(place)
    current = pc.equal(inputs.take(place), table.column("inputs"))
    table, place = table.filter(current), place.filter(current)
    order = pc.sort_indices(table, sort_keys=[("start", "ascending")])
    table, place = table.take(order), place.take(order)
    at = numbers_of(place).astype(np.int64)
    well = numbers_of(pc.equal(table.column("state"), text("done")))
    done, tried, seconds = np.zeros(len(units), bool), np.zeros(len(units), bool), np.zeros(len(units))
    tried[at], done[at[well]] = True, True
    seconds[at] = numbers_of(table.column("seconds"))
    slivers = np.zeros(len(units))
    slivers[at[well]] = np.nan_to_num(numbers_of(table.column("slivers"))[well])
    unwell = np.flatnonzero(~well & ~done[at])
    reasons = dict(zip(at[unwell].tolist(), table.column("reason").take(rows_of(unwell)).to_pylist(), strict=True))
    start = np.full(len(units), np.nan)
    start[at] = _epochs(table.column("start"))
    told = {place: reason or "unknown" for place, reason in reasons.items()}
    return Tally(done, tried & ~done, seconds, start, float(slivers.sum()), told)


def seconds_by_writer(run_dir: Path) -> dict[str, float]:
    """Seconds of all attempts, by writer; for millions of them."""
    import pyarrow.compute as pc

    table = _journal_table(run_dir)
    told = pc.fill_null(table.column("writer"), text(""))  # a foreign line may lack it
    writers = told.combine_chunks().dictionary_encode()
    names = writers.dictionary.to_pylist()
    sums = np.bincount(numbers_of(writers.indices), numbers_of(table.column("seconds")), len(names))
    return dict(zip(names, sums.tolist(), strict=True))


def _epochs(starts: Any) -> npt.NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        stamps = pc.cast(starts, pa.timestamp("ms", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        return np.full(len(starts), np.nan)
    epochs: npt.NDArray[np.float64] = numbers_of(stamps) / 1000
    return epochs


def _journal_table(run_dir: Path) -> Any:
    """Columns of all journals; a line that was cut is left out."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    names = ("unit", "inputs", "state", "start", "writer", "reason")
    metrics = pa.struct([("slivers", pa.float64())])
    schema = pa.schema([*((name, pa.string()) for name in names), ("seconds", pa.float64()), ("metrics", metrics)])
    plain, odd = _sorted_out(b"\n".join(_whole_lines(run_dir)))
    table = pa.Table.from_batches([], schema)
    if plain:
        options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        reading = arrow_json.ReadOptions(block_size=max(2**20, min(2**26, len(plain) + 1)))
        try:
            table = arrow_json.read_json(pa.BufferReader(plain), reading, options)
        except pa.ArrowInvalid:
            odd.append(plain)
    if odd:
        known = [asdict(entry) for entry in _entries(odd)]
        rows = [{**entry, "metrics": {"slivers": entry["metrics"].get("slivers")}} for entry in known]
        table = pa.concat_tables([table, pa.Table.from_pylist(rows, schema)])
    table = table.filter(_is_whole(table)).combine_chunks()
    slivers = table.column("metrics").combine_chunks()
    values = slivers.field("slivers") if len(slivers) else pa.nulls(0, pa.float64())
    return table.drop_columns(["metrics"]).append_column("slivers", values)


def _sorted_out(lines: bytes) -> tuple[bytes, list[bytes]]:
    """Lines for Arrow's parser, and those that it may misread, or that end it and this process with it.

    Those are text that is no UTF-8, a value null in the place of an entry, and thousands of nested objects.
    """
    if not lines.isascii():
        whole = lines.split(b"\n")
        odd = [line for line in whole if not _is_utf8(line)]
        lines = b"\n".join(line for line in whole if _is_utf8(line)) if odd else lines
    else:
        odd = []
    if b"null" in lines and lines.count(b"null") != lines.count(b":null"):
        whole = lines.split(b"\n")
        odd += [line for line in whole if line.count(b"null") != line.count(b":null")]
        lines = b"\n".join(line for line in whole if line.count(b"null") == line.count(b":null"))
    objects = lines.count(b"{") + lines.count(b"[")
    if objects > _OBJECTS * (lines.count(_BEGIN) + 1) + _DEEP:
        return b"", [*odd, lines]
    return lines, odd


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_whole(table: Any) -> Any:
    """Rows that have what an entry has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.is_in(table.column("state"), value_set=pa.array(["done", "failed"], pa.string()))
    for name in ("unit", "inputs", "start", "seconds"):
        known = pc.and_(known, pc.is_valid(table.column(name)))
    return known


def _whole_lines(run_dir: Path) -> Iterator[bytes]:
    """Contents of the journals, without what cannot be a whole entry."""
    for content in read_below(run_dir / "journal", ".jsonl").values():
        end = content.rfind(b"\n")
        if end > 0:
            yield content[:end]


def _entries(contents: Iterable[bytes]) -> list[Entry]:
    lines = (line for content in contents for line in _lines(content))
    return [entry for line in lines if (entry := _parse(line)) is not None]


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line]


def _parse(line: bytes) -> Entry | None:
    try:
        return typed_line(Entry, line)
    except (ValueError, RecursionError):
        return None
