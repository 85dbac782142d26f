"""Index of items in a folder: columns that are searched, and the items themselves as JSON.

It is made once for each state of a catalogue, and mapped into memory: a million items are not kept as objects.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
import shapely.geometry

from hpckit.base.files import make_folder
from hpckit.catalogue.moments import microseconds
from hpckit.serve.stac.documents import DocumentsWriter
from hpckit.serve.stac.ranks import Ranks

COLUMNS: Final = "columns.arrow"
DOCUMENTS: Final = "documents.zst"
ORDER: Final = "\0order"
"""Column of rows in the order `-datetime, id, collection`."""
BOX: Final = ("\0west", "\0south", "\0east", "\0north")
GEOMETRY: Final = "\0geometry"
TIME: Final = "\0time"
START: Final = "\0start"
END: Final = "\0end"
_OWN: Final = frozenset({ORDER, *BOX, GEOMETRY, TIME, START, END})
MOMENTS: Final = ("datetime", "start_datetime", "end_datetime", "created", "updated", "published", "expires")
"""Properties that are times: columns of microseconds since 1970."""
_CHUNK: Final = 20_000
_MOST_TEXTS: Final = 0.5
"""Share of different texts up to which a column is kept as a dictionary."""


def build(folder: Path, items: Iterable[Mapping[str, Any]]) -> int:
    """Write an index; a folder that is there already is left alone.

    Parameters
    ----------
    folder : Path
        It appears when all is written.
    items : iterable of STAC items
        Those without a time are left out, since no search could find them in order.

    Returns
    -------
    int
        Number of items.
    """
    make_folder(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".index-", dir=folder.parent))
    try:
        documents, chunks, rows = DocumentsWriter(temporary / DOCUMENTS), list[_Chunk](), _Chunk()
        for item in items:
            if not rows.add(item):
                continue
            documents.add(item)
            if rows.count == _CHUNK:
                chunks.append(rows.packed())
                rows = _Chunk()
        documents.close()
        chunks.append(rows.packed())
        table = _joined(chunks)
        with pa.OSFile(str(temporary / COLUMNS), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        rows_written = int(table.num_rows)
        del table, chunks, rows
        pa.default_memory_pool().release_unused()
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        return rows_written
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Chunk:
    """Some items by columns."""

    def __init__(self) -> None:
        self.count = 0
        self._values: dict[str, list[Any]] = {}
        self._geometries: list[bytes | None] = []
        self._boxes: list[tuple[float, float, float, float]] = []
        self._times: list[tuple[int, int, int]] = []
        self.columns: dict[str, Any] = {}

    def add(self, item: Mapping[str, Any]) -> bool:
        """Add an item; False if it has no time."""
        properties = item.get("properties") or {}
        moments = {name: microseconds(properties[name]) for name in MOMENTS if properties.get(name)}
        start, end = moments.get("start_datetime"), moments.get("end_datetime")
        time = moments.get("datetime")
        at = time if time is not None else start
        if at is None:
            return False
        self._times.append((at, at if start is None else start, at if end is None else end))
        self._add_place(item)
        scalars = {
            name: value
            for name, value in properties.items()
            if isinstance(value, (str, int, float, bool)) and name not in MOMENTS and not name.startswith("\0")
        }
        known = {**scalars, **moments, "id": item["id"], "collection": item.get("collection")}
        for name, value in known.items():
            column = self._values.setdefault(name, [])
            column += [None] * (self.count - len(column))
            column.append(value)
        self.count += 1
        return True

    def _add_place(self, item: Mapping[str, Any]) -> None:
        geometry = None if item.get("geometry") is None else shapely.geometry.shape(item["geometry"])
        box = item.get("bbox")
        if isinstance(box, list) and len(box) in (4, 6):
            half = len(box) // 2
            self._boxes.append((box[0], box[1], box[half], box[half + 1]))
        else:
            bounds = (np.nan,) * 4 if geometry is None else geometry.bounds
            self._boxes.append((bounds[0], bounds[1], bounds[2], bounds[3]))
        self._geometries.append(None if geometry is None else shapely.to_wkb(geometry))

    def packed(self) -> _Chunk:
        """The same as columns of pyarrow."""
        for name, values in self._values.items():
            self.columns[name] = _array(values + [None] * (self.count - len(values)))
        self.columns[GEOMETRY] = pa.array(self._geometries, pa.large_binary())
        for name, numbers in zip(BOX, np.array(self._boxes or np.empty((0, 4)), np.float64).T, strict=True):
            self.columns[name] = pa.array(numbers)
        for name, counts in zip(
            (TIME, START, END), np.array(self._times or np.empty((0, 3)), np.int64).T, strict=True
        ):
            self.columns[name] = pa.array(counts)
        self._values, self._geometries, self._boxes, self._times = {}, [], [], []
        return self


def _array(values: list[Any]) -> Any:
    """Column of values; numbers as float64 unless all are whole, and text where kinds are mixed."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {str}:
        try:
            return pa.array(values, pa.int64() if kinds == {int} else None)
        except (pa.ArrowInvalid, OverflowError):
            return pa.array([None if one is None else float(one) for one in values], pa.float64())
    if kinds <= {int, float}:
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    return pa.array([None if one is None else str(one) for one in values], pa.string())


def _joined(chunks: list[_Chunk]) -> Any:
    """Table of all chunks, with one type for each column, and the order of items."""
    names = dict.fromkeys(name for chunk in chunks for name in chunk.columns)
    # Column by column, and parts are let go at once: else all would be in memory twice.
    columns = {name: _concatenated([(c.columns.pop(name, None), c.count) for c in chunks]) for name in names}
    columns.setdefault("id", pa.array([], pa.string()))
    columns.setdefault("collection", pa.array([], pa.string()))
    names_ranked = (Ranks.of(columns["collection"]).ranks, Ranks.of(columns["id"]).ranks)
    order = np.lexsort((*names_ranked, -np.asarray(columns[TIME])))
    columns[ORDER] = pa.array(order.astype(np.int32))
    return pa.table({name: _compact(column) if name not in _OWN else column for name, column in columns.items()})


def _concatenated(parts: list[tuple[Any, int]]) -> Any:
    kinds = {part.type for part, _ in parts if part is not None and not pa.types.is_null(part.type)}
    if len(kinds) > 1:
        numbers = all(pa.types.is_integer(one) or pa.types.is_floating(one) for one in kinds)
        kinds = {pa.float64() if numbers else pa.string()}
    kind = next(iter(kinds), pa.string())
    whole = [pa.nulls(count, kind) if part is None else part.cast(kind) for part, count in parts]
    return pa.concat_arrays(whole)


def _compact(column: Any) -> Any:
    """Texts that repeat as a dictionary."""
    if not pa.types.is_string(column.type) or not len(column):
        return column
    distinct = pc.count_distinct(column).as_py()
    return column.dictionary_encode() if distinct <= _MOST_TEXTS * len(column) and distinct < 2**16 else column
