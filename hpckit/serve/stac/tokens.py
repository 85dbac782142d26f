"""Tokens of pages: where a walk through a search goes on, signed, so that the server keeps no state.

A token holds what the last item is sorted by, never an address: a forged one could lead nowhere, and is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import shapely

from hpckit.base.files import digest_json
from hpckit.serve.identity.links import Keys
from hpckit.serve.stac.order import Value
from hpckit.serve.stac.query import Search, SearchError

_PURPOSE: Final = "stac-page"
_LONGEST: Final = 32_000

Values = tuple[Value, ...]
"""What an item is sorted by."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a walk has come."""

    after: Values | None = None
    """Of the last item."""
    seen: tuple[str, ...] = ()
    """Marks of the products of the last items, of which copies may follow."""
    behind: Mapping[str, Values | None] = field(default_factory=dict)
    """Members that did not answer, and how far they have come."""


def write(keys: Keys, search: Search, cursor: Cursor) -> str:
    """Token of a page."""
    content = [_mark(search), cursor.after, cursor.seen, dict(cursor.behind)]
    text = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{text}.{keys.sign(_PURPOSE, text)}"


def read(keys: Keys, search: Search) -> Cursor:
    """Where a search goes on.

    Raises
    ------
    SearchError
        If its token was not made for it by this server.
    """
    if search.token is None:
        return Cursor()
    text, _, signed = search.token.partition(".")
    if len(text) > _LONGEST or not text.isascii() or not keys.is_signed(_PURPOSE, text, signed):
        raise SearchError("`token` is none of this server's", hint="begin the search again without it")
    mark, after, seen, behind = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if mark != _mark(search):
        raise SearchError("`token` is that of another search", hint="begin the search again without it")
    return Cursor(
        None if after is None else tuple(after),
        tuple(seen),
        {name: None if values is None else tuple(values) for name, values in behind.items()},
    )


def _mark(search: Search) -> str:
    """Digest of what a search asks for, whatever the size of its pages."""
    area = None if search.area is None else shapely.to_wkb(search.area).hex()
    keys = [[key.field, key.descending] for key in search.order.keys]
    asked = [search.collections, search.ids, area, search.start, search.end, search.filter, keys]
    return digest_json(asked)[:16]
