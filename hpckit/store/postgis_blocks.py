"""Records of many zones from PostgreSQL by binary COPY, some zones at a time."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.store.blocks import Origins, RecordBlock, read_origins
from hpckit.store.copy import read_records
from hpckit.store.frames import RowLayout
from hpckit.store.postgis_load import COPY_BYTES

_SAMPLE: Final = 64
_ORIGINS: Final = """
SELECT o.id, a.time, a.name, a.platform, a.level, o.tile, o.baseline, a.relative_orbit, o.cloud_cover, o.run_id,
       o.acquisition, o.layout
  FROM observation o JOIN acquisition a ON a.id = o.acquisition JOIN reduction p ON p.id = o.reduction
 WHERE p.name = %s ORDER BY a.time, a.id, o.id
"""
_COUNTS: Final = """
SELECT zone, COUNT(*) FROM record
 WHERE acquisition = ANY(%s::integer[]) AND zone = ANY(%s::integer[]) AND observation = ANY(%s::integer[])
 GROUP BY zone
"""
_RECORDS: Final = """
COPY (SELECT r.zone, r.observation, {data} FROM record r
       WHERE r.acquisition = ANY(%s::integer[]) AND r.zone BETWEEN %s AND %s AND r.observation = ANY(%s::integer[]))
  TO STDOUT (FORMAT binary)
"""
_PADDED: Final = "CASE WHEN cardinality(r.data) = {width} THEN r.data ELSE r.data || %s::real[] END"

_Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]
_NOWHERE: Final[tuple[Any, Any, Any, dict[str, Any]]] = (None, None, defaultdict(lambda: None), {})
"""Targets of those who ask for places only."""

Borrow = Callable[[], AbstractContextManager[Any]]
"""Gives a cursor of a connection that no other thread uses."""


@dataclass(frozen=True, slots=True)
class Part:
    """Observations whose records have one layout."""

    layout: RowLayout
    acquisitions: Sequence[int]
    observations: Sequence[int]


def find_parts(cursor: Any, reduction: str, layouts: Mapping[int, RowLayout]) -> tuple[Origins, list[Part]]:
    """Observations of a reduction, sorted by time, and by layout."""
    cursor.execute(_ORIGINS, [reduction])
    rows = cursor.fetchall()
    parts = []
    for number, layout in layouts.items():
        mine = [row for row in rows if row[-1] == number]
        parts.append(Part(layout, sorted({row[-2] for row in mine}), [row[0] for row in mine]))
    return read_origins(rows), parts


def records_of_a_zone(cursor: Any, parts: Sequence[Part], zones: npt.NDArray[np.int64]) -> int:
    """Records that a zone has at most, by a sample of the zones."""
    sample = zones[np.unique(np.linspace(0, len(zones) - 1, min(_SAMPLE, len(zones))).astype(np.intp))]
    counts: dict[int, int] = {}
    for part in parts:
        cursor.execute(_COUNTS, [list(part.acquisitions), sample.tolist(), list(part.observations)])
        for zone, count in cursor.fetchall():
            counts[zone] = counts.get(zone, 0) + count
    return max(counts.values(), default=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """What readings of one reduction share."""

    layout: RowLayout
    origins: Origins
    parts: Sequence[Part]
    names: Sequence[str]
    first: int
    """Id of the first zone; they have no gaps."""
    borrow: Borrow

    def block(self, zones: tuple[int, int]) -> RecordBlock:
        """Records of the zones from a first one up to another one."""
        found = [self._part(part, zones) for part in self.parts]
        rows = [len(zone) for zone, _, _ in found]
        layout, count = self.layout, sum(rows)
        valid = np.full((count, len(layout.bands)), np.nan)
        total, values = valid.copy(), np.full((len(layout.statistics), *valid.shape), np.nan)
        classes = {band: np.full((count, len(codes)), np.nan) for band, codes in (layout.classes or {}).items()}
        for part, (_, _, data), end in zip(self.parts, found, np.cumsum(rows).tolist(), strict=True):
            targets = _targets(layout, part.layout, valid, total, values, classes)
            for (target, column, _), numbers in zip(targets, data.T, strict=True):
                target[end - len(data) : end, column] = numbers
        return RecordBlock(
            layout,
            self.origins,
            self.names[slice(*zones)],
            np.concatenate([zone for zone, _, _ in found]).astype(np.int64) - self.first - zones[0],
            self.origins.places(np.concatenate([observation for _, observation, _ in found])),
            valid,
            total,
            values,
            classes,
        ).ordered()

    def _part(self, part: Part, zones: tuple[int, int]) -> _Found:
        """Zone, observation and the numbers that are wanted of the records with one layout."""
        places = [place for _, _, place in _targets(self.layout, part.layout, *_NOWHERE)]
        width = part.layout.counts_width + len(part.layout.bands) * len(part.layout.statistics)
        # To send a whole array is dearer than some of its numbers, and cheaper than most of them.
        is_whole, values = 2 * len(places) > width, [list(part.acquisitions), self.first + zones[0]]
        values += [self.first + zones[1] - 1, list(part.observations)]
        if is_whole:
            data = _PADDED.format(width=width)
            values = [[float("nan")] * (width - part.layout.counts_width), *values]
        else:
            data = ", ".join(f"COALESCE(r.data[{place + 1}], 'NaN')" for place in places)
        target = io.BytesIO()
        with self.borrow() as cursor:
            statement = cursor.mogrify(_RECORDS.format(data=data), values).decode()
            cursor.copy_expert(statement, target, size=COPY_BYTES)
        zone, observation, numbers = read_records(target.getbuffer(), width if is_whole else len(places), is_whole)
        return zone, observation, numbers[:, places] if is_whole else numbers


def _targets(
    layout: RowLayout, held: RowLayout, valid: Any, total: Any, values: Any, classes: Mapping[str, Any]
) -> list[tuple[Any, int, int]]:
    """Where the numbers of a record go: array, column, and their place in the record."""
    found: list[tuple[Any, int, int]] = []
    for column, band in enumerate(layout.bands):
        if band not in held.bands:
            continue
        position, width = held.bands.index(band), len(held.statistics)
        found += [(valid, column, position), (total, column, len(held.bands) + position)]
        first = held.counts_width + position * width
        places = {name: first + k for k, name in enumerate(held.statistics)}
        found += [(values[k], column, places[name]) for k, name in enumerate(layout.statistics) if name in places]
    for band, codes in (layout.classes or {}).items():
        places_of = held.class_places(band)
        found += [(classes.get(band), k, places_of[code]) for k, code in enumerate(codes) if code in places_of]
    return found
