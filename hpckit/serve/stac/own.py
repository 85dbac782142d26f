"""Our own collections: indexes of data sets, made once for each state, and searched together."""

from __future__ import annotations

import heapq
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from hpckit.base.files import digest_json
from hpckit.catalogue.moments import moment
from hpckit.errors import HpckitError
from hpckit.serve.stac.indexing import Indexer
from hpckit.serve.stac.order import Value
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.sources import Source
from hpckit.serve.stac.table import ItemTable

_VERSION: Final = 1
"""Grows when the same files give other items."""
_LOOK_S: Final = 15.0
"""How old the knowledge of what there is may be."""
_LOG: Final = logging.getLogger("hpckit.serve")
_AGAIN_S: Final = 300.0
"""When an index that could not be made is tried again, if nothing changes before."""
_AT_ONCE: Final = 3
"""Indexes that are made at a time."""
_FIRST_S: Final = 20.0
"""How long a request waits for the index of a collection that has none yet."""


@dataclass(slots=True)
class Shelf:
    """A collection and its index."""

    source: Source
    table: ItemTable

    @property
    def id(self) -> str:
        """Of the collection."""
        return self.source.collection


@dataclass(frozen=True, slots=True)
class Page:
    """Items of a page, and what is after it."""

    items: list[dict[str, Any]]
    more: bool
    matched: int | None
    datasets: dict[str, str] = field(default_factory=dict)
    """Data set of each collection."""


class OwnCatalogue:
    """All of our own collections.

    Parameters
    ----------
    find : callable
        Sources that there are now.
    folder : Path
        For indexes, which are made again when they are not there.
    """

    def __init__(self, find: Callable[[], Iterable[Source]], folder: Path) -> None:
        self._find = find
        self._folder = folder
        self._shelves: dict[str, Shelf] = {}
        self._building: dict[str, tuple[Future[Shelf | None], Source]] = {}
        self._failed: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._looked = -_LOOK_S
        self._indexer = Indexer()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stac-index")

    def shelves(self) -> list[Shelf]:
        """Collections that there are, with the newest index that is whole."""
        with self._lock:
            if time.monotonic() - self._looked >= _LOOK_S:
                self._look()
                self._looked = time.monotonic()
            waiting = [future for name, (future, _) in self._building.items() if name not in self._shelves]
        end = time.monotonic() + _FIRST_S
        for future in waiting:
            try:
                future.result(max(0.0, end - time.monotonic()))
            except TimeoutError:
                break
        with self._lock:
            return list(self._shelves.values())

    def unready(self) -> list[Source]:
        """Collections whose first index is being made."""
        with self._lock:
            return [source for name, (_, source) in self._building.items() if name not in self._shelves]

    def search(
        self, search: Search, shelves: Sequence[Shelf], after: Sequence[Value] | None, count: int | None = None
    ) -> Page:
        """Items of several collections, in one order."""
        most, datasets = count or search.limit, {shelf.id: shelf.source.dataset for shelf in shelves}
        found = [(shelf, shelf.table.find(search, None, after, most)) for shelf in shelves]
        items = _merged(search, found, most)
        more = any(one.more for _, one in found) or sum(len(one.rows) for _, one in found) > most
        matched = [one.matched for _, one in found]
        known = None if None in matched else sum(number or 0 for number in matched)
        return Page(items, more, known, datasets)

    def close(self) -> None:
        """End work on indexes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._indexer.close()

    def _look(self) -> None:
        """Begin to make indexes that are not there."""
        wanted = {source.collection: source for source in self._find()}
        for name in self._shelves.keys() - wanted.keys():
            del self._shelves[name]
        for name, source in wanted.items():
            known = self._shelves.get(name)
            digest, until = self._failed.get(name, ("", 0.0))
            rests = digest == source.digest and time.monotonic() < until
            is_new = known is None or known.source.digest != source.digest
            if is_new and not rests and name not in self._building:
                self._building[name] = self._pool.submit(self._made, source), source

    def _made(self, source: Source) -> Shelf | None:
        name = digest_json([_VERSION, source.collection, source.digest])[:32]
        folder = self._folder / source.collection / name
        try:
            if not folder.is_dir():
                self._indexer.make(folder, source)
            shelf = Shelf(source, ItemTable(folder))
            shelf.table.warm()
        except (HpckitError, OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            _LOG.warning("the index of %s cannot be made: %s", source.collection, error)
            self._failed[source.collection] = source.digest, time.monotonic() + _AGAIN_S
            return None  # what is being written now is looked at again
        else:
            with self._lock:
                self._shelves[source.collection] = shelf
        finally:
            with self._lock:
                self._building.pop(source.collection, None)
        for other in folder.parent.iterdir():
            if other.name != name and not other.name.startswith("."):
                shutil.rmtree(other, ignore_errors=True)
        return shelf


def _merged(search: Search, found: Sequence[tuple[Shelf, Any]], most: int) -> list[dict[str, Any]]:
    """The first items of several pages."""
    if len(found) == 1:
        return found[0][0].table.read(found[0][1].rows)

    def items(shelf: Shelf, rows: Sequence[int]) -> Iterator[tuple[Any, int, dict[str, Any]]]:
        for item in shelf.table.read(rows):
            yield search.order.place(search.order.values(item)), id(shelf), item

    streams = (items(shelf, one.rows) for shelf, one in found)
    merged = heapq.merge(*streams, key=lambda each: (each[0], each[1]))
    return [item for _, (_, _, item) in zip(range(most), merged, strict=False)]


def extent_of(shelf: Shelf) -> dict[str, Any]:
    """Extent of a collection, in STAC's form."""
    found = shelf.table.extent(shelf.id)
    if found is None:
        return {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    box, first, last = found
    return {"spatial": {"bbox": [box]}, "temporal": {"interval": [[moment(first), moment(last)]]}}
