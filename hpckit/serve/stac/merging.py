"""Items of several members and of our own merged in one order, each product once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from hpckit.base.files import digest
from hpckit.catalogue.federation import MEMBER, product_of
from hpckit.errors import CatalogueError
from hpckit.serve.stac.order import Place, Value
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.remote import OutOfOrderError, Placed, RemoteItems, Report, RestingError, TooManyError
from hpckit.serve.stac.tokens import Cursor, Values

_MARKS: Final = 300
"""Products that a token remembers."""
_NEAR: Final = 3600 * 1_000_000
"""Microseconds by which the times of copies may differ: some catalogues have that of the orbit, some of the tile."""
OURS: Final = ""
"""Stands for our own collections, where others have the name of a member."""


class Items(Protocol):
    """Items of our own collections, or of a member, in the order of a search."""

    @property
    def id(self) -> str:
        """Of the member; empty for our own."""

    def items(self) -> Iterator[Placed]:
        """Items with their places."""

    def read_already(self) -> Iterable[dict[str, Any]]:
        """Items that are read, and not part of the page."""

    def working(self) -> AbstractContextManager[None]:
        """Within it, items are fetched."""


@dataclass
class Stream:
    """Items that are merged with others: the next one, and how far it has come."""

    of: Items
    start: Values | None
    begun: Iterator[Placed] | None = None
    head: Placed | None = None
    come: tuple[Place, ...] | None = None
    """Place of the last item that was taken."""
    last: Values | None = None
    error: CatalogueError | None = None

    def advance(self) -> None:
        """Go to the next item.

        Raises
        ------
        OutOfOrderError
            If the search is to begin again, with the items of this member sorted here.
        """
        try:
            with self.of.working():
                if self.begun is None:
                    self.begun = self.of.items()
                self.head = next(self.begun, None)
        except OutOfOrderError:
            raise
        except CatalogueError as error:
            self.head, self.error = None, error


class Page:
    """A page that is filled.

    Parameters
    ----------
    search : Search
    cursor : Cursor
        Where the walk goes on.
    dedup : bool
        Give each product once.
    """

    def __init__(self, search: Search, cursor: Cursor, *, dedup: bool) -> None:
        self.items: list[dict[str, Any]] = []
        self._search, self._cursor, self._dedup = search, cursor, dedup
        self._seen = set(cursor.seen)
        self._by_product: dict[str, dict[str, Any]] = {}

    def fill(self, streams: Sequence[Stream]) -> None:
        """Take the first items of all streams."""
        heap = [(stream.head[0], number) for number, stream in enumerate(streams) if stream.head is not None]
        heapq.heapify(heap)
        while heap and len(self.items) < self._search.limit:
            _, number = heapq.heappop(heap)
            stream = streams[number]
            assert stream.head is not None
            place, item = stream.head
            self._take(stream, item)
            stream.come, stream.last = place, self._search.order.values(item)
            stream.advance()
            if stream.head is not None:
                heapq.heappush(heap, (stream.head[0], number))
        for stream in streams:
            left = [] if stream.head is None else [stream.head[1]]
            for item in (*left, *stream.of.read_already()):
                self._note_copy(item)

    def next(self, streams: Sequence[Stream]) -> Cursor | None:
        """Where the walk goes on; None at its end, also where a member stays away."""
        if all(stream.head is None for stream in streams):
            return None
        order, behind = self._search.order, self._cursor.behind
        ends = [(stream.come, stream.last) for stream in streams if stream.come and stream.of.id not in behind]
        after = max(ends, key=lambda each: each[0])[1] if ends else self._cursor.after
        late: dict[str, Values | None] = {}
        for stream in streams:
            come = stream.last or stream.start
            caught_up = after is None or (come is not None and order.place(come) >= order.place(after))
            if stream.error is not None or (stream.of.id in behind and not caught_up):
                late[stream.of.id] = come
        return Cursor(after, self._marks(after), late)

    def _take(self, stream: Stream, item: dict[str, Any]) -> None:
        report = stream.of.report if isinstance(stream.of, RemoteItems) else None
        product = product_of(item) if self._dedup else None
        if product is not None and (product in self._by_product or _mark(product) in self._seen):
            self._note_copy(item)
            if report is not None:
                report.copies += 1
            return
        if product is not None:
            self._by_product[product] = item
        self.items.append(item)
        if report is not None:
            report.returned += 1

    def _note_copy(self, item: Mapping[str, Any]) -> None:
        """Link an item to a copy of its product."""
        product = product_of(item) if self._dedup else None
        known = None if product is None else self._by_product.get(product)
        if known is None or known is item or _origin(known) == _origin(item):
            return
        copy = {"rel": "alternate", "href": f"hpckit:item/{item['collection']}/{item['id']}"}
        told = {"type": "application/geo+json", "alternate:name": _origin(item)[1] or "hpckit", "title": item["id"]}
        if not any(link.get("href") == copy["href"] for link in known["links"]):
            known["links"] = [*known["links"], {**copy, **told}]

    def _marks(self, after: Values | None) -> tuple[str, ...]:
        """Products of which copies may come on the next pages."""
        order, marks = self._search.order, list[str]()
        for product, item in self._by_product.items():
            time_of_item = order.values(item)[0] if order.by_time else None
            if after is None or time_of_item is None or _is_near(time_of_item, after[0]):
                marks.append(_mark(product))
        return tuple(dict.fromkeys([*self._cursor.seen, *marks]))[-_MARKS:]


def _is_near(one: Value, other: Value) -> bool:
    return isinstance(one, int) and isinstance(other, int) and abs(one - other) <= _NEAR


def _origin(item: Mapping[str, Any]) -> tuple[str, str]:
    """Collection and member of an item."""
    return str(item.get("collection")), str(item["properties"].get(MEMBER, OURS))


def _mark(product: str) -> str:
    return digest(product.encode())[:10]


def report_of(stream: Stream) -> Report:
    """Report of a member; one that did not answer rests from now on."""
    assert isinstance(stream.of, RemoteItems)
    report = stream.of.report
    if stream.error is not None:
        stream.of.remote.failed(stream.error)
        report.error, report.status = stream.error.message, status_of(stream.error)
    return report


def status_of(error: CatalogueError) -> str:
    """Word for an error of a member."""
    if isinstance(error, RestingError):
        return "resting"
    if isinstance(error, TooManyError):
        return "unsorted"
    return "failed"
