"""The table `layer_styles` of a GeoPackage, as QGIS makes and reads it: our rows in it, and nobody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from hpckit.store.geopackage_names import column_names
from hpckit.store.styles import LayerStyle, StyleRow, changes

_MAKE: Final = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256),
    f_table_schema TEXT(256),
    f_table_name TEXT(256),
    f_geometry_column TEXT(256),
    styleName TEXT(30),
    styleQML TEXT,
    styleSLD TEXT,
    useAsDefault BOOLEAN,
    description TEXT,
    owner TEXT(30),
    ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""
_LIST: Final = (
    "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description)"
    " VALUES ('layer_styles', 'attributes', 'layer_styles', '')"
)
_INSERT: Final = (
    "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,"
    " styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, '', ?, ?, '')"
)
_NEEDED: Final = frozenset(
    ("f_table_name", "f_geometry_column", "styleName", "styleQML", "useAsDefault", "description", "owner")
)
_GEOMETRY: Final = "geom"


_ROWS: Final = (
    "SELECT id, styleName, useAsDefault, description, styleQML FROM layer_styles"
    " WHERE f_table_name = ? AND f_geometry_column = ? ORDER BY id"
)
_UPDATE: Final = (
    "UPDATE layer_styles SET styleQML = ?, description = ?, useAsDefault = ?,"
    " update_time = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ?"
)


def put_styles(db: sqlite3.Connection, layer: str, styles: Sequence[LayerStyle]) -> None:
    """Make our styles of a layer these. A person's stay, and so does the default that they chose.

    A table of this name that is not made like that of QGIS is left alone.
    """
    present = set(column_names(db, "layer_styles"))
    if not present and styles:
        db.execute(_MAKE)
        db.execute(_LIST)
    elif not present >= _NEEDED:
        return
    rows = [StyleRow(*row) for row in db.execute(_ROWS, [layer, _GEOMETRY])]
    todo = changes(rows, styles)
    db.executemany("DELETE FROM layer_styles WHERE id = ?", [[number] for number in todo.removed])
    db.executemany(_UPDATE, [[s.qml, s.description, default, number] for number, s, default in todo.changed])
    db.executemany(_INSERT, [[layer, _GEOMETRY, s.name, s.qml, default, s.description] for s, default in todo.added])


def remove_styles(db: sqlite3.Connection, layers: Iterable[str]) -> None:
    """Remove our styles of layers that are removed."""
    for layer in layers:
        put_styles(db, layer, [])
