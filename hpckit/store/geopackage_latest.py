"""The view `latest_<reduction>`: zones with their latest clear observation, as a layer that QGIS draws."""

# ruff: noqa: S608
# Table and column names come from `quote`; values are parameters.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hpckit.sensors.masks import CLEAR
from hpckit.store.frames import RowLayout
from hpckit.store.geopackage_names import columns_of, quote
from hpckit.store.styles import LayerStyle, latest_styles, shown_band

_LISTED = ("gpkg_geometry_columns", "gpkg_contents")


def latest_name(reduction: str) -> str:
    """Name of the view of a reduction."""
    return f"latest_{reduction}"


def drop_latest(db: sqlite3.Connection, reduction: str) -> None:
    """Remove the view, before tables that it reads change; what a person made under its name stays."""
    view = latest_name(reduction)
    found = db.execute("SELECT type, sql FROM sqlite_master WHERE name = ?", [view]).fetchone()
    if found is None or found[0] != "view" or quote(f"record_{reduction}") not in found[1]:
        return
    db.execute(f"DROP VIEW {quote(view)}")
    for table in _LISTED:
        db.execute(f"DELETE FROM {table} WHERE table_name = ?", [view])


def create_latest(db: sqlite3.Connection, reduction: str, layout: RowLayout, attributes: Sequence[str] = ()) -> None:
    """Make the view again; none without bands, or where a person has made something of this name."""
    drop_latest(db, reduction)
    view = latest_name(reduction)
    taken = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [view]).fetchone()
    if taken is not None or not layout.bands or not _is_layer(db, f"zones_{reduction}"):
        return
    db.execute(f"CREATE VIEW {quote(view)} AS {_select(reduction, layout, attributes)}")
    text = f"Zones of {reduction} with their latest clear observation; without one, its fields are empty"
    db.execute(
        "INSERT INTO gpkg_contents"
        " (table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id)"
        " SELECT ?, 'features', ?, ?, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents WHERE table_name = ?",
        [view, view, text, f"zones_{reduction}"],
    )
    db.execute(
        "INSERT INTO gpkg_geometry_columns (table_name, column_name, geometry_type_name, srs_id, z, m)"
        " SELECT ?, column_name, geometry_type_name, srs_id, z, m FROM gpkg_geometry_columns WHERE table_name = ?",
        [view, f"zones_{reduction}"],
    )


def _is_layer(db: sqlite3.Connection, table: str) -> bool:
    found = db.execute("SELECT 1 FROM gpkg_geometry_columns WHERE table_name = ?", [table]).fetchone()
    return found is not None


def _select(reduction: str, layout: RowLayout, attributes: Sequence[str]) -> str:
    """One row for each zone. CROSS JOIN keeps the order of tables, so few records are looked at.

    All columns are columns of tables: OGR reads expressions as text, and takes the spatial index of the zones. Where
    nothing of a record is asked for, as in a count of rows, SQLite leaves the joins out.
    """
    record, zones = quote(f"record_{reduction}"), quote(f"zones_{reduction}")
    valid, total = _counts(layout)
    names = (valid, total, *_means(layout))
    numbers = "".join(f", r.{quote(name)} AS {quote(name)}" for name in names)
    taken = {name.casefold() for name in names}
    known = "".join(f", z.{quote(name)} AS {quote(name)}" for name in attributes if name.casefold() not in taken)
    latest = (
        f"SELECT n.fid FROM acquisition p CROSS JOIN {record} n ON n.zone = z.fid AND n.acquisition = p.id"
        f" WHERE n.{quote(valid)} > 0 AND n.{quote(valid)} >= {CLEAR} * n.{quote(total)}"
        " ORDER BY p.time DESC LIMIT 1"
    )
    return (
        f"SELECT z.fid AS OGC_FID, z.geom AS geom, z.id AS zone, a.time AS time{numbers},"
        f" a.name AS acquisition, a.platform AS platform{known}"
        f" FROM {zones} z LEFT JOIN {record} r ON r.fid = ({latest})"
        " LEFT JOIN acquisition a ON a.id = r.acquisition"
    )


def _counts(layout: RowLayout) -> tuple[str, str]:
    """Columns with valid and all pixels of a zone."""
    valid, total, *_ = columns_of(shown_band(layout.bands), ())
    return valid, total


def _means(layout: RowLayout) -> Sequence[str]:
    """Columns with the mean of each band, or with its first statistic."""
    statistic = "mean" if "mean" in layout.statistics else next(iter(layout.statistics), None)
    return [] if statistic is None else [f"{band}_{statistic}" for band in layout.bands]


def styles_of_latest(reduction: str, layout: RowLayout) -> list[LayerStyle]:
    """Styles of the view; none without bands."""
    if not layout.bands:
        return []
    valid, total = _counts(layout)
    ndvi = next((name for name in _means(layout) if name.upper().startswith("NDVI_")), None)
    return latest_styles(latest_name(reduction), ndvi, f'"{valid}" / "{total}"')
