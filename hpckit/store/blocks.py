"""Records of many zones as arrays, some zones at a time: what stores stream, whatever they keep it in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from hpckit.errors import StoreError
from hpckit.store.frames import PROVENANCE, Floats, RowLayout

BLOCK_ROWS: Final = 1 << 18
"""Signatures that are read at a time, if nothing else is asked for."""

_MOST_RUNS: Final = 1000
"""Runs of neighbouring zones up to which each is read by itself."""

_Part = TypeVar("_Part")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Origins:
    """Observations of a reduction, sorted by time."""

    ids: npt.NDArray[np.int64]
    """Their ids in the store."""
    time: npt.NDArray[np.datetime64]
    """UTC, without a zone."""
    provenance: Mapping[str, Sequence[Any]]

    def places(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Positions of observations, by id."""
        order = np.argsort(self.ids)
        return np.asarray(order[np.searchsorted(self.ids, ids, sorter=order)], np.int64)


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Records of neighbouring zones, sorted by zone and time."""

    layout: RowLayout
    origins: Origins
    names: Sequence[str]
    """Identifiers of the zones."""
    zone: npt.NDArray[np.int64]
    """Position in `names`; shape (rows,)."""
    origin: npt.NDArray[np.int64]
    """Position in `origins`; shape (rows,)."""
    valid: Floats
    """Shape (rows, bands); NaN where the record lacks the band."""
    total: Floats
    values: Floats
    """Shape (statistics, rows, bands)."""
    classes: Mapping[str, Floats] = field(default_factory=dict)
    """By class band: pixels of each class; shape (rows, codes), codes as in the layout."""

    def ordered(self) -> RecordBlock:
        """The same records, sorted."""
        return self.taken(sorting(self.zone, self.origin, self.origins))

    def taken(self, rows: npt.NDArray[np.intp]) -> RecordBlock:
        """Some of the records, in this order."""
        return replace(
            self,
            zone=self.zone[rows],
            origin=self.origin[rows],
            valid=self.valid[rows],
            total=self.total[rows],
            values=self.values[:, rows],
            classes={band: counts[rows] for band, counts in self.classes.items()},
        )


def sorting(zone: npt.NDArray[np.int64], origin: npt.NDArray[np.int64], origins: Origins) -> npt.NDArray[np.intp]:
    """Order of records by zone and time."""
    return np.argsort(zone * len(origins.ids) + origin, kind="stable")


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of a reading, in the order of the zone layer; they are read once, when they are asked for."""

    layout: RowLayout
    """That of all blocks."""
    _read: Iterator[RecordBlock]

    def __iter__(self) -> Iterator[RecordBlock]:
        """The blocks."""
        return self._read


def read_origins(rows: Sequence[tuple[Any, ...]]) -> Origins:
    """Origins from rows of id, time and provenance, sorted by time and acquisition."""
    import pandas as pd

    time = pd.to_datetime([row[1] for row in rows], utc=True).tz_localize(None).to_numpy()
    provenance = {name: [row[k + 2] for row in rows] for k, name in enumerate(PROVENANCE)}
    return Origins(np.array([row[0] for row in rows], np.int64), time, provenance)


Bands = str | Sequence[str] | None
"""One band, several, or all."""


def narrowed(layout: RowLayout, reduction: str, bands: Bands, classes: str | None) -> RowLayout:
    """What is to be read: some bands or all, in the order of the store, and one class band, if the store has it.

    Raises
    ------
    StoreError
        If there is no such band.
    """
    wanted = [bands] if isinstance(bands, str) else bands
    for band in wanted or ():
        if band != classes:
            layout.check(reduction, band)
    shown = {name: codes for name, codes in (layout.classes or {}).items() if name == classes}
    kept = layout.bands if wanted is None else tuple(band for band in layout.bands if band in wanted)
    return RowLayout(kept, layout.statistics, shown)


def zone_ranges(counts: npt.NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Cut zones into ranges of at most `most` records, at least one zone each; those at the ends have records.

    Parameters
    ----------
    counts : ndarray of int, shape (zones,)
        Records of each zone.
    """
    ranges, first, held = [], 0, 0
    for zone in np.flatnonzero(counts).tolist():
        count = int(counts[zone])
        if held and held + count > most:
            ranges.append((first, zone))
            held = 0
        if not held:
            first = zone
        held += count
    return [*ranges, (first, len(counts))] if held else ranges


def ranges_of(counts: npt.NDArray[np.int64], most: int, zones: npt.NDArray[np.int64] | None) -> list[tuple[int, int]]:
    """Ranges as of `zone_ranges` that hold some zones; of many scattered ones also zones between them.

    Parameters
    ----------
    zones : ndarray of int, optional
        Sorted; all if not given.
    """
    if zones is None or not len(zones):
        return zone_ranges(counts, most) if zones is None else []
    gaps = np.flatnonzero(np.diff(zones) > 1)
    first, last = zones[np.r_[0, gaps + 1]].tolist(), zones[np.r_[gaps, len(zones) - 1]].tolist()
    if len(first) > _MOST_RUNS:
        first, last = first[:1], last[-1:]
    return [
        (begin + start, begin + stop)
        for begin, end in zip(first, last, strict=True)
        for start, stop in zone_ranges(counts[begin : end + 1], most)
    ]


def in_order(read: Callable[[_Part], _Answer], parts: Sequence[_Part], threads: int) -> Iterator[_Answer]:
    """Answers for parts in their order, read ahead by threads; at most as many as threads wait for the caller."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Answer]] = deque()
        rest = iter(parts)
        try:
            while True:
                while len(waiting) < threads and (part := next(rest, None)) is not None:
                    waiting.append(pool.submit(read, part))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def changed_meanwhile(where: object) -> StoreError:
    """The refusal to join results of two states of a store."""
    return StoreError(
        f"{where}: results were loaded while they were read", hint="read again when `hpckit sync` has ended"
    )
