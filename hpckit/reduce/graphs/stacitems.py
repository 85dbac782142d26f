"""Items at an address of STAC: an item, a collection of items, a static collection or catalogue, or one of an API.

Only hosts that are allowed are asked, and only images on such hosts are kept: whoever wrote the items chooses neither
where this machine sends requests nor which of its files it reads.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from hpckit.base.quantities import format_count
from hpckit.errors import GraphError
from hpckit.inputs.transfer import without_secrets
from hpckit.processgraph.times import Period
from hpckit.processgraph.urls import fetched, is_allowed

Item = dict[str, Any]
Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

MOST_ITEMS: Final = 2_000
"""That a graph may load from one address."""
_MOST_REQUESTS: Final = 3_000
"""Files and pages that are read for them."""
_DEEPEST: Final = 5
"""Catalogues in each other."""
_PAGE: Final = 100


def items_at(url: str, bounds: Bounds | None, period: Period | None, hosts: Collection[str]) -> list[Item]:
    """Items in an area and a period, with absolute addresses of images.

    Parameters
    ----------
    bounds : tuple of float, optional
        Of the area; all items if not given.
    period : Period, optional
    hosts : collection of str
        As of `hpckit.processgraph.urls.read_url`.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`: if the address is not allowed, cannot be read or is no STAC, or has more than
        `MOST_ITEMS` items. `NoDataAvailable`: if none is in the area and period.
    """
    found: dict[str, Item] = {}
    for item in _Walk(url, bounds, period, hosts).items():
        found.setdefault(f"{item.get('collection')} {item.get('id')}", item)
        if len(found) > MOST_ITEMS:
            raise _refused(
                f"{without_secrets(url)} has more than {format_count(MOST_ITEMS, 'item')} in the extents",
                "give a smaller spatial or temporal extent",
            )
    if not found:
        raise GraphError(
            f"{without_secrets(url)} has no item in the extents",
            hint="compare them with the extent of the collection",
            fault="NoDataAvailable",
        )
    return sorted(found.values(), key=lambda item: str(item.get("id")))


class _Walk:
    """Reads documents, and follows links to those with items."""

    def __init__(self, url: str, bounds: Bounds | None, period: Period | None, hosts: Collection[str]) -> None:
        self._url, self._bounds, self._period, self._hosts = url, bounds, period, hosts
        self._seen: set[str] = set()

    def items(self) -> Iterator[Item]:
        """All items that may lie in the extents."""
        return self._below(self._url, 0)

    def _below(self, url: str, depth: int) -> Iterator[Item]:
        document = self._read(url)
        match document.get("type"):
            case "Feature":
                yield from self._kept(document, url)
            case "FeatureCollection":
                yield from self._pages(document, url)
            case "Collection" | "Catalog":
                yield from self._listed(document, url, depth)
            case kind:
                raise _refused(
                    f"{without_secrets(url)} is no STAC: its type is {kind!r}",
                    "give the address of an item, a collection, or a catalogue",
                )

    def _listed(self, document: Item, url: str, depth: int) -> Iterator[Item]:
        (api, *_) = [*_links(document, url, "items"), ""]
        if api:
            yield from self._pages(self._read(self._asking(api)), api)
            return
        for link in _links(document, url, "item"):
            if self._is_new(link):
                yield from self._below(link, depth)
        for link in _links(document, url, "child") if depth < _DEEPEST else ():
            if self._is_new(link):
                yield from self._below(link, depth + 1)

    def _pages(self, page: Item, url: str) -> Iterator[Item]:
        """Items of a page, and of those that follow it."""
        while True:
            features = page.get("features")
            for item in features if isinstance(features, list) else ():
                if isinstance(item, dict):
                    yield from self._kept(item, url)
            (url, *_) = [*_links(page, url, "next"), ""]
            if not url or not features or not self._is_new(url):
                return
            page = self._read(url)

    def _asking(self, url: str) -> str:
        """Address of the items of an API, in the extents."""
        query = {"limit": str(_PAGE)}
        if self._bounds is not None:
            query["bbox"] = ",".join(f"{side:.7f}" for side in self._bounds)
        if self._period is not None:
            query["datetime"] = f"{_moment(self._period.start)}/{_moment(self._period.end)}"
        parts = urlsplit(url)
        return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(query)]))))

    def _kept(self, item: Item, url: str) -> Iterator[Item]:
        """An item in the extents, with the images that may be read."""
        if item.get("type") != "Feature" or not self._is_near(item):
            return
        (base, *_) = [*_links(item, url, "self"), url]
        assets = item.get("assets")
        known = {
            key: {**{name: value for name, value in asset.items() if name != "alternate"}, "href": address}
            for key, asset in (assets.items() if isinstance(assets, dict) else ())
            if isinstance(asset, dict)
            and isinstance(asset.get("href"), str)
            and is_allowed(address := urljoin(base, asset["href"]), self._hosts)
        }
        yield {**item, "assets": known, "links": []}

    def _is_near(self, item: Item) -> bool:
        box = item.get("bbox")
        if self._bounds is None or not isinstance(box, list) or len(box) not in (4, 6):
            return True
        west, south, east, north = (box[place] for place in ((0, 1, 2, 3) if len(box) == 4 else (0, 1, 3, 4)))
        try:
            across = west > east or self._bounds[0] > self._bounds[2]
            beside = not across and (east < self._bounds[0] or west > self._bounds[2])
            return not beside and north >= self._bounds[1] and south <= self._bounds[3]
        except TypeError:
            return True

    def _is_new(self, url: str) -> bool:
        if url in self._seen:
            return False
        self._seen.add(url)
        if len(self._seen) > _MOST_REQUESTS:
            raise _refused(
                f"{without_secrets(self._url)} needs more than {_MOST_REQUESTS} requests to be listed",
                "give a collection of an API, or a smaller catalogue",
            )
        return True

    def _read(self, url: str) -> Item:
        content = fetched(url, self._hosts)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _refused(f"{without_secrets(url)} is no STAC: it is no JSON", None) from error
        if not isinstance(found, dict):
            raise _refused(f"{without_secrets(url)} is no STAC: it is no JSON object", None)
        return found


def _links(document: Mapping[str, Any], url: str, rel: str) -> Sequence[str]:
    """Absolute addresses of the links of a kind that are followed by GET."""
    links = document.get("links")
    return [
        urljoin(url, link["href"])
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict)
        and link.get("rel") == rel
        and isinstance(link.get("href"), str)
        and str(link.get("method", "GET")).upper() == "GET"
    ]


def _moment(time: datetime | None) -> str:
    return ".." if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _refused(message: str, hint: str | None) -> GraphError:
    return GraphError(message, hint=hint, fault="ProcessParameterInvalid")
