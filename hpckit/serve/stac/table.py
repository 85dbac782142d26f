"""Items of one index, searched by columns: masks of numpy, and items of the page alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from hpckit.serve.stac.building import BOX, COLUMNS, DOCUMENTS, END, GEOMETRY, MOMENTS, ORDER, START, TIME
from hpckit.serve.stac.conditions import holds
from hpckit.serve.stac.documents import Documents
from hpckit.serve.stac.order import Order, Value
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.ranks import Ranks, fold

_TESTED_AT_ONCE: Final = 2_000
"""Outlines up to which all are compared with the area, so that the number of items is known."""
_MANY: Final = 50_000
"""Items from which they are reduced to the first ones by one field, before they are sorted by all."""
_DEFAULT: Final = Order()

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a page."""

    rows: list[int]
    more: bool
    """Whether there are items after it."""
    matched: int | None
    """Of all pages, where it is known."""


class ItemTable:
    """Items of an index that `building.build` wrote; many threads may search it.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        with pa.memory_map(str(folder / COLUMNS)) as source:
            table = pa.ipc.open_file(source).read_all()
        self._columns: dict[str, Any] = {
            name: table.column(name).combine_chunks() if table.column(name).num_chunks != 1 else table[name].chunk(0)
            for name in table.column_names
        }
        self._boxes = [np.asarray(self._columns[name]) for name in BOX]
        self._geometry = self._columns[GEOMETRY]
        self._time, self._start, self._end = (np.asarray(self._columns[name]) for name in (TIME, START, END))
        self._order: npt.NDArray[np.int32] = np.asarray(self._columns[ORDER])
        self._place = np.empty(len(self._order), np.int32)
        self._place[self._order] = np.arange(len(self._order), dtype=np.int32)
        self._documents = Documents(folder / DOCUMENTS)
        self._ranks: dict[str, Ranks] = {}
        self._ranking = threading.Lock()

    def __len__(self) -> int:
        """Number of items."""
        return len(self._order)

    @property
    def names(self) -> dict[str, str]:
        """Kind of each property that is a column: `string`, `number`, `integer`, `boolean` or `date-time`."""
        return {
            name: "date-time" if name in MOMENTS else _kind(column.type)
            for name, column in self._columns.items()
            if not name.startswith("\0")
        }

    def column(self, name: str) -> Any:
        """Column of a property."""
        return None if name.startswith("\0") else self._columns.get(name)

    def overlapping(self, area: shapely.Geometry) -> Rows:
        """Rows of items whose boxes meet that of an area."""
        return np.flatnonzero(self._meets(area))

    def geometries(self, rows: Rows) -> npt.NDArray[Any]:
        """Outlines of items."""
        found = shapely.from_wkb(np.asarray(self._geometry.take(pa.array(rows)).to_pylist(), object))
        return np.asarray(found)

    def read(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Items of rows."""
        return self._documents.read(rows)

    def rows_of(self, collection: str | None = None) -> npt.NDArray[np.bool_]:
        """Which items are of a collection."""
        if collection is None:
            return np.ones(len(self), np.bool_)
        return holds({"op": "=", "args": [{"property": "collection"}, collection]}, self)

    def extent(self, collection: str) -> tuple[list[float], int, int] | None:
        """Box, first and last moment of a collection; None if it has no item."""
        rows = self.rows_of(collection)
        if not rows.any():
            return None
        west, south, east, north = (axis[rows] for axis in self._boxes)
        across = west > east
        span = [-180.0, 180.0] if across.any() else [float(np.nanmin(west)), float(np.nanmax(east))]
        box = [span[0], float(np.nanmin(south)), span[1], float(np.nanmax(north))]
        if not np.isfinite(box).all():
            box = [-180.0, -90.0, 180.0, 90.0]
        return box, int(self._start[rows].min()), int(self._end[rows].max())

    def warm(self) -> None:
        """Rank what items are sorted by most often, so that no search has to."""
        for name in ("id", "collection", "datetime", "eo:cloud_cover"):
            self._ranked(name)

    def find(
        self, search: Search, collections: Sequence[str] | None, after: Sequence[Value] | None, count: int
    ) -> Found:
        """Search.

        Parameters
        ----------
        collections : sequence of str, optional
            Of which items are wanted.
        after : sequence of Value, optional
            What the last item of the page before is sorted by.
        count : int
            Most items of the page.
        """
        mask, unsure = self._mask(search, collections)
        rows = np.flatnonzero(mask)
        area = search.area
        if area is not None and unsure is not None:
            asked = rows[unsure[rows]]
            if len(asked) <= _TESTED_AT_ONCE:
                mask[asked] = self._intersect(asked, area)
                rows, unsure = np.flatnonzero(mask), None
        matched = len(rows) if unsure is None else None
        if unsure is None and len(rows) > _MANY and search.order != _DEFAULT:
            rows = self._near_first(search.order, rows, after, count + 1)
        places, last = self._places(search.order, rows, after)
        if last is not None:
            rows, places = rows[places > last], places[places > last]
        found = self._first(rows, places, count + 1, area, unsure)
        return Found(found[:count], len(found) > count, matched)

    def _mask(
        self, search: Search, collections: Sequence[str] | None
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None]:
        """Which items fit as far as columns tell, and for which only the outline tells whether they do."""
        mask = np.ones(len(self), np.bool_) if search.ids is None else self._with_ids(search.ids)
        if collections is not None:
            mask &= holds({"op": "in", "args": [{"property": "collection"}, list(collections)]}, self)
        if search.start is not None:
            mask &= self._end >= search.start
        if search.end is not None:
            mask &= self._start <= search.end
        unsure = None
        if search.area is not None:
            mask &= self._meets(search.area)
            unsure = ~self._within(search.area)
        if search.filter is not None:
            mask &= holds(search.filter, self)
        return mask, unsure

    def _with_ids(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        ranks = self._ranked("id")
        wanted = np.zeros(ranks.nothing + 1, np.bool_)
        wanted[[rank for rank in map(ranks.rank, ids) if rank % 2 == 0]] = True
        return np.asarray(wanted[ranks.ranks])

    def _meets(self, area: shapely.Geometry) -> npt.NDArray[np.bool_]:
        west, south, east, north = self._boxes
        found = np.zeros(len(self), np.bool_)
        for part in shapely.get_parts(area):  # an area across 180 degrees has two
            low, bottom, high, top = shapely.bounds(part)
            plain = (west <= high) & (east >= low)
            across = west > east
            if across.any():
                plain |= across & ((west <= high) | (east >= low))
            found |= plain & (south <= top) & (north >= bottom)
        return found

    def _within(self, area: shapely.Geometry) -> npt.NDArray[np.bool_]:
        """Which items lie in the area for sure: their boxes do, and it is a box."""
        west, south, east, north = self._boxes
        found = np.zeros(len(self), np.bool_)
        for part in shapely.get_parts(area):
            low, bottom, high, top = shapely.bounds(part)
            if shapely.area(part) > 0 and shapely.equals(part, shapely.box(low, bottom, high, top)):
                found |= (west >= low) & (east <= high) & (south >= bottom) & (north <= top) & (west <= east)
        return found

    def _intersect(self, rows: Rows, area: shapely.Geometry) -> npt.NDArray[np.bool_]:
        shapely.prepare(area)
        return np.asarray(shapely.intersects(area, self.geometries(rows)))

    def _places(self, order: Order, rows: Rows, after: Sequence[Value] | None) -> tuple[npt.NDArray[Any], int | None]:
        """Places of rows in an order, and that of the last item of the page before."""
        if order == _DEFAULT:
            return self._place[rows], None if after is None else self._last(after)
        parts = []
        for number, key in enumerate(order.keys):
            ranks = self._ranked(key.field)
            here = np.array([0 if after is None else ranks.rank(after[number])], np.int64)
            directed = ranks.directed(ranks.ranks[rows].astype(np.int64), descending=key.descending)
            parts.append((directed, int(ranks.directed(here, descending=key.descending)[0]), ranks.span))
        folded, place = fold(parts)
        return folded, None if after is None else place

    def _near_first(self, order: Order, rows: Rows, after: Sequence[Value] | None, count: int) -> Rows:
        """Rows among which the first ones in an order are, by the first field of it alone."""
        key = order.keys[0]
        ranks = self._ranked(key.field)
        directed = ranks.directed(ranks.ranks[rows], descending=key.descending)
        if after is not None:
            here = np.array([ranks.rank(after[0])], np.int32)
            last = int(ranks.directed(here, descending=key.descending)[0])
            rows, directed = rows[directed >= last], directed[directed >= last]
            count += int(np.count_nonzero(directed == last))  # as many may be on pages before
        if len(rows) <= count:
            return rows
        return np.asarray(rows[directed <= np.partition(directed, count)[count]])

    def _last(self, after: Sequence[Value]) -> int:
        """Place in the usual order of the last item that does not come after given values."""
        wanted, low, high = _DEFAULT.place(after), 0, len(self)
        names, collections = self._columns["id"], self._columns["collection"]
        while low < high:
            middle = (low + high) // 2
            row = int(self._order[middle])
            here = (int(self._time[row]), names[row].as_py(), collections[row].as_py())
            if _DEFAULT.place(here) <= wanted:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def _first(
        self,
        rows: Rows,
        places: npt.NDArray[Any],
        count: int,
        area: shapely.Geometry | None,
        unsure: npt.NDArray[np.bool_] | None,
    ) -> list[int]:
        """The first rows in an order; outlines are compared with the area for as few as will do."""
        found: list[int] = []
        size = count if unsure is None else max(4 * count, 256)
        while len(rows) and len(found) < count:
            if size < len(rows):
                cut = np.argpartition(places, size)
                some, rest = cut[:size], cut[size:]
            else:
                some, rest = np.arange(len(rows)), np.empty(0, np.int64)
            some = some[np.argsort(places[some], kind="stable")]
            chosen = rows[some]
            if area is not None and unsure is not None:
                fits = ~unsure[chosen]
                fits[~fits] = self._intersect(chosen[~fits], area)
                chosen = chosen[fits]
            found += chosen.tolist()
            rows, places = rows[rest], places[rest]
            size *= 8
        return found[:count]

    def _ranked(self, name: str) -> Ranks:
        with self._ranking:
            if name not in self._ranks:
                column = self._columns[TIME] if name == "datetime" else self.column(name)
                self._ranks[name] = Ranks.of(pa.nulls(len(self), pa.int64()) if column is None else column)
            return self._ranks[name]


def _kind(kind: Any) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"
