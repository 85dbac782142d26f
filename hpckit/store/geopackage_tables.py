"""Tables of a reduction in a GeoPackage: their columns, views and rows, inside a transaction of the caller."""

# ruff: noqa: S608
# Table and column names come from `quote`; values are parameters.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import SpoolError, StoreError
from hpckit.reduce.signatures.spool import Segment, SignatureBatch
from hpckit.space.attributes import Attributes
from hpckit.store.frames import RowLayout, as_utc, baseline_rank
from hpckit.store.geopackage_attributes import (
    DROPS_COLUMNS,
    attribute_names,
    forbid_index_changes,
    write_attributes,
)
from hpckit.store.geopackage_latest import create_latest, drop_latest, latest_name, styles_of_latest
from hpckit.store.geopackage_markers import drop_rules
from hpckit.store.geopackage_names import column_names, columns_of, quote
from hpckit.store.geopackage_styles import put_styles, remove_styles
from hpckit.store.geopackage_views import create_series, drop_series, register
from hpckit.store.styles import zone_styles

_ROWS_AT_A_TIME: Final = 20_000


def remove_results(db: sqlite3.Connection, reduction: str) -> None:
    """Remove a reduction, its results and markers; its zone layer stays for GDAL to overwrite."""
    drop_rules(db, reduction)
    drop_latest(db, reduction)
    drop_series(db, reduction)
    db.execute(f"DROP TABLE IF EXISTS {quote(f'record_{reduction}')}")
    db.execute(f"DROP INDEX IF EXISTS {quote(f'zones_{reduction}_id')}")
    db.execute("DELETE FROM gpkg_contents WHERE table_name = ?", [f"record_{reduction}"])
    known = "(SELECT id FROM hpckit_reduction WHERE name = ?)"
    db.execute(f"DELETE FROM observation WHERE reduction IN {known}", [reduction])
    db.execute("DELETE FROM hpckit_reduction WHERE name = ?", [reduction])


def remove_layer(db: sqlite3.Connection, layer: str) -> None:
    """Remove a spatial layer that GDAL wrote, with its index and its rows in the tables of the format."""
    present = {str(name) for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for name in (f"rtree_{layer}_geom", layer):
        if name in present:
            db.execute(f"DROP TABLE {quote(name)}")
    for table in ("gpkg_extensions", "gpkg_ogr_contents", "gpkg_geometry_columns", "gpkg_contents"):
        if table in present:
            db.execute(f"DELETE FROM {table} WHERE table_name = ?", [layer])


def remove_units(db: sqlite3.Connection, reduction: str, units: Collection[str]) -> None:
    """Remove the results of units."""
    if not units:
        return
    known = (
        "reduction IN (SELECT id FROM hpckit_reduction WHERE name = ?) AND unit IN (SELECT value FROM json_each(?))"
    )
    query = f"SELECT id, acquisition FROM observation WHERE {known}"
    found = db.execute(query, [reduction, json.dumps(list(units))]).fetchall()
    ids, passes = json.dumps([row[0] for row in found]), json.dumps(sorted({row[1] for row in found}))
    db.execute(
        f"DELETE FROM {quote(f'record_{reduction}')} WHERE acquisition IN (SELECT value FROM json_each(?))"
        " AND observation IN (SELECT value FROM json_each(?))",
        [passes, ids],
    )
    db.execute("DELETE FROM observation WHERE id IN (SELECT value FROM json_each(?))", [ids])


def shrink(db: sqlite3.Connection, reduction: str) -> None:
    """Remove columns of bands, statistics and classes that no result has any more."""
    query = (
        "SELECT o.layout FROM observation o JOIN hpckit_reduction p ON p.id = o.reduction WHERE p.name = ?"
        " GROUP BY o.layout ORDER BY MIN(o.id)"
    )
    new = RowLayout()
    for (text,) in db.execute(query, [reduction]).fetchall():
        bands, statistics, classes = json.loads(text)
        new = _joined(new, bands, statistics, classes)
    if new == read_layout(db, reduction):
        return
    table = f"record_{reduction}"
    drop_latest(db, reduction)
    drop_series(db, reduction)
    wanted = {"fid", "zone", "acquisition", "observation", *_columns(new)}
    if sqlite3.sqlite_version_info >= DROPS_COLUMNS:
        for name in column_names(db, table):
            if name not in wanted:
                db.execute(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(name)}")
    _describe(db, reduction, new)


def _joined(
    old: RowLayout, bands: Sequence[str], statistics: Sequence[str], classes: Mapping[str, Iterable[int]]
) -> RowLayout:
    known = dict(old.classes or {})
    for band, codes in classes.items():
        known[band] = tuple(sorted({*known.get(band, ()), *codes}))
    return RowLayout(
        tuple(dict.fromkeys([*old.bands, *bands])), tuple(dict.fromkeys([*old.statistics, *statistics])), known
    )


def _columns(layout: RowLayout) -> list[str]:
    """Columns of a record table beside its keys."""
    wanted = [name for band in layout.bands for name in columns_of(band, layout.statistics)]
    return wanted + [f"{band}_{code}" for band, codes in (layout.classes or {}).items() for code in codes]


def _described(batch: SignatureBatch) -> tuple[list[str], list[str], dict[str, list[int]]]:
    """Bands, statistics and classes of a batch."""
    return (
        list(batch.bands),
        list(batch.statistics),
        {band: codes.tolist() for band, (codes, _) in batch.classes.items()},
    )


def _describe(db: sqlite3.Connection, reduction: str, layout: RowLayout) -> None:
    db.execute(
        "UPDATE hpckit_reduction SET bands = ?, statistics = ?, classes = ? WHERE name = ?",
        [json.dumps(layout.bands), json.dumps(layout.statistics), json.dumps(layout.classes or {}), reduction],
    )
    _create_views(db, reduction, layout)


def _create_views(db: sqlite3.Connection, reduction: str, layout: RowLayout) -> None:
    attributes = attribute_names(db, reduction)
    create_series(db, reduction, layout, attributes)
    create_latest(db, reduction, layout, attributes)
    put_styles(db, latest_name(reduction), styles_of_latest(reduction, layout))


def create_records(db: sqlite3.Connection, reduction: str) -> None:
    """Make the empty record table of a reduction; columns come with the first segment."""
    table = f"record_{reduction}"
    db.execute(
        f"CREATE TABLE {quote(table)} (fid INTEGER PRIMARY KEY, zone INTEGER NOT NULL,"
        " acquisition INTEGER NOT NULL REFERENCES acquisition (id),"
        " observation INTEGER NOT NULL REFERENCES observation (id))"
    )
    db.execute(f"CREATE UNIQUE INDEX {quote(f'{table}_key')} ON {quote(table)} (zone, acquisition)")
    db.execute(f"CREATE INDEX {quote(f'{table}_acquisition')} ON {quote(table)} (acquisition)")
    register(db, table, f"Signatures of {reduction}: one row per zone and acquisition")


def find_reduction(db: sqlite3.Connection, segment: Segment, path: Path) -> int:
    """Id of the reduction that a segment belongs to.

    Raises
    ------
    StoreError
        If the store has another zone layer.
    SpoolError
        If the segment has rows for zones that the layer lacks.
    """
    header = segment.header
    query = "SELECT id, zones_digest, zones FROM hpckit_reduction WHERE name = ?"
    row = db.execute(query, [header.reduction]).fetchone()
    if row is None or row[1] != header.zones_digest:
        raise StoreError(
            f"{segment.path}: made with a zone layer of {header.reduction!r} that {path} does not have",
            hint="`hpckit run` computes the signatures of the present layer",
        )
    if any(batch.zone.size and not 0 <= batch.zone.min() <= batch.zone.max() < row[2] for batch in segment.batches):
        raise SpoolError(f"{segment.path}: it has rows for zones beyond the {row[2]} of the layer")
    return int(row[0])


def read_layout(db: sqlite3.Connection, reduction: str) -> RowLayout | None:
    """Bands, statistics and classes of a reduction; None if it is not in the store."""
    query = "SELECT bands, statistics, classes FROM hpckit_reduction WHERE name = ?"
    row = db.execute(query, [reduction]).fetchone()
    if row is None:
        return None
    bands, statistics, classes = (json.loads(text) for text in row)
    return RowLayout(tuple(bands), tuple(statistics), {band: tuple(codes) for band, codes in classes.items()})


def extend(db: sqlite3.Connection, reduction: str, batch: SignatureBatch) -> None:
    """Add the columns that a batch needs and the record table lacks."""
    old = read_layout(db, reduction) or RowLayout()
    new = _joined(old, *_described(batch))
    if new == old:
        return
    table = f"record_{reduction}"
    present = set(column_names(db, table))
    for name in _columns(new):
        if name not in present:
            db.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} REAL")
    _describe(db, reduction, new)


def refresh_views(db: sqlite3.Connection) -> None:
    """Make the views of all reductions again, as this version makes them."""
    for (reduction,) in db.execute("SELECT name FROM hpckit_reduction ORDER BY id").fetchall():
        _create_views(db, reduction, read_layout(db, reduction) or RowLayout())
        style_zones(db, reduction)


def style_zones(db: sqlite3.Connection, reduction: str) -> None:
    """Make our styles of the zones of a reduction those that fit them now."""
    layer, crops = f"zones_{reduction}", {}
    if any(name.lower() == "crop" for name in column_names(db, layer)):
        counted = f"SELECT crop, COUNT(*) FROM {quote(layer)} WHERE crop <> '' GROUP BY crop"
        crops = {str(crop): int(count) for crop, count in db.execute(counted)}
    put_styles(db, layer, zone_styles(layer, crops))


def change_attributes(db: sqlite3.Connection, reduction: str, attributes: Attributes) -> None:
    """Make the attributes of a reduction these, in its layer and in its views."""
    drop_latest(db, reduction)
    drop_series(db, reduction)
    write_attributes(db, reduction, attributes)
    _create_views(db, reduction, read_layout(db, reduction) or RowLayout())
    style_zones(db, reduction)


def write_crops(db: sqlite3.Connection, reduction: str, crops: Sequence[tuple[str | None, int]]) -> None:
    """Write crops into the layer of the zones, each with the number of its feature."""
    layer = f"zones_{reduction}"
    if "crop" not in column_names(db, layer):
        db.execute(f"ALTER TABLE {quote(layer)} ADD COLUMN crop TEXT")
    forbid_index_changes(db)
    db.executemany(f"UPDATE {quote(layer)} SET crop = ? WHERE fid = ?", crops)
    style_zones(db, reduction)


def remove_all_styles(db: sqlite3.Connection, reduction: str) -> None:
    """Remove our styles of the layers of a reduction."""
    remove_styles(db, [f"zones_{reduction}", latest_name(reduction)])


def load_batch(db: sqlite3.Connection, reduction: int, segment: Segment, batch: SignatureBatch) -> None:
    """Write the records of a batch."""
    acquisition, observation = _observation(db, reduction, segment, batch)
    names = [name for band in batch.bands for name in columns_of(band, batch.statistics)]
    names += [f"{band}_{code}" for band, (codes, _) in batch.classes.items() for code in codes.tolist()]
    table = f"record_{segment.header.reduction}"
    given = ["zone", "acquisition", "observation", *names]
    insert = f"INSERT INTO {quote(table)} ({', '.join(map(quote, given))}) VALUES ({', '.join('?' * len(given))})"
    for start in range(0, len(batch.zone), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        db.executemany(insert, _matrix(batch, rows, acquisition, observation).tolist())


def _matrix(batch: SignatureBatch, rows: slice, acquisition: int, observation: int) -> Any:
    # Features are numbered from 1.
    zone = batch.zone[rows].astype(np.float64) + 1
    count = len(zone)
    # SQLite keeps NaN as NULL, and whole numbers of columns declared INTEGER as integers.
    signatures = np.concatenate(
        [batch.valid[rows, :, None], batch.total[rows, :, None], batch.values[rows]], axis=2
    ).reshape(count, -1)
    classes = [counts[rows] for _, counts in batch.classes.values()]
    keys = [zone, np.full(count, acquisition), np.full(count, observation)]
    return np.column_stack([*keys, signatures, *classes])


def _observation(db: sqlite3.Connection, reduction: int, segment: Segment, batch: SignatureBatch) -> tuple[int, int]:
    """Ids of the acquisition, which is made where it lacks, and of a new observation."""
    info, header = batch.acquisition, segment.header
    acquisition = _find_or_insert(
        db,
        "acquisition",
        {"name": info.id, "level": info.level},
        {
            "time": as_utc(info.time).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "platform": info.platform,
            "relative_orbit": info.relative_orbit,
        },
    )
    observation = _insert(
        db,
        "observation",
        {
            "acquisition": acquisition,
            "reduction": reduction,
            "unit": batch.unit,
            "inputs": batch.inputs,
            "segment": segment.spool_id,
            "layout": json.dumps(_described(batch)),
            "tile": info.tile,
            "baseline": info.baseline,
            "baseline_rank": baseline_rank(info.baseline),
            "products": json.dumps(info.products),
            "cloud_cover": info.cloud_cover,
            "footprint": json.dumps(info.footprint) if info.footprint else None,
            "campaign": header.campaign,
            "campaign_digest": header.campaign_digest,
            "run_id": header.run_id,
            "hpckit": header.hpckit,
        },
    )
    return acquisition, observation


def _find_or_insert(db: sqlite3.Connection, table: str, key: dict[str, Any], rest: dict[str, Any]) -> int:
    where = " AND ".join(f"{name} = ?" for name in key)
    row = db.execute(f"SELECT id FROM {table} WHERE {where}", list(key.values())).fetchone()
    if row is not None:
        return int(row[0])
    return _insert(db, table, {**key, **rest})


def _insert(db: sqlite3.Connection, table: str, values: dict[str, Any]) -> int:
    marks = ", ".join("?" * len(values))
    cursor = db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))
    return int(cursor.lastrowid or 0)


def floats(rows: Sequence[Sequence[Any]], width: int) -> npt.NDArray[np.float64]:
    """Rows of numbers and None as an array with NaN."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)
