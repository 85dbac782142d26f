"""One search over our own collections and those of members: one order, each product once, reports of members."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx

from hpckit.base.files import digest
from hpckit.base.version import __version__
from hpckit.catalogue.federation import MEMBER, product_of
from hpckit.catalogue.wanted import Wanted
from hpckit.errors import CatalogueError
from hpckit.serve.settings import Member as MemberSettings
from hpckit.serve.stac.order import Place, Value
from hpckit.serve.stac.own import OwnCatalogue, Shelf
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.remote import (
    OutOfOrderError,
    Placed,
    Remote,
    RemoteItems,
    Report,
    RestingError,
    TooManyError,
    shown_item,
)
from hpckit.serve.stac.tokens import Cursor, Values

_MARKS: Final = 300
"""Products that a token remembers."""
_NEAR: Final = 3600 * 1_000_000
"""Microseconds by which the times of copies may differ: some catalogues have that of the orbit, some of the tile."""
_OURS: Final = ""
_THREADS: Final = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of a search."""

    items: list[dict[str, Any]]
    next: Cursor | None
    matched: int | None = None
    members: list[Report] = field(default_factory=list)


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


class Broker:
    """Members of the federation, and searches over them and our own collections.

    Parameters
    ----------
    own : OwnCatalogue
    members : sequence of Member
    merged : mapping
        Our own names of several members' collections: `MEMBER|collection`.
    """

    def __init__(
        self,
        own: OwnCatalogue,
        members: Sequence[MemberSettings] = (),
        merged: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.own = own
        self.merged = dict(merged or {})
        agent = {"User-Agent": f"hpckit/{__version__}"}
        self._client = httpx.Client(headers=agent, timeout=30.0)
        self.remotes = {one.id: Remote(one, self._client) for one in members}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="stac-member")

    def close(self) -> None:
        """End connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def targets(self, collection: str) -> list[tuple[Remote, str]]:
        """Members and their names of a collection; none if it is no member's."""
        found = []
        for name in self.merged.get(collection, (collection,)):
            member, bar, rest = name.partition("|")
            remote = self.remotes.get(member) if bar else None
            theirs = None if remote is None else remote.own_name(rest)
            if remote is not None and theirs is not None:
                found.append((remote, theirs))
        return found

    def search(self, search: Search, shelves: Sequence[Shelf], cursor: Cursor, *, dedup: bool = True) -> Answer:
        """A page of a search.

        Parameters
        ----------
        shelves : sequence of Shelf
            Our own collections, as far as the reader may know of them and the search names them.
        dedup : bool
            Give each product once.
        """
        shown: dict[str, dict[str, str]] = {}
        for collection in self.merged if search.collections is None else search.collections:
            for remote, theirs in self.targets(collection):
                shown.setdefault(remote.id, {}).setdefault(theirs, collection)
        if not shown:
            page = self.own.search(search, shelves, cursor.after)
            after = search.order.values(page.items[-1]) if page.items and page.more else None
            return Answer(page.items, None if after is None else Cursor(after), page.matched)
        while True:
            try:
                return self._merged(search, shelves, shown, cursor, dedup=dedup)
            except OutOfOrderError:
                continue  # each member is found out once

    def item(self, collection: str, name: str) -> dict[str, Any] | None:
        """An item of a member's collection.

        Raises
        ------
        CatalogueError
            If it cannot be known whether there is one, since a member does not answer.
        """
        fault: CatalogueError | None = None
        for remote, theirs in self.targets(collection):
            try:
                raw = remote.ask().item(theirs, name)
            except CatalogueError as error:
                remote.failed(error)
                fault = error
                continue
            item = None if raw is None else shown_item(raw, collection, remote)
            if item is not None and item.get("id") == name:
                return item
        if fault is not None:
            raise fault
        return None

    def collections(self) -> tuple[dict[str, tuple[Remote, dict[str, Any]]], list[Report]]:
        """Collections of all members by our names, and a report of each member."""

        def ask(remote: Remote) -> tuple[dict[str, dict[str, Any]], Report]:
            report, began = Report(remote.id), time.monotonic()
            try:
                found = remote.collections()
            except CatalogueError as error:
                remote.failed(error)
                found, report.error, report.status = {}, error.message, _status(error)
            report.returned, report.seconds = len(found), round(time.monotonic() - began, 3)
            return found, report

        shown: dict[str, tuple[Remote, dict[str, Any]]] = {}
        reports = []
        remotes = list(self.remotes.values())
        for remote, (found, report) in zip(remotes, self._pool.map(ask, remotes), strict=True):
            reports.append(report)
            shown |= {f"{remote.id}|{name}": (remote, one) for name, one in found.items()}
        return shown, reports

    def _merged(
        self,
        search: Search,
        shelves: Sequence[Shelf],
        shown: Mapping[str, Mapping[str, str]],
        cursor: Cursor,
        *,
        dedup: bool,
    ) -> Answer:
        import cql2

        expression = None if search.filter is None else cql2.Expr(dict(search.filter))
        wanted = Wanted(search.area, search.start, search.end, expression)
        streams = [
            Stream(RemoteItems(self.remotes[name], names, search, wanted, after, search.limit), after)
            for name, names in shown.items()
            for after in [cursor.behind.get(name, cursor.after)]
        ]
        if shelves:
            streams.append(Stream(_Ours(self.own, search, shelves, cursor.after), cursor.after))
        list(self._pool.map(Stream.advance, streams))  # the first pages of all members at once
        page = _Page(search, cursor, dedup=dedup and len(streams) > 1)
        page.fill(streams)
        reports = [_reported(stream) for stream in streams if isinstance(stream.of, RemoteItems)]
        return Answer(page.items, page.next(streams), members=reports)


@dataclass
class _Ours:
    """Items of our own collections."""

    own: OwnCatalogue
    search: Search
    shelves: Sequence[Shelf]
    after: Values | None
    id: str = _OURS

    def items(self) -> Iterator[Placed]:
        order, after = self.search.order, self.after
        while True:
            page = self.own.search(self.search, self.shelves, after, self.search.limit + 1)
            for item in page.items:
                after = order.values(item)
                yield order.place(after), item
            if not page.more:
                return

    def read_already(self) -> Iterable[dict[str, Any]]:
        return ()

    def working(self) -> AbstractContextManager[None]:
        return nullcontext()


class _Page:
    """A page that is filled."""

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
    return str(item.get("collection")), str(item["properties"].get(MEMBER, _OURS))


def _mark(product: str) -> str:
    return digest(product.encode())[:10]


def _reported(stream: Stream) -> Report:
    assert isinstance(stream.of, RemoteItems)
    report = stream.of.report
    if stream.error is not None:
        stream.of.remote.failed(stream.error)
        report.error, report.status = stream.error.message, _status(stream.error)
    return report


def _status(error: CatalogueError) -> str:
    if isinstance(error, RestingError):
        return "resting"
    if isinstance(error, TooManyError):
        return "unsorted"
    return "failed"
