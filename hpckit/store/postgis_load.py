"""Records of a segment into PostgreSQL by binary COPY, inside a transaction of the caller.

What they replace was removed before, so that there is nothing to compare them with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hpckit.errors import SpoolError, StoreError, StoreUnavailableError
from hpckit.reduce.signatures.spool import Segment, SignatureBatch
from hpckit.store.copy import record_stream
from hpckit.store.postgis_rows import Keys, add_observation, find_layout

COPY_BYTES: Final = 1 << 20
"""Bytes handed to the server at a time."""

_COPY: Final = "COPY record (zone, acquisition, observation, data) FROM STDIN (FORMAT binary)"


def find_reduction(cursor: Any, segment: Segment) -> tuple[int, int]:
    """Id and first zone of the reduction that a segment belongs to, locked against others that load it.

    Raises
    ------
    StoreError
        If the store has another zone layer.
    SpoolError
        If the segment has rows for zones that the layer lacks.
    """
    header = segment.header
    cursor.execute(
        "SELECT id, first_zone, zones_digest, zones FROM reduction WHERE name = %s FOR UPDATE", [header.reduction]
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


def load_records(
    cursor: Any, segment: Segment, batches: Sequence[SignatureBatch], reduction: int, first_zone: int
) -> None:
    """Load batches of a segment.

    Raises
    ------
    StoreUnavailableError
        If others load the same at this moment.
    """
    from psycopg2 import errors

    layout = find_layout(cursor, batches[0])
    keys = Keys(reduction, layout, segment.spool_id)
    keyed = [(batch, *add_observation(cursor, keys, segment.header, batch)) for batch in batches]
    cursor.execute("ANALYZE acquisition, observation")
    try:
        cursor.copy_expert(_COPY, record_stream(keyed, first_zone), size=COPY_BYTES)
    except errors.UniqueViolation as error:
        raise StoreUnavailableError(
            f"{segment.path}: another hpckit loads results of these zones and dates at this moment", hint="try again"
        ) from error
