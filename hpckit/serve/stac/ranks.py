"""Columns of a million items in the order of one field: whole numbers that compare as its values do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hpckit.serve.stac.order import Value

_TOP: Final = 2**62


@dataclass(frozen=True, slots=True)
class Ranks:
    """Ranks of the values of a column.

    A rank is twice the position among the different values, so that a value which no item has lies between two.
    """

    ranks: npt.NDArray[np.int32]
    """Shape (items,); items without a value have `nothing`."""
    values: Any
    """Sorted, at the positions: numbers, or texts in `texts` order."""
    texts: npt.NDArray[Any] | None = None
    """For texts: rows in their order, the first of each."""

    @classmethod
    def of(cls, column: Any) -> Ranks:
        """Ranks of a column of numbers, moments, truths or texts.

        Parameters
        ----------
        column : pyarrow.Array
        """
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        empty = np.asarray(pc.is_null(column, nan_is_null=True))
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return cls._of_texts(column, empty)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        numbers = np.asarray(column.fill_null(0))
        values, found = np.unique(numbers[~empty], return_inverse=True)
        ranks = np.full(len(column), 2 * len(values), np.int32)
        ranks[~empty] = 2 * found.astype(np.int32)
        return cls(ranks, values)

    @classmethod
    def _of_texts(cls, column: Any, empty: npt.NDArray[np.bool_]) -> Ranks:
        rows = np.asarray(pc.array_sort_indices(column))[: len(column) - int(empty.sum())]
        texts = column.take(pa.array(rows))
        new = np.ones(len(rows), np.bool_)
        new[1:] = np.asarray(pc.not_equal(texts[1:], texts[:-1]))
        ranks = np.full(len(column), 2 * int(new.sum()), np.int32)
        ranks[rows] = 2 * (np.cumsum(new) - 1)
        return cls(ranks, column, rows[new])

    @property
    def nothing(self) -> int:
        """Rank of items without a value."""
        return 2 * len(self.values if self.texts is None else self.texts)

    def rank(self, value: Value) -> int:
        """Rank of a value: odd if no item has it."""
        if value is None:
            return self.nothing
        if self.texts is None:
            if isinstance(value, str):
                return self.nothing - 1
            at = int(np.searchsorted(self.values, value))
            return 2 * at if at < len(self.values) and self.values[at] == value else 2 * at - 1
        if not isinstance(value, str):
            return -1
        low, high = 0, len(self.texts)
        while low < high:
            middle = (low + high) // 2
            if self.values[int(self.texts[middle])].as_py() < value:
                low = middle + 1
            else:
                high = middle
        is_there = low < len(self.texts) and self.values[int(self.texts[low])].as_py() == value
        return 2 * low if is_there else 2 * low - 1

    def directed(self, ranks: npt.NDArray[Any], *, descending: bool) -> npt.NDArray[Any]:
        """Ranks from 0 on that rise in the direction of an order; nothing is always last."""
        risen = np.where(ranks == self.nothing, ranks, self.nothing - 2 - ranks) if descending else ranks
        return risen + 1

    @property
    def span(self) -> int:
        """Number of ranks that `directed` may give."""
        return self.nothing + 3


def fold(
    parts: list[tuple[npt.NDArray[np.int64], int, int]],
) -> tuple[npt.NDArray[np.int64], int]:
    """One number for each item that compares as its ranks in turn, and that of a place in the order.

    Parameters
    ----------
    parts : list of (ranks, rank of the place, number of ranks)
    """
    folded, place, span = np.zeros(len(parts[0][0]), np.int64), 0, 1
    for ranks, here, count in parts:
        if span * count >= _TOP:
            joined, places = np.unique(np.append(folded, place), return_inverse=True)
            folded, place, span = places[:-1].astype(np.int64), int(places[-1]), len(joined)
        folded, place, span = folded * count + ranks, place * count + here, span * count
    return folded, place
