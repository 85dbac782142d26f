"""One search over our own collections and those of members: one order, each product once, reports of members."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from hpckit.base.version import __version__
from hpckit.catalogue.wanted import Wanted
from hpckit.errors import CatalogueError
from hpckit.serve.settings import Member as MemberSettings
from hpckit.serve.stac.merging import OURS, Dedup, Page, Stream, report_of, status_of
from hpckit.serve.stac.own import OwnCatalogue, Shelf
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.remote import (
    OutOfOrderError,
    Placed,
    Remote,
    RemoteItems,
    Report,
)
from hpckit.serve.stac.shown import shown_item
from hpckit.serve.stac.tokens import Cursor, Values

_THREADS: Final = 32
_AHEAD: Final = 100
"""Items that are asked for at least where later ones are looked at, too."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of a search."""

    items: list[dict[str, Any]]
    next: Cursor | None
    matched: int | None = None
    members: list[Report] = field(default_factory=list)


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

    def search(self, search: Search, shelves: Sequence[Shelf], cursor: Cursor, dedup: Dedup = "product") -> Answer:
        """A page of a search.

        Parameters
        ----------
        shelves : sequence of Shelf
            Our own collections, as far as the reader may know of them and the search names them.
        dedup : {"product", "acquisition", "none"}
            Give each product once, or of each acquisition what has the newest baseline; for the latter, the order is
            that of time.
        """
        shown: dict[str, dict[str, str]] = {}
        for collection in self.merged if search.collections is None else search.collections:
            for remote, theirs in self.targets(collection):
                shown.setdefault(remote.id, {}).setdefault(theirs, collection)
        if not shown and dedup != "acquisition":
            page = self.own.search(search, shelves, cursor.after)
            after = search.order.values(page.items[-1]) if page.items and page.more else None
            return Answer(page.items, None if after is None else Cursor(after), page.matched)
        while True:
            try:
                return self._merged(search, shelves, shown, cursor, dedup)
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
            item = None if raw is None else shown_item(raw, collection, remote.id, remote.settings.url)
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
                found, report.error, report.status = {}, error.message, status_of(error)
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
        dedup: Dedup,
    ) -> Answer:
        import cql2

        expression = None if search.filter is None else cql2.Expr(dict(search.filter))
        wanted = Wanted(search.area, search.start, search.end, expression)
        count = max(search.limit, _AHEAD) if dedup == "acquisition" else search.limit
        streams = [
            Stream(RemoteItems(self.remotes[name], names, search, wanted, after, count), after)
            for name, names in shown.items()
            for after in [cursor.behind.get(name, cursor.after)]
        ]
        if shelves:
            streams.append(Stream(_Ours(self.own, search, shelves, cursor.after), cursor.after))
        list(self._pool.map(Stream.advance, streams))  # the first pages of all members at once
        page = Page(search, cursor, "none" if dedup == "product" and len(streams) == 1 else dedup)
        page.fill(streams)
        reports = [report_of(stream) for stream in streams if isinstance(stream.of, RemoteItems)]
        return Answer(page.items, page.next(streams), members=reports)


@dataclass
class _Ours:
    """Items of our own collections."""

    own: OwnCatalogue
    search: Search
    shelves: Sequence[Shelf]
    after: Values | None
    id: str = OURS

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
