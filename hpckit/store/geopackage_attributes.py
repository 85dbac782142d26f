"""Attributes of zones as columns of their layer in a GeoPackage, inside a transaction of the caller."""

# ruff: noqa: S608
# Table and column names come from `quote`; values are parameters.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from hpckit.errors import StoreError
from hpckit.space.attributes import Attributes, Kind, kind_of
from hpckit.store.geopackage_names import column_names, quote

DROPS_COLUMNS: Final = (3, 35, 0)
"""First version of SQLite that can."""
_ROWS_AT_A_TIME: Final = 20_000
_TYPES: Final[Mapping[Kind, str]] = {
    "integer": "INTEGER",
    "decimal": "DOUBLE",
    "boolean": "BOOLEAN",
    "day": "DATE",
    "time": "DATETIME",
    "text": "TEXT",
}


def attribute_names(db: sqlite3.Connection, reduction: str) -> list[str]:
    """Columns of the zones of a reduction that are attributes, in their order."""
    return [name for name, kind in _listed(db, reduction) if kind]


def read_attributes(db: sqlite3.Connection, reduction: str) -> dict[str, list[Any]]:
    """Values of the attributes of the zones of a reduction, in the order of the layer."""
    found: dict[str, list[Any]] = {}
    for name, kind in _listed(db, reduction):
        if kind:
            query = f"SELECT {quote(name)} FROM {quote(f'zones_{reduction}')} ORDER BY fid"
            values = [value for (value,) in db.execute(query)]
            truths = kind == _TYPES["boolean"]
            found[name] = [bool(value) if truths and value is not None else value for value in values]
    return found


def write_attributes(db: sqlite3.Connection, reduction: str, attributes: Attributes) -> None:
    """Make the attributes of a reduction these; views that read the layer are dropped before.

    Raises
    ------
    StoreError
        If somebody else has added a field of such a name to the layer.
    """
    layer, before = f"zones_{reduction}", dict(_listed(db, reduction))
    ours = [
        *before,
        *([name for name in column_names(db, layer) if name.lower() == "crop"] if attributes.crop else []),
    ]
    kept = _drop(db, layer, ours)
    present = {name.casefold(): name for name in column_names(db, layer)}
    columns = {name: present.get(name.casefold(), name) for name in attributes.columns}
    for name, column in columns.items():
        if name.casefold() not in present:
            kind = _TYPES[kind_of(attributes.columns[name])]
            db.execute(f"ALTER TABLE {quote(layer)} ADD COLUMN {quote(name)} {kind}")
        elif column not in kept:
            raise StoreError(
                f"the layer {layer} of the GeoPackage has a field {column!r} that hpckit did not write",
                hint=f"rename the field there, or the attribute: `new_name: {name}`",
            )
    if columns:
        forbid_index_changes(db)
        _fill(db, layer, attributes, list(columns.values()))
    listed = [(columns[name], _TYPES[kind_of(column)]) for name, column in attributes.columns.items()]
    listed += [(name, "") for name in kept if name not in columns.values()]
    change = "UPDATE hpckit_reduction SET attributes = ?, attributes_digest = ? WHERE name = ?"
    db.execute(change, [json.dumps(listed), attributes.digest, reduction])


def forbid_index_changes(db: sqlite3.Connection) -> None:
    """Give SQLite the functions that triggers of the spatial index name; else it refuses to change the layer.

    They are called where a geometry or a feature number changes, which nothing here does.
    """
    for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
        db.create_function(name, 1, _refuse)


def _refuse(geometry: bytes) -> None:
    raise StoreError("the spatial index of zones is written by GDAL alone")


def _listed(db: sqlite3.Connection, reduction: str) -> list[tuple[str, str]]:
    """Columns that are or were attributes, with their types; those that were have none."""
    row = db.execute("SELECT attributes FROM hpckit_reduction WHERE name = ?", [reduction]).fetchone()
    return [] if row is None else [(str(name), str(kind)) for name, kind in json.loads(row[0])]


def _drop(db: sqlite3.Connection, layer: str, names: Iterable[str]) -> list[str]:
    """Remove columns; those that an old SQLite cannot remove are emptied, and returned."""
    present = set(column_names(db, layer))
    found = [name for name in dict.fromkeys(names) if name in present]
    if sqlite3.sqlite_version_info >= DROPS_COLUMNS:
        for name in found:
            db.execute(f"ALTER TABLE {quote(layer)} DROP COLUMN {quote(name)}")
        return []
    if found:
        forbid_index_changes(db)
        db.execute(f"UPDATE {quote(layer)} SET {', '.join(f'{quote(name)} = NULL' for name in found)}")
    return found


def _fill(db: sqlite3.Connection, layer: str, attributes: Attributes, columns: list[str]) -> None:
    fids = [fid for (fid,) in db.execute(f"SELECT fid FROM {quote(layer)} ORDER BY fid")]
    update = f"UPDATE {quote(layer)} SET {', '.join(f'{quote(name)} = ?' for name in columns)} WHERE fid = ?"
    for start in range(0, len(fids), _ROWS_AT_A_TIME):
        rows = fids[start : start + _ROWS_AT_A_TIME]
        parts = [column.slice(start, len(rows)).to_pylist() for column in attributes.columns.values()]
        db.executemany(update, zip(*([_stored(value) for value in part] for part in parts), rows, strict=True))


def _stored(value: Any) -> Any:
    """A value as GeoPackages store it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + "Z"
    return value.isoformat() if isinstance(value, date) else value
