"""Remove results from PostgreSQL, in bulk, inside a transaction of the caller."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def remove_units(cursor: Any, reduction: str, units: Collection[str]) -> None:
    """Remove the results of units: their records by ranges of the key, acquisition by acquisition."""
    if not units:
        return
    cursor.execute(
        "SELECT o.id, o.acquisition, p.first_zone, p.zones FROM observation o JOIN reduction p ON p.id = o.reduction"
        " WHERE p.name = %s AND o.unit = ANY(%s)",
        [reduction, list(units)],
    )
    found = cursor.fetchall()
    if not found:
        return
    observations, passes = [row[0] for row in found], sorted({row[1] for row in found})
    first, count = found[0][2:]
    cursor.execute(
        "DELETE FROM record WHERE acquisition = ANY(%s::integer[]) AND zone BETWEEN %s AND %s"
        " AND observation = ANY(%s::integer[])",
        [passes, first, first + count - 1, observations],
    )
    cursor.execute("DELETE FROM observation WHERE id = ANY(%s::integer[])", [observations])


def remove_reduction(cursor: Any, reduction: str) -> None:
    """Remove a reduction; zones and observations go with it."""
    cursor.execute("SELECT id, first_zone, zones FROM reduction WHERE name = %s", [reduction])
    known = cursor.fetchone()
    if known is None:
        return
    cursor.execute(
        "DELETE FROM record WHERE zone BETWEEN %s AND %s"
        " AND acquisition IN (SELECT acquisition FROM observation WHERE reduction = %s)",
        [known[1], known[1] + known[2] - 1, known[0]],
    )
    cursor.execute("DELETE FROM reduction WHERE id = %s", [known[0]])


def remove_orphans(cursor: Any) -> None:
    """Remove acquisitions of which no result is left."""
    cursor.execute(
        "DELETE FROM acquisition a WHERE NOT EXISTS (SELECT FROM observation o WHERE o.acquisition = a.id)"
    )
