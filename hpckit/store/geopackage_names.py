"""Names of tables and columns in a GeoPackage."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Final

from hpckit.errors import StoreError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")


def columns_of(band: str, statistics: Sequence[str]) -> list[str]:
    """Columns of a band in a record table: valid and total pixels, then the statistics."""
    return [f"{band}_{name}" for name in ("valid", "total", *statistics)]


def column_names(db: sqlite3.Connection, table: str) -> list[str]:
    """Columns of a table; none if there is no such table."""
    return [str(row[1]) for row in db.execute(f"PRAGMA table_info({quote(table)})")]


def check_name(reduction: str) -> None:
    """Make sure that tables can bear the name.

    Raises
    ------
    StoreError
        If it has other characters than letters, digits and `_`.
    """
    if not _NAME.fullmatch(reduction):
        raise StoreError(f"{reduction!r} cannot name a reduction; use letters, digits and _")


def quote(name: str) -> str:
    """Identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'
