"""Items of several members and of our own merged in one order, each product once."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from hpckit.base.files import digest
from hpckit.catalogue.federation import MEMBER, acquisition_of, product_of
from hpckit.errors import CatalogueError
from hpckit.serve.stac.order import Place, Value
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.remote import OutOfOrderError, Placed, RemoteItems, Report, RestingError, TooManyError
from hpckit.serve.stac.tokens import Cursor, Values

_MARKS: Final = 300
"""Products that a token remembers."""
_NEAR: Final = 3600 * 1_000_000
"""Microseconds by which the times of copies may differ: some catalogues have that of the orbit, some of the tile."""
Dedup = Literal["product", "acquisition", "none"]
"""What is given once: a product; or an acquisition, in its newest baseline; or nothing."""
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
    dedup : Dedup
    """

    def __init__(self, search: Search, cursor: Cursor, dedup: Dedup) -> None:
        self.items: list[dict[str, Any]] = []
        self._search, self._cursor, self._dedup = search, cursor, dedup
        self._seen = {mark for mark in cursor.seen if ":" not in mark}
        self._by_product: dict[str, dict[str, Any]] = {}
        self._ahead: deque[tuple[Stream, Placed]] = deque()
        """Read and not decided on: whether a newer baseline follows is known when nothing near in time is left."""
        self._baselines = dict(_baseline_of_mark(mark) for mark in cursor.seen if ":" in mark)
        """Newest baseline of acquisitions, by their marks."""
        self._of_acquisition: dict[str, list[dict[str, Any]]] = {}

    def fill(self, streams: Sequence[Stream]) -> None:
        """Take the first items of all streams."""
        merged = _merged(streams)
        while len(self.items) < self._search.limit:
            self._look_ahead(merged)
            if not self._ahead:
                break
            stream, (place, item) = self._ahead.popleft()
            self._take(stream, item)
            stream.come, stream.last = place, self._search.order.values(item)
        for stream in streams:
            left = [] if stream.head is None else [stream.head[1]]
            for item in (*left, *stream.of.read_already()):
                self._note_copy(item)
        for _, (_, item) in self._ahead:
            self._note_copy(item)

    def _look_ahead(self, merged: Iterator[tuple[Stream, Placed]]) -> None:
        """Read the next item; for acquisitions all that are near it in time."""
        while not self._ahead or (self._dedup == "acquisition" and self._is_near(self._ahead[0], self._ahead[-1])):
            following = next(merged, None)
            if following is None:
                return
            self._ahead.append(following)
            known = self._acquisition(following[1][1])
            if known is not None:
                mark, baseline = known
                self._baselines[mark] = max(baseline, self._baselines.get(mark, baseline))

    def next(self, streams: Sequence[Stream]) -> Cursor | None:
        """Where the walk goes on; None at its end, also where a member stays away."""
        if not self._ahead and all(stream.head is None for stream in streams):
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
        known = self._acquisition(item)
        if known is not None and not self._is_newest(*known, item):
            if report is not None:
                report.superseded += 1
            return
        product = self._product(item)
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

    def _product(self, item: Mapping[str, Any]) -> str | None:
        return None if self._dedup == "none" else product_of(item)

    def _acquisition(self, item: Mapping[str, Any]) -> tuple[str, int] | None:
        """Mark of the acquisition of an item, and its baseline; None where acquisitions do not count."""
        product = product_of(item) if self._dedup == "acquisition" else None
        found = None if product is None else acquisition_of(product)
        return None if found is None else (_mark(found[0]), found[1])

    def _is_newest(self, acquisition: str, baseline: int, item: dict[str, Any]) -> bool:
        """Whether an item is of the newest baseline of its acquisition; the newest are linked to the others."""
        others = self._of_acquisition.setdefault(acquisition, [])
        is_newest = baseline == self._baselines.get(acquisition, baseline)
        for newer, older in [(item, one) for one in others] if is_newest else [(one, item) for one in others]:
            if self._acquisition(newer) != self._acquisition(older):
                _link(newer, older, "predecessor-version")
        others.append(item)
        return is_newest

    def _is_near(self, one: tuple[Stream, Placed], other: tuple[Stream, Placed]) -> bool:
        first, last = (self._search.order.values(each[1][1])[0] for each in (one, other))
        return _is_near(first, last)

    def _note_copy(self, item: Mapping[str, Any]) -> None:
        """Link an item to a copy of its product."""
        product = self._product(item)
        known = None if product is None else self._by_product.get(product)
        if known is None or known is item or _origin(known) == _origin(item):
            return
        _link(known, item, "alternate", **{"alternate:name": _origin(item)[1] or "hpckit"})

    def _marks(self, after: Values | None) -> tuple[str, ...]:
        """Products of which copies, and acquisitions of which older baselines may come on the next pages."""
        order, marks = self._search.order, list[str]()
        for product, item in self._by_product.items():
            time_of_item = order.values(item)[0] if order.by_time else None
            if after is None or time_of_item is None or _is_near(time_of_item, after[0]):
                marks.append(_mark(product))
                if (known := self._acquisition(item)) is not None:
                    marks.append(f"{known[0]}:{known[1]}")
        return tuple(dict.fromkeys([*self._cursor.seen, *marks]))[-_MARKS:]


def _merged(streams: Sequence[Stream]) -> Iterator[tuple[Stream, Placed]]:
    """Items of all streams in order, each stream one item ahead."""
    heap = [(stream.head[0], number) for number, stream in enumerate(streams) if stream.head is not None]
    heapq.heapify(heap)
    while heap:
        _, number = heapq.heappop(heap)
        stream = streams[number]
        assert stream.head is not None
        taken = stream.head
        stream.advance()
        if stream.head is not None:
            heapq.heappush(heap, (stream.head[0], number))
        yield stream, taken


def _link(item: dict[str, Any], other: Mapping[str, Any], rel: str, **more: str) -> None:
    """Link an item to another one, once."""
    href = f"hpckit:item/{other['collection']}/{other['id']}"
    if not any(link.get("href") == href for link in item["links"]):
        link = {"rel": rel, "href": href, "type": "application/geo+json", "title": other["id"], **more}
        item["links"] = [*item["links"], link]


def _baseline_of_mark(mark: str) -> tuple[str, int]:
    name, _, baseline = mark.partition(":")
    return name, int(baseline)


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
