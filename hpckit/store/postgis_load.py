"""Records of a segment into PostgreSQL, inside a transaction of the caller.

By binary COPY into their table at once where they are new there, which is the ordinary case; else into staging, and
from there by an upsert that lets newer baselines stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hpckit.errors import SpoolError, StoreError
from hpckit.spool import Segment
from hpckit.store.copy import record_stream
from hpckit.store.postgis_rows import Keys, find_layout, find_observation

COPY_BYTES: Final = 1 << 20
"""Bytes handed to the server at a time."""

_COPY: Final = "COPY {} (zone, acquisition, observation, data) FROM STDIN (FORMAT binary)"

_UPSERT: Final = """
INSERT INTO record (zone, acquisition, observation, data)
SELECT DISTINCT ON (s.zone, s.acquisition) s.zone, s.acquisition, s.observation, s.data
  FROM staging s JOIN observation o ON o.id = s.observation
 ORDER BY s.zone, s.acquisition, o.baseline_rank DESC, s.position DESC
ON CONFLICT (acquisition, zone) DO UPDATE SET observation = excluded.observation, data = excluded.data
 WHERE (SELECT baseline_rank FROM observation WHERE id = record.observation)
    <= (SELECT baseline_rank FROM observation WHERE id = excluded.observation)
"""


def find_reduction(cursor: Any, segment: Segment) -> tuple[int, int]:
    """Id and first zone of the reduction that a segment belongs to, locked against a change of its zones.

    Raises
    ------
    StoreError
        If the store has another zone layer.
    SpoolError
        If the segment has rows for zones that the layer lacks.
    """
    header = segment.header
    cursor.execute(
        "SELECT id, first_zone, zones_digest, zones FROM reduction WHERE name = %s FOR SHARE", [header.reduction]
    )
    row = cursor.fetchone()
    if row is None or row[2] != header.zones_digest:
        raise StoreError(
            f"{segment.path}: made with a zone layer of {header.reduction!r} that the store does not have",
            hint="`hpckit run` computes the signatures of the present layer",
        )
    if any(len(batch.zone) and not 0 <= batch.zone.min() <= batch.zone.max() < row[3] for batch in segment.batches):
        raise SpoolError(f"{segment.path}: it has rows for zones beyond the {row[3]} of the layer")
    return int(row[0]), int(row[1])


def load_records(cursor: Any, segment: Segment, reduction: int, first_zone: int) -> None:
    """Load the records of a segment that is not empty; newer baselines stay."""
    layout = find_layout(cursor, segment.batches[0])
    batches = []
    for batch in segment.batches:
        keys = find_observation(cursor, Keys(reduction, layout), segment.header, batch.acquisition)
        batches.append((batch, *keys))
    samples = [
        (int(batch.zone[row]) + first_zone, acquisition)
        for batch, acquisition, _ in batches
        if len(batch.zone)
        for row in (0, -1)
    ]
    cursor.execute("ANALYZE acquisition, observation")
    if _any_known(cursor, samples) or not _copied(cursor, batches, first_zone):
        _upsert(cursor, batches, first_zone)


def _any_known(cursor: Any, keys: Sequence[tuple[int, int]]) -> bool:
    cursor.execute(
        "SELECT 1 FROM record r JOIN unnest(%s::integer[], %s::integer[]) AS k (zone, acquisition)"
        " USING (zone, acquisition) LIMIT 1",
        [[zone for zone, _ in keys], [acquisition for _, acquisition in keys]],
    )
    return cursor.fetchone() is not None


def _copied(cursor: Any, batches: Sequence[Any], first_zone: int) -> bool:
    """Copy into the table at once; False, and nothing done, if a record is there already."""
    from psycopg2 import errors

    cursor.execute("SAVEPOINT direct")
    try:
        cursor.copy_expert(_COPY.format("record"), record_stream(batches, first_zone), size=COPY_BYTES)
    except errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT direct")
        return False
    cursor.execute("RELEASE SAVEPOINT direct")
    return True


def _upsert(cursor: Any, batches: Sequence[Any], first_zone: int) -> None:
    cursor.execute(
        "CREATE TEMPORARY TABLE staging (zone integer, acquisition integer, observation integer, data real[],"
        " position bigint GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP"
    )
    cursor.copy_expert(_COPY.format("staging"), record_stream(batches, first_zone), size=COPY_BYTES)
    cursor.execute(_UPSERT)
