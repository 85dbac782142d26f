"""One STAC API: what it can hold, and its items, page by page, whatever it does on the way.

Written against what catalogues really do: some know no POST, some no filters, pages that loop, links to other hosts,
429 with and without Retry-After. What a catalogue is asked to filter is filtered again by the caller.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urljoin, urlsplit

import shapely.geometry

from hpckit.errors import CatalogueError, CatalogueUnavailableError
from hpckit.inputs.web import AGAIN, REDIRECTS, TRIES, is_private, pause_s

if TYPE_CHECKING:
    import httpx

_LONGEST_ANSWER_S: Final = 120.0
_LARGEST_PAGE: Final = 256 * 2**20
_NO_POST: Final = (404, 405, 415, 501)
_COLLECTION_PAGES: Final = 50
_LONGEST_PARAMETER: Final = 6000
"""Characters of a geometry in an address; longer ones are asked for by their boxes."""
_EMPTY_PAGES: Final = 3
"""Pages in a row without anything new, after which a member runs in circles."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for."""

    collections: tuple[str, ...]
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north, degrees."""
    datetime: str | None = None
    """`2024-03-01T00:00:00Z/2024-10-31T23:59:59Z`; an open end is `..`."""
    filter: Mapping[str, Any] | None = None
    """CQL2 as JSON."""
    page: int = 250
    """Items of a page."""
    intersects: Mapping[str, Any] | None = None
    """GeoJSON, for members that take it; `bbox` is asked of the others."""
    ids: tuple[str, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    """Fields, and whether they fall; members that cannot sort give their own order."""


@dataclass(slots=True)
class Known:
    """What a member said of itself, for some time."""

    seconds: float = 300.0
    """How long it is believed."""
    _answers: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def get(self, name: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """An answer; asked for if it is not known."""
        until, found = self._answers.get(name, (0.0, {}))
        if time.monotonic() >= until:
            found = ask()
            self._answers[name] = time.monotonic() + self.seconds, found
        return found


@dataclass(slots=True)
class Member:
    """A STAC API.

    Parameters
    ----------
    url : str
        Of its landing page.
    client : httpx.Client
        That follows no redirects.
    """

    url: str
    client: httpx.Client
    until: float = inf
    """When the asker has no more patience, by `time.monotonic`."""
    tries: int = TRIES
    """Of one request."""
    known: Known = field(default_factory=Known)
    pages: int = 0
    """Read so far."""
    _allowed: set[str] = field(default_factory=set)
    """Hosts that were found to be public, or are the member's own."""

    @property
    def name(self) -> str:
        """Host of the member: short, and without secrets."""
        return urlsplit(self.url).hostname or self.url

    def items(self, query: Query) -> Iterator[dict[str, Any]]:
        """All items of a search, in the member's own order; raises what `pages_of` does."""
        for page in self.pages_of(query):
            yield from page

    def pages_of(self, query: Query) -> Iterator[list[dict[str, Any]]]:
        """Items of a search, page by page, each once.

        Raises
        ------
        CatalogueUnavailableError
            If it does not answer, or says that it cannot now.
        CatalogueError
            If it refuses, or answers with something else than items; the message says what.
        """
        landing = self._landing()
        wanted = self._held(query)
        if not wanted:
            return
        methods = _search_links(landing, self.url)
        body = _body(query, wanted, landing)
        request: _Request | None = self._first(methods, body)
        asked: set[str] = set()
        known: set[str] = set()
        empty = 0
        while request is not None:
            if (mark := json.dumps(request, sort_keys=True)) in asked:
                raise CatalogueError(f"{self.name}: its pages run in circles")
            asked.add(mark)
            page = self._page(request)
            self.pages += 1
            new = [item for item in _features(page, self.name) if _key(item) not in known]
            known.update(map(_key, new))
            if new:
                yield new
            empty = 0 if new else empty + 1
            request = self._next(page, request, body)
            if empty >= _EMPTY_PAGES and request is not None:
                raise CatalogueError(
                    f"{self.name}: {empty} pages in a row hold nothing new, and there is said to be more"
                )

    def can_sort(self) -> bool:
        """Whether it says that it sorts what a search finds; raises what `items` does."""
        return _conforms(self._landing(), "item-search#sort")

    def collection(self, name: str) -> dict[str, Any] | None:
        """A collection; None if it has none of this name. Raises what `items` does."""
        address = f"{self._collections_address()}/{quote(name, safe=':')}"
        return self.known.get(address, lambda: self._json("GET", address, may_lack=True)) or None

    def collections(self) -> list[dict[str, Any]]:
        """All collections; raises what `items` does."""
        return list(self.known.get("collections", lambda: {"all": self._all_collections()})["all"])

    def item(self, collection: str, name: str) -> dict[str, Any] | None:
        """An item; None if there is none of this name. Raises what `items` does."""
        address = f"{self._collections_address()}/{quote(collection, safe=':')}/items/{quote(name, safe=':')}"
        return self._json("GET", address, may_lack=True) or None

    def _landing(self) -> dict[str, Any]:
        return self.known.get("landing", lambda: self._json("GET", self.url))

    def _collections_address(self) -> str:
        given = next(iter(links_of(self._landing(), "data")), None)
        base = urljoin(self.url, str(given["href"])) if given else f"{self.url.rstrip('/')}/collections"
        return base.rstrip("/")

    def _all_collections(self) -> list[dict[str, Any]]:
        address: str | None = self._collections_address()
        found: dict[str, dict[str, Any]] = {}
        for _ in range(_COLLECTION_PAGES):
            if address is None:
                break
            page = self._json("GET", address)
            listed = page.get("collections")
            some = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
            new = {one["id"]: one for one in some if isinstance(one.get("id"), str) and one["id"] not in found}
            found |= new
            link = next(iter(links_of(page, "next")), None)
            address = urljoin(address, str(link["href"])) if link is not None and new else None
        return list(found.values())

    def _held(self, query: Query) -> tuple[str, ...]:
        """Those of the wanted collections that may hold something of the area and days."""
        found = ((name, self.collection(name)) for name in query.collections)
        return tuple(name for name, one in found if one is not None and _may_hold(one, query))

    def _first(self, methods: Mapping[str, str], body: Mapping[str, Any]) -> _Request:
        if "POST" in methods:
            return {"method": "POST", "url": methods["POST"], "body": dict(body)}
        return {"method": "GET", "url": methods["GET"], "body": _as_parameters(body)}

    def _page(self, request: _Request) -> dict[str, Any]:
        try:
            return self._json(request["method"], request["url"], request["body"], request.get("headers"))
        except _RefusedError as error:
            if request["method"] != "POST" or error.status not in _NO_POST or self.pages:
                raise
            request |= {"method": "GET", "body": _as_parameters(request["body"])}
            return self._json("GET", request["url"], request["body"])

    def _next(self, page: Mapping[str, Any], before: _Request, body: Mapping[str, Any]) -> _Request | None:
        link = next(iter(links_of(page, "next")), None)
        if link is None:
            return None
        url, method = urljoin(before["url"], str(link["href"])), str(link.get("method", "GET")).upper()
        headers = link.get("headers") if isinstance(link.get("headers"), dict) else {}
        if method not in ("GET", "POST"):
            raise CatalogueError(f"{self.name}: the link to its next page has the method {method!r}")
        if method == "GET":
            return {"method": "GET", "url": url, "body": {}, "headers": headers}
        given = link.get("body")
        more = given if isinstance(given, dict) else {}
        old = before["body"] if before["method"] == "POST" else body
        return {
            "method": "POST",
            "url": url,
            "body": {**old, **more} if link.get("merge") else more,
            "headers": headers,
        }

    def _json(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        may_lack: bool = False,
    ) -> dict[str, Any]:
        """Answer to a request; nothing where the member lacks what is asked for, if it may."""
        content = self._ask(method, url, body or {}, headers or {}, may_lack=may_lack)
        if content is None:
            return {}
        try:
            found = json.loads(content)
        except ValueError as error:
            raise CatalogueError(f"{self.name}: its answer is no JSON") from error
        if not isinstance(found, dict):
            raise CatalogueError(f"{self.name}: its answer is no JSON object")
        return found

    def _ask(
        self, method: str, url: str, body: Mapping[str, Any], headers: Mapping[str, str], *, may_lack: bool
    ) -> bytes | None:
        reason = ""
        for attempt in range(self.tries):
            answer, content = self._try(method, url, body, headers)
            if answer is None:
                reason = "it cuts its answers off"
            elif answer.status_code == 200:
                return content
            elif answer.status_code == 404 and may_lack:
                return None
            else:
                reason = f"HTTP status {answer.status_code}"
                if answer.status_code not in AGAIN:
                    raise _RefusedError(f"{self.name}: {reason}{_detail(content)}", answer.status_code)
            if attempt + 1 < self.tries:
                pause = pause_s(None if answer is None else answer.headers.get("retry-after"), attempt)
                if time.monotonic() + pause > self.until:
                    raise CatalogueUnavailableError(f"{self.name}: {reason}")
                time.sleep(pause)
        often = f", {self.tries} times in a row" if self.tries > 1 else ""
        raise CatalogueUnavailableError(f"{self.name}: {reason}{often}")

    def _try(
        self, method: str, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[httpx.Response | None, bytes]:
        """One answer; none if it is cut off.

        Raises
        ------
        CatalogueUnavailableError
            If there is no connection, or no answer in time: that is not asked for again and again.
        """
        import httpx

        try:
            return self._follow(method, url, body, headers)
        except httpx.TimeoutException as error:
            raise CatalogueUnavailableError(f"{self.name}: no answer in time") from error
        except httpx.ConnectError as error:
            raise CatalogueUnavailableError(f"{self.name}: no connection") from error
        except httpx.InvalidURL as error:
            raise CatalogueError(f"{self.name}: it sends to an address that is none") from error
        except httpx.HTTPError:
            return None, b""

    def _follow(
        self, method: str, url: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> tuple[httpx.Response, bytes]:
        """Answer after redirects, none of which leads anywhere private."""
        for _ in range(REDIRECTS + 1):
            self._require_allowed(url)
            told: dict[str, Any] = (
                {"json": dict(body)} if method == "POST" else {"params": dict(body)} if body else {}
            )
            with self.client.stream(method, url, headers=dict(headers), **told, **self._patience()) as answer:
                if answer.is_redirect:
                    url = urljoin(url, answer.headers["location"])
                    if answer.status_code == 303:
                        method = "GET"
                    body = {} if method == "GET" else body
                    continue
                return answer, _read(answer, self.name, self.until)
        raise CatalogueError(f"{self.name}: more than {REDIRECTS} redirects in a row")

    def _patience(self) -> dict[str, Any]:
        """Time that a request may take, if the asker has less than the client."""
        if self.until == inf:
            return {}
        left = self.until - time.monotonic()
        if left <= 0:
            raise CatalogueUnavailableError(f"{self.name}: no answer in time")
        usual = self.client.timeout.read
        return {"timeout": left if usual is None else min(left, usual)}

    def _require_allowed(self, url: str) -> None:
        """Refuse addresses that a catalogue has no business to send anybody to.

        Raises
        ------
        CatalogueError
            If it is no http address, or a private one that is not the member's own.
        """
        parts, own = urlsplit(url), urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host:
            raise CatalogueError(f"{self.name}: it sends to {parts.scheme or 'no'} address, which is not followed")
        if host == own.hostname or host in self._allowed:
            return
        if is_private(host):
            raise CatalogueError(f"{self.name}: it sends to the private address {host}, which is not followed")
        self._allowed.add(host)


_Request = dict[str, Any]
"""Method, address, body (or parameters) and headers."""


class _RefusedError(CatalogueError):
    """A member answered that it will not do it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def all_links(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Links of a catalogue, page or item, whatever it has in their place."""
    links = content.get("links")
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def links_of(content: Mapping[str, Any], rel: str) -> list[dict[str, Any]]:
    """Links of a relation that have an address."""
    return [link for link in all_links(content) if link.get("rel") == rel and link.get("href")]


def _search_links(landing: Mapping[str, Any], url: str) -> dict[str, str]:
    """Addresses of the search by method."""
    found = {
        str(link.get("method", "GET")).upper(): urljoin(url, str(link["href"]))
        for link in links_of(landing, "search")
    }
    return found or {"GET": f"{url.rstrip('/')}/search"}


def _conforms(landing: Mapping[str, Any], name: str) -> bool:
    return any(name in str(one) for one in landing.get("conformsTo") or [])


def _body(query: Query, collections: tuple[str, ...], landing: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"collections": list(collections), "limit": query.page}
    if query.intersects is not None:
        body["intersects"] = query.intersects
    elif query.bbox is not None:
        body["bbox"] = list(query.bbox)
    if query.datetime is not None:
        body["datetime"] = query.datetime
    if query.ids:
        body["ids"] = list(query.ids)
    if query.filter is not None and _conforms(landing, "item-search#filter") and _conforms(landing, "cql2-json"):
        body |= {"filter": query.filter, "filter-lang": "cql2-json"}
    if query.sort and _conforms(landing, "item-search#sort"):
        body["sortby"] = [{"field": _sorted_by(name), "direction": "desc" if down else "asc"}
                          for name, down in query.sort]  # fmt: skip
    return body


def _sorted_by(name: str) -> str:
    return name if name in ("id", "collection") else f"properties.{name}"


def _as_parameters(body: Mapping[str, Any]) -> dict[str, str]:
    """The body of a search as parameters of an address; filters go as JSON, which servers of GET do not all know."""
    told: dict[str, str] = {}
    for name, value in body.items():
        if name.startswith("filter"):
            continue
        if name == "intersects":
            text = json.dumps(value, separators=(",", ":"))
            if len(text) > _LONGEST_PARAMETER:
                bounds = shapely.geometry.shape(value).bounds
                told["bbox"] = ",".join(map(str, bounds))
            else:
                told[name] = text
        elif name == "sortby":
            told[name] = ",".join(f"{'-' if one['direction'] == 'desc' else '+'}{one['field']}" for one in value)
        else:
            told[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return told


def _may_hold(collection: Mapping[str, Any], query: Query) -> bool:
    """Whether a collection's extent meets area and days; also where it says nothing that can be read."""
    try:
        extent = collection["extent"]
        boxes = extent["spatial"]["bbox"]
        start, end = extent["temporal"]["interval"][0]
        west, south, east, north = query.bbox or (-180.0, -90.0, 180.0, 90.0)
        meets = any(
            len(box) not in (4, 6)
            or (
                _overlaps((west, east), (box[0], box[len(box) // 2]))
                and _overlaps((south, north), (box[1], box[len(box) // 2 + 1]))
            )
            for box in boxes
        )
        first, _, last = (query.datetime or "../..").partition("/")
        ended = end is not None and first != ".." and str(end)[:10] < first[:10]
        return meets and not ended and (start is None or last == ".." or str(start)[:10] <= last[:10])
    except (KeyError, TypeError, ValueError, IndexError):
        return True


def _overlaps(one: tuple[float, float], other: tuple[float, float]) -> bool:
    if other[0] > other[1]:  # across 180 degrees
        return True
    return one[0] <= other[1] and other[0] <= one[1]


def _features(page: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    features = page.get("features")
    if not isinstance(features, list):
        raise CatalogueError(f"{name}: its answer to a search has no features")
    return [one for one in features if isinstance(one, dict) and isinstance(one.get("id"), str)]


def _key(item: Mapping[str, Any]) -> str:
    return f"{item.get('collection')}/{item['id']}"


def _read(answer: httpx.Response, name: str, until: float) -> bytes:
    content, end = bytearray(), min(time.monotonic() + _LONGEST_ANSWER_S, until)
    for piece in answer.iter_bytes():
        content += piece
        if time.monotonic() > end:
            raise CatalogueUnavailableError(f"{name}: an answer takes too long")
        if len(content) > _LARGEST_PAGE:
            raise CatalogueError(f"{name}: an answer is larger than {_LARGEST_PAGE // 2**20} MiB")
    return bytes(content)


def _detail(content: bytes) -> str:
    """What a server says of an error, in one line."""
    try:
        told = json.loads(content)
        text = told.get("description") or told.get("detail") or told.get("message") or ""
    except (ValueError, AttributeError):
        return ""
    line = " ".join(str(text).split())[:200]
    return f": {line}" if line else ""
