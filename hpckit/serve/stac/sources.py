"""A collection of items: where they are from, and addresses in them that do not say where files lie.

`hpckit:file/ROOT/PATH` is answered as a signed link, `hpckit:item/COLLECTION/ID` as the address of another item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from hpckit.serve.dataset import Edition

FILE: Final = "hpckit:file/"
ITEM: Final = "hpckit:item/"
API: Final = "hpckit:api/"
"""Of the viewer's description of the data set."""
PROCESSING: Final = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"


@dataclass(frozen=True, slots=True)
class Source:
    """A collection of items, and where they are from."""

    dataset: str
    collection: str
    title: str
    description: str
    digest: str
    """Of the state of what items are made from."""
    items: Callable[[], Iterator[dict[str, Any]]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the collection."""
    is_large: bool = False
    """Whether a process of its own reads the items; `items` can be pickled then."""


def licence(edition: Edition) -> dict[str, Any]:
    """Fields of a collection that name the provider and the licence of the data."""
    origin = edition.campaign.sensor.origin
    found: dict[str, Any] = {}
    if origin.licence_url:
        link = {"rel": "license", "href": origin.licence_url, "title": "Licence of the data", "type": "text/html"}
        found["links"] = [link]
    if origin.provider:
        provider = {"name": origin.provider, "roles": ["producer", "licensor"]}
        found["providers"] = [{**provider, **({"url": origin.provider_url} if origin.provider_url else {})}]
    return found


def derived_from(collection: str, identifier: str) -> dict[str, Any]:
    """Link to what an item is made from."""
    href = f"{ITEM}{quote(collection, safe='')}/{quote(identifier, safe='')}"
    return {"rel": "derived_from", "href": href, "type": "application/geo+json"}


def state_of(path: Path) -> str:
    """State of a file: its size and time."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"
