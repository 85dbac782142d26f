"""What the STAC API answers: catalogue, collections, items and pages, with their links."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from hpckit.serve.stac.building import MOMENTS
from hpckit.serve.stac.own import Shelf, extent_of
from hpckit.serve.stac.query import Search
from hpckit.serve.stac.sources import API, FILE, ITEM

GEOJSON: Final = "application/geo+json"
JSON: Final = "application/json"
SCHEMA: Final = "application/schema+json"
OPENAPI: Final = "application/vnd.oai.openapi+json;version=3.0"
CONFORMS_TO: Final = (
    *(
        f"https://api.stacspec.org/v1.0.0/{name}"
        for name in (
            "core",
            "collections",
            "ogcapi-features",
            "item-search",
            "item-search#filter",
            "item-search#sort",
            "item-search#fields",
        )
    ),
    *(f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "geojson", "oas30")),
    *(f"http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/{name}" for name in ("filter", "features-filter")),
    *(
        f"http://www.opengis.net/spec/cql2/1.0/conf/{name}"
        for name in (
            "cql2-text",
            "cql2-json",
            "basic-cql2",
            "advanced-comparison-operators",
            "case-insensitive-comparison",
            "basic-spatial-functions",
            "spatial-functions",
            "temporal-functions",
            "arithmetic",
            "property-property",
        )
    ),
)
_SMALLEST: Final = frozenset({"type", "stac_version", "id", "collection"})
_DEFAULT: Final = frozenset({"stac_extensions", "geometry", "bbox", "links", "assets", "properties.datetime"})
"""What is answered besides where some fields are left out."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the API.

    Parameters
    ----------
    root : str
        Of its landing page.
    link : callable
        Signed address of a file of a data set: data set, root, path; None where the reader may not have it.
    api : callable
        Address of the viewer's description of a data set; None where there is no viewer.
    """

    root: str
    link: Callable[[str, str, str], str | None]
    api: Callable[[str], str | None]

    def collection(self, name: str) -> str:
        """Of a collection."""
        return f"{self.root}/collections/{quote(name, safe='')}"

    def item(self, collection: str, name: str) -> str:
        """Of an item."""
        return f"{self.collection(collection)}/items/{quote(name, safe='')}"


def landing(addresses: Addresses, title: str, collections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The landing page."""
    root = addresses.root
    children = [
        {"rel": "child", "href": addresses.collection(one["id"]), "type": JSON, "title": one.get("title", one["id"])}
        for one in collections
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "hpckit",
        "title": title,
        "description": "Products, cubes and composites of this site, and catalogues of its federation.",
        "conformsTo": list(CONFORMS_TO),
        "links": [
            {"rel": "self", "href": root, "type": JSON},
            {"rel": "root", "href": root, "type": JSON},
            {"rel": "conformance", "href": f"{root}/conformance", "type": JSON},
            {"rel": "data", "href": f"{root}/collections", "type": JSON},
            {"rel": "search", "href": f"{root}/search", "type": GEOJSON, "method": "GET"},
            {"rel": "search", "href": f"{root}/search", "type": GEOJSON, "method": "POST"},
            {
                "rel": "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                "href": f"{root}/queryables",
                "type": SCHEMA,
            },
            {"rel": "service-desc", "href": f"{root}/api", "type": OPENAPI},
            {"rel": "service-doc", "href": f"{root}/api.html", "type": "text/html"},
            *children,
        ],
    }


def own_collection(addresses: Addresses, shelf: Shelf) -> dict[str, Any]:
    """A collection of ours."""
    source = shelf.source
    facts = dict(source.facts)
    links = facts.pop("links", [])
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": source.collection,
        "title": source.title,
        "description": source.description,
        "license": "other",
        **facts,
        "extent": extent_of(shelf),
        "links": [*_collection_links(addresses, source.collection), *links],
    }


def member_collection(
    addresses: Addresses, name: str, member: str, content: Mapping[str, Any], *, title: str | None = None
) -> dict[str, Any]:
    """A collection of a member, or one that is merged of some, as one of ours."""
    kept = [
        link
        for link in content.get("links") or []
        if isinstance(link, dict)
        and link.get("rel") in ("license", "about", "cite-as", "describedby", "preview", "thumbnail")
        and str(link.get("href", "")).startswith(("https://", "http://"))
    ]
    extent = content.get("extent")
    return {
        **content,
        "type": "Collection",
        "stac_version": str(content.get("stac_version") or "1.0.0"),
        "id": name,
        "title": title or f"{content.get('title') or content.get('id')} ({member})",
        "description": str(content.get("description") or content.get("title") or name),
        "license": str(content.get("license") or "other"),
        "extent": extent if isinstance(extent, dict) else _WORLD,
        "links": [*_collection_links(addresses, name), *kept],
    }


_WORLD: Final = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}


def joined_extent(contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Extent of all of some collections."""
    boxes, starts, ends = [], [], []
    for content in contents:
        try:
            boxes.append([float(number) for number in content["extent"]["spatial"]["bbox"][0]])
            start, end = content["extent"]["temporal"]["interval"][0]
        except (KeyError, TypeError, ValueError, IndexError):
            return _WORLD
        starts.append(start)
        ends.append(end)
    if not boxes or any(len(box) not in (4, 6) for box in boxes):
        return _WORLD
    flat = [(box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]) for box in boxes]
    box = [*(min(one[n] for one in flat) for n in (0, 1)), *(max(one[n] for one in flat) for n in (2, 3))]
    interval = [None if None in starts else min(starts), None if None in ends else max(ends)]
    return {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}}


def _collection_links(addresses: Addresses, name: str) -> list[dict[str, Any]]:
    here = addresses.collection(name)
    return [
        {"rel": "self", "href": here, "type": JSON},
        {"rel": "root", "href": addresses.root, "type": JSON},
        {"rel": "parent", "href": addresses.root, "type": JSON},
        {"rel": "items", "href": f"{here}/items", "type": GEOJSON},
        {"rel": "http://www.opengis.net/def/rel/ogc/1.0/queryables", "href": f"{here}/queryables", "type": SCHEMA},
    ]


def item_answer(addresses: Addresses, item: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """An item with its links.

    Parameters
    ----------
    dataset : str, optional
        Whose files its assets are; none for items of members.
    """
    collection, here = item["collection"], addresses.item(item["collection"], item["id"])
    parent = addresses.collection(collection)
    links = [
        {"rel": "self", "href": here, "type": GEOJSON},
        {"rel": "root", "href": addresses.root, "type": JSON},
        {"rel": "parent", "href": parent, "type": JSON},
        {"rel": "collection", "href": parent, "type": JSON},
        *({**link, "href": _item_address(addresses, str(link["href"]))} for link in item["links"]),
    ]
    assets = {}
    for key, asset in item["assets"].items():
        href: str | None = str(asset["href"])
        if href is not None and href.startswith(FILE):
            root, _, path = href[len(FILE) :].partition("/")
            href = None if dataset is None else addresses.link(dataset, root, path)
        elif href is not None and href.startswith(API):
            described = None if dataset is None else addresses.api(dataset)
            href = None if described is None else described + href[len(API) :]
        if href is not None:
            assets[key] = {**asset, "href": href}
    return {**item, "links": links, "assets": assets}


def _item_address(addresses: Addresses, href: str) -> str:
    if not href.startswith(ITEM):
        return href
    collection, _, name = href[len(ITEM) :].partition("/")
    return addresses.item(unquote(collection), unquote(name))


def chosen(item: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """The fields of an item that a search asks for; what it includes wins over what it leaves out."""
    include, exclude = search.include, search.exclude
    found = dict(item) if include is None else _picked(item, (include or _DEFAULT) | _SMALLEST)
    named = include or frozenset()
    for name in exclude - _SMALLEST - named:
        first, _, rest = name.partition(".")
        if rest and isinstance(found.get(first), dict):
            found[first] = {key: value for key, value in found[first].items() if key != rest}
        elif not rest and not any(one.startswith(f"{name}.") for one in named):
            found.pop(first, None)
    return found


def _picked(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        first, _, rest = name.partition(".")
        if first not in item:
            if first in (item.get("properties") or {}) and not rest:  # `eo:cloud_cover` for `properties.…`
                found.setdefault("properties", {})[first] = item["properties"][first]
            continue
        if not rest:
            found[first] = item[first]
        elif isinstance(item[first], dict) and rest in item[first] and found.get(first) is not item[first]:
            found.setdefault(first, {})[rest] = item[first][rest]
    return found


def queryables(address: str, title: str, names: Mapping[str, str]) -> dict[str, Any]:
    """JSON schema of what conditions may name.

    Parameters
    ----------
    names : mapping
        Kinds by name.
    """
    found: dict[str, Any] = {
        "id": {"type": "string"},
        "collection": {"type": "string"},
        "geometry": {"type": "object", "format": "geometry-any"},
        "datetime": {"type": "string", "format": "date-time"},
    }
    for name, kind in sorted(names.items()):
        if name not in found:
            is_time = kind == "date-time" or name in MOMENTS
            found[name] = {"type": "string", "format": "date-time"} if is_time else {"type": kind}
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": address,
        "type": "object",
        "title": title,
        "properties": found,
        "additionalProperties": True,
    }
