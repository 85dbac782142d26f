"""Order of items: by what a search asks for, then by time, id and collection, so that no two are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Final

from hpckit.catalogue.moments import time_of

Value = str | int | float | bool | None
"""What items are compared by."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """A field that items are sorted by; items without a value come last."""

    field: str
    """`id`, `collection` or the name of a property."""
    descending: bool = False


_LAST: Final = (SortKey("datetime", descending=True), SortKey("id"), SortKey("collection"))


@dataclass(frozen=True, slots=True)
class Order:
    """A total order of items."""

    keys: tuple[SortKey, ...] = _LAST

    @classmethod
    def of(cls, wanted: Sequence[SortKey]) -> Order:
        """The order that a search asks for, with time, id and collection after it."""
        first: dict[str, SortKey] = {}
        for key in (*wanted, *_LAST):
            first.setdefault(key.field, key)
        return cls(tuple(first.values()))

    @property
    def by_time(self) -> bool:
        """Whether time comes first."""
        return self.keys[0].field == "datetime"

    def values(self, item: Mapping[str, Any]) -> tuple[Value, ...]:
        """What an item is sorted by; time as microseconds since 1970."""
        return tuple(value_of(item, key.field) for key in self.keys)

    def place(self, values: Sequence[Value]) -> tuple[Place, ...]:
        """What can be compared of values."""
        return tuple(Place(value, key.descending) for value, key in zip(values, self.keys, strict=True))


@total_ordering
@dataclass(frozen=True, slots=True)
class Place:
    """A value in an order; numbers before texts, and both before nothing."""

    value: Value
    descending: bool

    def __lt__(self, other: Place) -> bool:
        """Whether it comes first."""
        mine, others = _kind(self.value), _kind(other.value)
        if mine != others:
            return mine < others
        if self.value is None or self.value == other.value:
            return False
        return bool((self.value > other.value) if self.descending else (self.value < other.value))  # type: ignore[operator]


def value_of(item: Mapping[str, Any], name: str) -> Value:
    """Value of a field of an item; None if it has none that can be compared."""
    if name in ("id", "collection"):
        found = item.get(name)
    elif name == "datetime":
        return time_of(item)
    else:
        properties = item.get("properties")
        found = properties.get(name) if isinstance(properties, dict) else None
    return found if isinstance(found, (str, int, float)) and found == found else None


def _kind(value: Value) -> int:
    return 2 if value is None else 1 if isinstance(value, str) else 0
