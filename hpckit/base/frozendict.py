"""Mappings in values that can be hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class FrozenDict(Mapping[_Key, _Value], Generic[_Key, _Value]):
    """A mapping that nobody changes; it equals other mappings with the same items, whatever their order."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[_Key, _Value] | Iterable[tuple[_Key, _Value]] = ()) -> None:
        self._items = dict(items)
        self._hash: int | None = None

    def __getitem__(self, key: _Key) -> _Value:
        """Value of a key."""
        return self._items[key]

    def __iter__(self) -> Iterator[_Key]:
        """Keys, in the order in which they were given."""
        return iter(self._items)

    def __len__(self) -> int:
        """Number of items."""
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        """Whether another mapping has the same items."""
        if type(other) is FrozenDict:
            return self._items == other._items
        return self._items == other if isinstance(other, dict) else NotImplemented

    def __hash__(self) -> int:
        """Computed once; the values must have a hash."""
        if self._hash is None:
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __repr__(self) -> str:
        """As the mapping from which it was made."""
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the hash: that of text differs between processes."""
        return FrozenDict, (self._items,)


class LateDict(FrozenDict[_Key, _Value]):
    """A mapping whose values are made when they are asked for.

    Parameters
    ----------
    told : mapping
        What each value is made from.
    make : callable
        Makes a value; it must give equal values for equal things.
    """

    __slots__ = ("_make", "_told")

    def __init__(self, told: Mapping[_Key, Any], make: Callable[[Any], _Value]) -> None:
        super().__init__()
        self._told, self._make = told, make

    @property
    def told(self) -> Mapping[_Key, Any]:
        """What each value is made from; none is made for that."""
        return self._told

    def __getitem__(self, key: _Key) -> _Value:
        """Value of a key."""
        if key not in self._items:
            self._items[key] = self._make(self._told[key])
        return self._items[key]

    def __contains__(self, key: object) -> bool:
        """Whether there is such a key."""
        return key in self._told

    def __iter__(self) -> Iterator[_Key]:
        """Keys, in the order in which they were given."""
        return iter(self._told)

    def __len__(self) -> int:
        """Number of items."""
        return len(self._told)

    def __eq__(self, other: object) -> bool:
        """Whether another mapping has the same items."""
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    def __hash__(self) -> int:
        """That of a mapping with these items that was made at once."""
        if self._hash is None:
            self._hash = hash(frozenset(self.items()))
        return self._hash

    def __repr__(self) -> str:
        """As the mapping from which it could be made."""
        return repr(dict(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        """With all values made: what makes them need not be known elsewhere."""
        return FrozenDict, (dict(self.items()),)


def frozen(items: Mapping[_Key, _Value]) -> FrozenDict[_Key, _Value]:
    """The same items in a mapping that can be hashed."""
    return items if isinstance(items, FrozenDict) else FrozenDict(items)
