"""Tables of a reduction in a GeoPackage: their columns, views and rows, inside a transaction of the caller."""

# ruff: noqa: S608
# Table and column names come from `quote`; values are parameters.

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import SpoolError, StoreError
from hpckit.spool import Segment, SignatureBatch
from hpckit.store.frames import Layout, as_utc, baseline_rank

_ROWS_AT_A_TIME: Final = 20_000
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")


def remove_reduction(db: sqlite3.Connection, reduction: str) -> None:
    """Remove the results of a reduction and forget its segments; its zone layer stays for GDAL to overwrite."""
    db.execute(f"DROP VIEW IF EXISTS {quote(f'signature_{reduction}')}")
    db.execute(f"DROP TABLE IF EXISTS {quote(f'record_{reduction}')}")
    db.execute(f"DROP INDEX IF EXISTS {quote(f'zones_{reduction}_id')}")
    names = [f"signature_{reduction}", f"record_{reduction}"]
    db.executemany("DELETE FROM gpkg_contents WHERE table_name = ?", [[name] for name in names])
    known = "(SELECT id FROM hpckit_reduction WHERE name = ?)"
    db.execute(f"DELETE FROM observation WHERE reduction IN {known}", [reduction])
    db.execute("DELETE FROM hpckit_ledger WHERE reduction = ?", [reduction])
    db.execute("DELETE FROM hpckit_reduction WHERE name = ?", [reduction])


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
    _register(db, table, f"Signatures of {reduction}: one row per zone and acquisition")


def _register(db: sqlite3.Connection, table: str, description: str) -> None:
    db.execute(
        "INSERT OR REPLACE INTO gpkg_contents (table_name, data_type, identifier, description)"
        " VALUES (?, 'attributes', ?, ?)",
        [table, table, description],
    )


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


def read_layout(db: sqlite3.Connection, reduction: str) -> Layout | None:
    """Bands, statistics and classes of a reduction; None if it is not in the store."""
    query = "SELECT bands, statistics, classes FROM hpckit_reduction WHERE name = ?"
    row = db.execute(query, [reduction]).fetchone()
    if row is None:
        return None
    bands, statistics, classes = (json.loads(text) for text in row)
    return Layout(tuple(bands), tuple(statistics), {band: tuple(codes) for band, codes in classes.items()})


def extend(db: sqlite3.Connection, reduction: str, batch: SignatureBatch) -> None:
    """Add the columns that a batch needs and the record table lacks."""
    old = read_layout(db, reduction) or Layout()
    known = dict(old.classes or {})
    for band, (codes, _) in batch.classes.items():
        known[band] = tuple(sorted({*known.get(band, ()), *codes.tolist()}))
    new = Layout(
        tuple(dict.fromkeys([*old.bands, *batch.bands])),
        tuple(dict.fromkeys([*old.statistics, *batch.statistics])),
        known,
    )
    if new == old:
        return
    table = f"record_{reduction}"
    present = set(_column_names(db, table))
    wanted = [name for band in new.bands for name in columns_of(band, new.statistics)]
    wanted += [f"{band}_{code}" for band, codes in known.items() for code in codes]
    for name in wanted:
        if name not in present:
            db.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} REAL")
    db.execute(
        "UPDATE hpckit_reduction SET bands = ?, statistics = ?, classes = ? WHERE name = ?",
        [json.dumps(new.bands), json.dumps(new.statistics), json.dumps(known), reduction],
    )
    _create_view(db, reduction, new)


def _create_view(db: sqlite3.Connection, reduction: str, layout: Layout) -> None:
    """One row per zone, acquisition and band. SQLite skips the bands that a filter excludes."""
    view = f"signature_{reduction}"
    db.execute(f"DROP VIEW IF EXISTS {quote(view)}")
    count = len(layout.bands)
    if not count:
        return
    arms = [_view_arm(reduction, layout, k) for k in range(count)]
    db.execute(f"CREATE VIEW {quote(view)} AS {' UNION ALL '.join(arms)}")
    _register(db, view, f"Signatures of {reduction}: one row per zone, acquisition and band")


def _view_arm(reduction: str, layout: Layout, position: int) -> str:
    band = layout.bands[position]
    valid, total, *values = (f"r.{quote(name)}" for name in columns_of(band, layout.statistics))
    text = "'" + band.replace("'", "''") + "'"
    statistics = "".join(
        f", {column} AS {quote(name)}" for column, name in zip(values, layout.statistics, strict=True)
    )
    return (
        f"SELECT r.fid * {len(layout.bands)} + {position} AS OGC_FID, z.id AS zone, a.time AS time, {text} AS band, "
        f"{valid} AS valid, {total} AS total, {valid} / NULLIF({total}, 0) AS valid_fraction{statistics}, "
        "a.name AS acquisition, a.platform AS platform, o.tile AS tile, o.baseline AS baseline, "
        "a.relative_orbit AS relative_orbit, o.run_id AS run_id "
        f"FROM {quote(f'record_{reduction}')} r JOIN {quote(f'zones_{reduction}')} z ON z.fid = r.zone "
        "JOIN observation o ON o.id = r.observation JOIN acquisition a ON a.id = r.acquisition "
        f"WHERE {total} IS NOT NULL"
    )


def load_batch(db: sqlite3.Connection, reduction: int, segment: Segment, batch: SignatureBatch) -> None:
    """Write the records of a batch over those of older or equal baselines."""
    acquisition, observation = _observation(db, reduction, segment, batch)
    names = [name for band in batch.bands for name in columns_of(band, batch.statistics)]
    names += [f"{band}_{code}" for band, (codes, _) in batch.classes.items() for code in codes.tolist()]
    table = f"record_{segment.header.reduction}"
    upsert = _upsert(table, ["zone", "acquisition", "observation", *names], _column_names(db, table))
    for start in range(0, len(batch.zone), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        db.executemany(upsert, _matrix(batch, rows, acquisition, observation).tolist())


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


def _upsert(table: str, given: Sequence[str], present: Sequence[str]) -> str:
    """Statement that replaces a record unless it is of a newer baseline."""
    columns = ", ".join(quote(name) for name in given)
    marks = ", ".join("?" * len(given))
    replaced = [name for name in present if name not in ("fid", "zone", "acquisition")]
    changes = ", ".join(
        f"{quote(name)} = " + (f"excluded.{quote(name)}" if name in given else "NULL") for name in replaced
    )
    rank = "(SELECT baseline_rank FROM observation WHERE id = {}.observation)"
    return (
        f"INSERT INTO {quote(table)} ({columns}) VALUES ({marks}) ON CONFLICT (zone, acquisition) "
        f"DO UPDATE SET {changes} WHERE {rank.format(quote(table))} <= {rank.format('excluded')}"
    )


def _observation(db: sqlite3.Connection, reduction: int, segment: Segment, batch: SignatureBatch) -> tuple[int, int]:
    """Ids of the acquisition and of the observation of a batch; the rows are made where they lack."""
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
    observation = _find_or_insert(
        db,
        "observation",
        {
            "acquisition": acquisition,
            "reduction": reduction,
            "tile": info.tile,
            "baseline": info.baseline,
            "products": json.dumps(info.products),
            "campaign_digest": header.campaign_digest,
            "run_id": header.run_id,
            "hpckit": header.hpckit,
        },
        {
            "baseline_rank": baseline_rank(info.baseline),
            "cloud_cover": info.cloud_cover,
            "footprint": json.dumps(info.footprint) if info.footprint else None,
            "campaign": header.campaign,
        },
    )
    return acquisition, observation


def _find_or_insert(db: sqlite3.Connection, table: str, key: dict[str, Any], rest: dict[str, Any]) -> int:
    where = " AND ".join(f"{name} = ?" for name in key)
    row = db.execute(f"SELECT id FROM {table} WHERE {where}", list(key.values())).fetchone()
    if row is not None:
        return int(row[0])
    values = {**key, **rest}
    marks = ", ".join("?" * len(values))
    cursor = db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))
    return int(cursor.lastrowid or 0)


def columns_of(band: str, statistics: Sequence[str]) -> list[str]:
    """Columns of a band in a record table: valid and total pixels, then the statistics."""
    return [f"{band}_{name}" for name in ("valid", "total", *statistics)]


def _column_names(db: sqlite3.Connection, table: str) -> list[str]:
    return [str(row[1]) for row in db.execute(f"PRAGMA table_info({quote(table)})")]


def floats(rows: Sequence[Sequence[Any]], width: int) -> npt.NDArray[np.float64]:
    """Rows of numbers and None as an array with NaN."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


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
