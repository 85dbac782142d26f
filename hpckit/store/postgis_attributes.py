"""Attributes of zones in PostgreSQL, inside a transaction of the caller."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from hpckit.space.attributes import Attributes, Kind, kind_of

_ROWS_AT_A_TIME: Final = 10_000
_TYPES: Final[Mapping[Kind, str]] = {
    "integer": "bigint",
    "decimal": "double precision",
    "boolean": "boolean",
    "day": "date",
    "time": "timestamp",
    "text": "text",
}
_UPDATE: Final = """
UPDATE zone z SET attributes = n.attributes
  FROM unnest(%s::integer[], %s::jsonb[]) AS n (id, attributes) WHERE z.id = n.id
"""


def write_attributes(cursor: Any, reduction: str, attributes: Attributes) -> None:
    """Make the attributes of the zones of a reduction these."""
    cursor.execute("SELECT id, first_zone, zones FROM reduction WHERE name = %s FOR UPDATE", [reduction])
    number, first, count = cursor.fetchone()
    columns = attributes.columns
    if not columns:
        cursor.execute("UPDATE zone SET attributes = NULL WHERE reduction = %s AND attributes IS NOT NULL", [number])
    for start in range(0, count if columns else 0, _ROWS_AT_A_TIME):
        parts = [column.slice(start, _ROWS_AT_A_TIME).to_pylist() for column in columns.values()]
        rows = [json.dumps(dict(zip(columns, map(_stored, row), strict=True))) for row in zip(*parts, strict=True)]
        cursor.execute(_UPDATE, [list(range(first + start, first + start + len(rows))), rows])
    listed = json.dumps([[name, _TYPES[kind_of(column)]] for name, column in columns.items()])
    change = "UPDATE reduction SET attributes = %s, attributes_digest = %s WHERE id = %s"
    cursor.execute(change, [listed, attributes.digest, number])


def _stored(value: Any) -> Any:
    """A value in JSON, which has neither days nor infinite numbers."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value.isoformat() if isinstance(value, date) else value
