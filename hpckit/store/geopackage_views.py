"""Series as views of a GeoPackage: `signature_<reduction>` has a row for each band, `wide_<reduction>` a column."""

# Table and column names come from `quote`; values are parameters.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hpckit.store.frames import RowLayout
from hpckit.store.geopackage_names import columns_of, quote

_ORIGIN = (
    "a.name AS acquisition, a.platform AS platform, o.tile AS tile, o.baseline AS baseline, "
    "a.relative_orbit AS relative_orbit, o.run_id AS run_id"
)
_ORIGIN_NAMES = ("acquisition", "platform", "tile", "baseline", "relative_orbit", "run_id")


def register(db: sqlite3.Connection, table: str, description: str) -> None:
    """List a table or view without geometries, so that GIS programs show it."""
    db.execute(
        "INSERT OR REPLACE INTO gpkg_contents (table_name, data_type, identifier, description)"
        " VALUES (?, 'attributes', ?, ?)",
        [table, table, description],
    )


def drop_series(db: sqlite3.Connection, reduction: str) -> None:
    """Remove the views, before tables that they read change; what a person made under these names stays."""
    for view in (f"signature_{reduction}", f"wide_{reduction}"):
        found = db.execute("SELECT type, sql FROM sqlite_master WHERE name = ?", [view]).fetchone()
        if found is not None and found[0] == "view" and quote(f"record_{reduction}") in found[1]:
            db.execute(f"DROP VIEW {quote(view)}")
            db.execute("DELETE FROM gpkg_contents WHERE table_name = ?", [view])


def create_series(db: sqlite3.Connection, reduction: str, layout: RowLayout, attributes: Sequence[str]) -> None:
    """Make the views again; none without bands, and none where a person has made something of this name.

    Parameters
    ----------
    attributes : sequence of str
        Columns of the zones that the views end with.
    """
    drop_series(db, reduction)
    if not layout.bands:
        return
    tall, wide = f"signature_{reduction}", f"wide_{reduction}"
    arms = [_types_arm(reduction, layout, attributes)]
    arms += [_view_arm(reduction, layout, k, attributes) for k in range(len(layout.bands))]
    _create(db, tall, " UNION ALL ".join(arms), f"Signatures of {reduction}: one row per zone, acquisition and band")
    _create(
        db, wide, _wide(reduction, layout, attributes), f"Signatures of {reduction}: one row per zone and acquisition"
    )


def _create(db: sqlite3.Connection, view: str, select: str, description: str) -> None:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [view]).fetchone() is None:
        db.execute(f"CREATE VIEW {quote(view)} AS {select}")
        register(db, view, description)


def _wide(reduction: str, layout: RowLayout, attributes: Sequence[str]) -> str:
    """One row for each record. All columns are columns of tables: OGR reads expressions as text."""
    names = [name for band in layout.bands for name in columns_of(band, layout.statistics)]
    names += [f"{band}_{code}" for band, codes in (layout.classes or {}).items() for code in codes]
    numbers = ", ".join(f"r.{quote(name)} AS {quote(name)}" for name in names)
    taken = ("OGC_FID", "zone", "time", *names, *_ORIGIN_NAMES)
    return (
        f"SELECT r.fid AS OGC_FID, z.id AS zone, a.time AS time, {numbers}, {_ORIGIN}{_shown(attributes, taken)} "
        f"{_tables(reduction)}"
    )


def _tables(reduction: str) -> str:
    return (
        f"FROM {quote(f'record_{reduction}')} r JOIN {quote(f'zones_{reduction}')} z ON z.fid = r.zone "
        "JOIN observation o ON o.id = r.observation JOIN acquisition a ON a.id = r.acquisition"
    )


def _shown(attributes: Sequence[str], taken: Sequence[str]) -> str:
    """Columns of attributes; without those that results from before they had these names would hide."""
    known = {name.casefold() for name in taken}
    return "".join(f", z.{quote(name)} AS {quote(name)}" for name in attributes if name.casefold() not in known)


def _types_arm(reduction: str, layout: RowLayout, attributes: Sequence[str]) -> str:
    """No rows, but types: a view has those of columns in its first SELECT, and OGR reads others as text."""
    valid, total, *values = (f"r.{quote(name)}" for name in columns_of(layout.bands[0], layout.statistics))
    return _arm(reduction, layout, ("r.fid", "a.name", valid, total, valid, *values), "0", attributes)


def _view_arm(reduction: str, layout: RowLayout, position: int, attributes: Sequence[str]) -> str:
    """Rows of one band. SQLite skips the bands that a filter excludes."""
    band = layout.bands[position]
    valid, total, *values = (f"r.{quote(name)}" for name in columns_of(band, layout.statistics))
    text = "'" + band.replace("'", "''") + "'"
    number = f"CAST(r.fid * {len(layout.bands)} + {position} AS INTEGER)"
    # Filters reach into a view only if the columns of all its SELECTs have equal affinities.
    columns = (number, f"CAST({text} AS TEXT)", valid, total, f"CAST({valid} / NULLIF({total}, 0) AS REAL)", *values)
    return _arm(reduction, layout, columns, f"{total} IS NOT NULL", attributes)


def _arm(reduction: str, layout: RowLayout, columns: Sequence[str], condition: str, attributes: Sequence[str]) -> str:
    """One SELECT of a view, with columns for feature number, band, valid, total, valid fraction and statistics."""
    number, band, *numbers = columns
    names = ["valid", "total", "valid_fraction", *layout.statistics]
    values = ", ".join(f"{column} AS {quote(name)}" for column, name in zip(numbers, names, strict=True))
    shown = _shown(attributes, ("OGC_FID", "zone", "time", "band", *names, *_ORIGIN_NAMES))
    return (
        f"SELECT {number} AS OGC_FID, z.id AS zone, a.time AS time, {band} AS band, {values}, {_ORIGIN}{shown} "
        f"{_tables(reduction)} WHERE {condition}"
    )
