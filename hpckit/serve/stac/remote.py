"""A member of the federation: its collections by our names, its items in our order, and rest after it failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import shapely.geometry

from hpckit.catalogue.member import Known, Member, Query
from hpckit.catalogue.moments import moment
from hpckit.catalogue.wanted import Wanted
from hpckit.errors import CatalogueError, CatalogueUnavailableError
from hpckit.serve.settings import Member as MemberSettings
from hpckit.serve.stac.order import Place, value_of
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.shown import shown_item
from hpckit.serve.stac.tokens import Values

if TYPE_CHECKING:
    import httpx

REST_S: Final = 60.0
"""How long a member that failed is not asked."""
SORTED_HERE: Final = 10_000
"""Items of a member that are sorted here, where it does not do it."""
_TRIES: Final = 2
_PAGE: Final = 1000
_AHEAD: Final = 250
"""Items of a page of a member that does not say that it sorts; two pages are seen before the first item is told."""
_AHEAD_PAGES: Final = 12
_SECOND: Final = 1_000_000

Placed = tuple[tuple[Place, ...], dict[str, Any]]


class OutOfOrderError(CatalogueError):
    """A member gave an item that comes before the last one."""


@dataclass
class Remote:
    """A member, for as long as the server runs.

    Parameters
    ----------
    settings : Member
    client : httpx.Client
        That follows no redirects.
    """

    settings: MemberSettings
    client: httpx.Client
    known: Known = field(default_factory=Known)
    unsorted: set[tuple[str, ...]] = field(default_factory=set)
    """Collections that it was found to give out of order."""
    _rests_until: float = 0.0
    _reason: str = ""

    @property
    def id(self) -> str:
        """Short name."""
        return self.settings.id

    def ask(self) -> Member:
        """The member, for one answer.

        Raises
        ------
        CatalogueUnavailableError
            If it rests after it failed.
        """
        left = self._rests_until - time.monotonic()
        if left > 0:
            raise RestingError(f"{self._reason}; it is asked again in {left:.0f} s")
        until = time.monotonic() + self.settings.timeout_s
        return Member(self.settings.url, self.client, until=until, tries=_TRIES, known=self.known)

    def failed(self, error: CatalogueError) -> None:
        """Let it rest, if it did not answer."""
        if isinstance(error, CatalogueUnavailableError) and not isinstance(error, RestingError):
            self._rests_until, self._reason = time.monotonic() + REST_S, error.message

    def own_name(self, name: str) -> str | None:
        """The member's name of a collection that is `MEMBER|name` here; None if it is not to be shown."""
        return self.settings.collections.get(name) if self.settings.collections else name

    def collections(self) -> dict[str, dict[str, Any]]:
        """All collections that are shown, by their names here; raises what `Member.items` does."""
        member = self.ask()
        if self.settings.collections:
            found = {ours: member.collection(theirs) for ours, theirs in self.settings.collections.items()}
            return {ours: one for ours, one in found.items() if one is not None}
        return {one["id"]: one for one in member.collections()}


class RestingError(CatalogueUnavailableError):
    """A member failed a short while ago, and is not asked."""


@dataclass
class Report:
    """What became of a search in one member."""

    id: str
    status: str = "ok"
    returned: int = 0
    """Items of the answer."""
    copies: int = 0
    """Items of products that others have, too."""
    superseded: int = 0
    """Items of acquisitions of which there is a newer baseline, where `dedup` is acquisition."""
    unfit: int = 0
    """Items that it gave and that do not fit, or cannot be understood."""
    pages: int = 0
    seconds: float = 0.0
    error: str = ""

    def told(self) -> dict[str, Any]:
        """As it is answered."""
        return {name: value for name, value in vars(self).items() if value != ""}


@dataclass
class RemoteItems:
    """Items of one member in the order of a search.

    Parameters
    ----------
    shown : mapping
        Names of the collections here, by the member's.
    after : Values, optional
        Where a walk goes on.
    count : int
        Items of a page.
    """

    remote: Remote
    shown: Mapping[str, str]
    search: Search
    wanted: Wanted
    after: Values | None
    count: int
    report: Report = field(init=False)
    rest: deque[dict[str, Any]] = field(default_factory=deque)
    """Read and not looked at yet."""
    _member: Member | None = None

    def __post_init__(self) -> None:
        """Begin a report."""
        self.report = Report(self.remote.id)

    @property
    def id(self) -> str:
        """Of the member."""
        return self.remote.id

    def items(self) -> Iterator[Placed]:
        """Items with their places, in order.

        Raises
        ------
        OutOfOrderError
            If the member does not keep the order; it is remembered, and another call sorts here.
        CatalogueError
            As `Member.items`, or if there is too much to sort here.
        """
        self._member = member = self.remote.ask()
        try:
            sorts = member.can_sort()
            mark = tuple(sorted(self.shown))
            if mark in self.remote.unsorted or not (sorts or self.search.order.by_time):
                yield from self._sorted_here(member)
            elif sorts:
                pages = member.pages_of(self._query(min(self.count + 10, _PAGE)))
                yield from self._as_they_come(mark, pages)
            else:
                # Most give the newest first unasked; a small answer is seen whole before any of it is told.
                pages = _read_ahead(member.pages_of(self._query(_AHEAD)))
                yield from self._as_they_come(mark, pages)
        finally:
            self.report.pages = member.pages

    @contextmanager
    def working(self) -> Iterator[None]:
        """Time of the block counts for the patience with this member; while others are waited for, it does not."""
        began = time.monotonic()
        if self._member is not None:
            self._member.until = began + self.remote.settings.timeout_s - self.report.seconds
        try:
            yield
        finally:
            self.report.seconds = round(self.report.seconds + time.monotonic() - began, 3)

    def read_already(self) -> Iterator[dict[str, Any]]:
        """Items that the member gave, and that are not part of the page."""
        return (item for raw in self.rest if (item := self._fitting(raw)) is not None)

    def _as_they_come(self, mark: tuple[str, ...], pages: Iterator[list[dict[str, Any]]]) -> Iterator[Placed]:
        group: list[Placed] = []
        order, lead = self.search.order, None
        after = None if self.after is None else order.place(self.after)
        for page in pages:
            self._require_order(page, lead, mark)
            self.rest = deque(page)
            while self.rest:
                item = self._fitting(self.rest.popleft())
                if item is None:
                    self.report.unfit += 1
                    continue
                place = order.place(order.values(item))
                if lead is not None and place[0] != lead:
                    yield from sorted(group, key=_place_of)
                    group = []
                lead = place[0]
                if after is None or place > after:
                    group.append((place, item))
        yield from sorted(group, key=_place_of)

    def _require_order(self, page: Sequence[Mapping[str, Any]], lead: Place | None, mark: tuple[str, ...]) -> None:
        """Look whether a page keeps the order, before any item of it is told."""
        key = self.search.order.keys[0]
        for raw in page:
            place = Place(value_of(raw, key.field), key.descending)
            if place.value is None and self.search.order.by_time:
                continue  # it does not fit anyway
            if lead is not None and place < lead:
                self.remote.unsorted.add(mark)
                raise OutOfOrderError(f"{self.id}: its items are not in the order asked for")
            lead = place

    def _sorted_here(self, member: Member) -> Iterator[Placed]:
        found: list[Placed] = []
        order, read = self.search.order, 0
        after = None if self.after is None else order.place(self.after)
        for page in member.pages_of(self._query(_PAGE)):
            read += len(page)
            if read > SORTED_HERE:
                raise TooManyError(
                    f"{member.name}: it does not sort, and more than {SORTED_HERE} items are too many to sort here"
                )
            for raw in page:
                item = self._fitting(raw)
                if item is None:
                    self.report.unfit += 1
                    continue
                place = order.place(order.values(item))
                if after is None or place > after:
                    found.append((place, item))
        yield from sorted(found, key=_place_of)

    def _query(self, page: int) -> Query:
        search = self.search
        start, end = search.start, search.end
        if search.order.by_time and self.after is not None and isinstance(self.after[0], int):
            # What was on the pages before is not asked for again; whole seconds, as some members know no others.
            at = self.after[0]
            if search.order.keys[0].descending:
                last = -(-at // _SECOND) * _SECOND
                end = last if end is None else min(end, last)
            else:
                first = at // _SECOND * _SECOND
                start = first if start is None else max(start, first)
        area = search.area
        bounds = None if area is None else area.bounds
        return Query(
            tuple(self.shown),
            None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]),
            _interval(start, end),
            None if _names_collection(search.filter) else search.filter,
            page,
            None if area is None or _is_box(area) else dict(shapely.geometry.mapping(area)),
            search.ids or (),
            tuple((key.field, key.descending) for key in search.order.keys if key.field != "collection"),
        )

    def _fitting(self, raw: Mapping[str, Any]) -> dict[str, Any] | None:
        """An item as it is shown here; None if it is none, or not asked for."""
        collection = raw.get("collection")
        if collection is None and len(self.shown) == 1:
            collection = next(iter(self.shown))
        if not isinstance(collection, str) or collection not in self.shown:
            return None
        if self.search.ids is not None and raw["id"] not in self.search.ids:
            return None
        item = shown_item(raw, self.shown[collection], self.remote.id, self.remote.settings.url)
        return item if item is not None and self.wanted.fits(item) else None


class TooManyError(CatalogueError):
    """A member that does not sort has too many items."""


def _read_ahead(pages: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """The same items, the first pages as one."""
    first: list[dict[str, Any]] = []
    for number, page in enumerate(pages, 1):
        first += page
        if len(first) >= 2 * _AHEAD or number >= _AHEAD_PAGES:
            break
    yield first
    yield from pages


def _place_of(placed: Placed) -> tuple[Place, ...]:
    return placed[0]


def _is_box(area: shapely.Geometry) -> bool:
    return bool(shapely.equals(area, shapely.box(*area.bounds)))


def _names_collection(condition: object) -> bool:
    """Whether a filter speaks of collections, whose names are others in a member."""
    if isinstance(condition, dict):
        return condition.get("property") == "collection" or any(map(_names_collection, condition.values()))
    return isinstance(condition, list) and any(map(_names_collection, condition))


def _interval(start: int | None, end: int | None) -> str | None:
    if start is None and end is None:
        return None
    return "/".join(".." if one is None else moment(one) for one in (start, end))
