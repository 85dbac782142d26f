"""The embedded store: one GeoPackage with zones, observations and signatures, which QGIS opens.

A reduction has a spatial layer `zones_<reduction>`, a table `signatures_<reduction>` with a row per zone and
observation (columns `B04_mean`, `NDVI_p50`, `SCL_4`, …), clustered by zone, and a view
`series_<reduction>` with a row per zone, time and band.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import StoreError, StoreUnavailableError
from hpckit.reduce.zones import ZoneLayer
from hpckit.spool import Segment, SignatureBatch
from hpckit.store.series import baseline_rank, close_names, to_frame

if TYPE_CHECKING:
    import pandas

_APPLICATION_ID: Final = 0x47504B47
_VERSION: Final = 1
_BUSY_S: Final = 10.0
_BATCH_COLUMNS: Final = ("valid", "total")


class GeoPackage:
    """A GeoPackage file as a store; see `hpckit.store.model.Store`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def prepare(self) -> None:
        """See `Store.prepare`; the file itself is made with the first zones."""
        if not self.path.exists():
            if not self.path.parent.is_dir():
                raise StoreError(f"{self.path}: its folder does not exist", hint="make it, or mend `store.path`")
            return
        with self._transaction() as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            if application != _APPLICATION_ID:
                raise StoreError(f"{self.path}: no GeoPackage", hint="choose another file in `store.path`")
            self._migrate(connection)

    def load_zones(self, reduction: str, zones: ZoneLayer) -> None:
        """See `Store.load_zones`."""
        if self.path.exists() and self._digest(reduction) == zones.digest:
            return
        if self.path.exists():
            with self._transaction() as connection:
                self._migrate(connection)
                self._forget(connection, reduction)
        self.close()
        self._write_layer(reduction, zones)
        with self._transaction() as connection:
            self._migrate(connection)
            connection.execute(
                "INSERT INTO hpckit_reduction VALUES (?, ?, '[]', '[]', '{}')", (reduction, zones.digest)
            )

    def loaded_ids(self) -> set[str]:
        """See `Store.loaded_ids`."""
        if not self.path.exists():
            return set()
        return {row[0] for row in self._query("SELECT spool_id FROM hpckit_ledger")}

    def load_segment(self, segment: Segment) -> int:
        """See `Store.load_segment`."""
        if segment.spool_id in self.loaded_ids():
            return 0
        reduction, rows = segment.header.reduction, 0
        with self._transaction() as connection:
            self._require_columns(connection, reduction, segment.batches[0])
            for batch in segment.batches:
                observation = self._observe(connection, segment, batch)
                if observation is not None:
                    rows += self._insert(connection, reduction, observation, batch)
            connection.execute(
                "INSERT INTO hpckit_ledger VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    segment.spool_id,
                    segment.path.name,
                    segment.header.run_id,
                    reduction,
                    rows,
                    segment.header.hpckit,
                    datetime.now(UTC).isoformat(timespec="seconds"),
                ),
            )
        return rows

    def zone_ids(self, reduction: str) -> list[str]:
        """See `Store.zone_ids`."""
        self._shape(reduction)
        return [row[0] for row in self._query(f"SELECT id FROM {_name('zones', reduction)} ORDER BY fid")]

    def series(self, reduction: str, zone: str, band: str | None = None) -> pandas.DataFrame:
        """See `Store.series`."""
        bands, statistics, _ = self._shape(reduction)
        if not self._query(f"SELECT fid FROM {_name('zones', reduction)} WHERE id = ?", (zone,)):
            raise StoreError(f"no zone {zone!r} in {reduction}", hint=close_names(zone, self.zone_ids(reduction)))
        if band is not None and band not in bands:
            raise StoreError(f"no band {band!r} in {reduction}; it has {', '.join(bands)}")
        columns = ["time", "band", "valid", "total", *statistics, *_OBSERVED]
        if not bands:
            return to_frame([], columns)
        listed = ", ".join(_quote(column) for column in columns)
        rows = self._query(
            f"SELECT {listed} FROM {_name('series', reduction)} "
            "WHERE zone_id = ? AND (? IS NULL OR band = ?) ORDER BY time, band",
            (zone, band, band),
        )
        return to_frame(rows, columns)

    def class_counts(self, reduction: str, zone: str) -> pandas.DataFrame:
        """Pixels per class of a zone by time, for reductions with class bands."""
        _, _, classes = self._shape(reduction)
        names = [f"{band}_{code}" for band, codes in classes.items() for code in codes]
        listed = ", ".join(f"s.{_quote(name)}" for name in names) or "NULL"
        rows = self._query(
            f"SELECT o.time, {listed} FROM {_name('signatures', reduction)} s JOIN observation o ON o.id = s.observation "
            f"JOIN {_name('zones', reduction)} z ON z.fid = s.zone WHERE z.id = ? ORDER BY o.time",
            (zone,),
        )
        return to_frame(rows, ["time", *(names or ["none"])])

    def summary(self) -> dict[str, Any]:
        """See `Store.summary`."""
        if not self.path.exists():
            return {}
        result = {}
        for (reduction,) in self._query("SELECT name FROM hpckit_reduction ORDER BY name"):
            bands, _, _ = self._shape(reduction)
            table = _name("signatures", reduction)
            result[reduction] = {
                "zones": self._count(_name("zones", reduction)),
                "observations": self._query("SELECT count(*) FROM observation WHERE reduction = ?", (reduction,))[0][
                    0
                ],
                "signatures": self._count(table) * len(bands) if bands else 0,
            }
        return result

    def close(self) -> None:
        """See `Store.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            if self._connection is None:
                self._connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise StoreUnavailableError(
                    f"{self.path}: another program is writing to it",
                    hint="close it there (QGIS?), then `hpckit sync`",
                ) from error
            raise StoreError(f"{self.path}: cannot be written", hint="look at permissions and free space") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: damaged, or no GeoPackage") from error

    def _query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        if not self.path.exists():
            raise StoreError(f"{self.path}: no such store", hint="`hpckit run` or `hpckit sync` makes it")
        with self._errors():
            if self._connection is None:
                self._connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            return self._connection.execute(statement, values).fetchall()

    def _count(self, table: str) -> int:
        known = self._query("SELECT 1 FROM sqlite_master WHERE name = ?", (table.strip('"'),))
        return int(self._query(f"SELECT count(*) FROM {table}")[0][0]) if known else 0

    def _migrate(self, connection: sqlite3.Connection) -> None:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'hpckit_schema'").fetchone()
        if known is None:
            script = resources.files("hpckit.store").joinpath("schema/geopackage.sql").read_text()
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
            _register(connection, "observation", "Acquisitions that zones were reduced on")
        (version,) = connection.execute("SELECT max(version) FROM hpckit_schema").fetchone()
        if version > _VERSION:
            raise StoreError(
                f"{self.path}: its schema has version {version}, this hpckit knows {_VERSION}",
                hint="use the newer hpckit that made it",
            )

    def _digest(self, reduction: str) -> str | None:
        known = self._query("SELECT 1 FROM sqlite_master WHERE name = 'hpckit_reduction'")
        rows = known and self._query("SELECT zones_digest FROM hpckit_reduction WHERE name = ?", (reduction,))
        return rows[0][0] if rows else None

    def _shape(self, reduction: str) -> tuple[list[str], list[str], dict[str, list[int]]]:
        """Bands, statistics and classes of a reduction."""
        rows = self._query("SELECT bands, statistics, classes FROM hpckit_reduction WHERE name = ?", (reduction,))
        if not rows:
            known = [row[0] for row in self._query("SELECT name FROM hpckit_reduction")]
            raise StoreError(f"{self.path}: no reduction {reduction!r}; it has {', '.join(known) or 'none'}")
        bands, statistics, classes = map(json.loads, rows[0])
        return bands, statistics, classes

    def _forget(self, connection: sqlite3.Connection, reduction: str) -> None:
        """Remove all results of a reduction, in order to load them anew."""
        connection.execute(f"DROP VIEW IF EXISTS {_name('series', reduction)}")
        connection.execute(f"DROP TABLE IF EXISTS {_name('signatures', reduction)}")
        for table in ("observation", "hpckit_ledger"):
            connection.execute(f"DELETE FROM {table} WHERE reduction = ?", (reduction,))
        connection.execute("DELETE FROM hpckit_reduction WHERE name = ?", (reduction,))
        names = (f"signatures_{reduction}", f"series_{reduction}")
        connection.execute("DELETE FROM gpkg_contents WHERE table_name IN (?, ?)", names)

    def _write_layer(self, reduction: str, zones: ZoneLayer) -> None:
        import pyogrio

        try:
            pyogrio.raw.write(
                self.path,
                geometry=np.array(shapely.to_wkb(zones.geometries), dtype=object),
                field_data=[np.array(zones.ids, dtype=object)],
                fields=["id"],
                geometry_type="MultiPolygon",
                crs=pyproj.CRS(zones.crs).to_wkt(),
                layer=f"zones_{reduction}",
                driver="GPKG",
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, RuntimeError) as error:
            raise StoreError(f"{self.path}: cannot be written") from error
        with self._transaction() as connection:
            index = _quote(f"zones_{reduction}_id")
            connection.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {_name('zones', reduction)} (id)")

    def _require_columns(self, connection: sqlite3.Connection, reduction: str, batch: SignatureBatch) -> None:
        """Make the signature table for the bands of a batch, or check that it has them."""
        shape = (
            list(batch.bands),
            list(batch.statistics),
            {band: codes.tolist() for band, (codes, _) in batch.classes.items()},
        )
        known = self._shape(reduction)
        if known == shape:
            return
        if known[0] or known[2]:
            self._drop_signatures(connection, reduction)
        _create_signatures(connection, reduction, batch)
        connection.execute(
            "UPDATE hpckit_reduction SET bands = ?, statistics = ?, classes = ? WHERE name = ?",
            (*map(json.dumps, shape), reduction),
        )

    def _drop_signatures(self, connection: sqlite3.Connection, reduction: str) -> None:
        """Bands or statistics of the reduction changed: all of it was computed anew, and is loaded anew."""
        digest = self._digest(reduction)
        self._forget(connection, reduction)
        connection.execute("INSERT INTO hpckit_reduction VALUES (?, ?, '[]', '[]', '{}')", (reduction, digest))

    def _observe(self, connection: sqlite3.Connection, segment: Segment, batch: SignatureBatch) -> int | None:
        """Id of the batch's observation; None if the store has it from a newer baseline."""
        item, reduction = batch.acquisition, segment.header.reduction
        key = (reduction, item.id, item.tile)
        known = connection.execute(
            "SELECT baseline FROM observation WHERE reduction = ? AND acquisition = ? AND tile = ?", key
        ).fetchone()
        if known is not None and baseline_rank(known[0]) > baseline_rank(item.baseline):
            return None
        (identifier,) = connection.execute(
            "INSERT INTO observation (reduction, acquisition, tile, time, platform, level, baseline, relative_orbit, "
            "products, cloud_cover, footprint, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (reduction, acquisition, tile) DO UPDATE SET time = excluded.time, "
            "baseline = excluded.baseline, products = excluded.products, cloud_cover = excluded.cloud_cover, "
            "footprint = excluded.footprint, run_id = excluded.run_id RETURNING id",
            (
                *key,
                item.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                item.platform,
                item.level,
                item.baseline,
                item.relative_orbit,
                " ".join(item.products),
                item.cloud_cover,
                json.dumps(dict(item.footprint)),
                segment.header.run_id,
            ),
        ).fetchone()
        return int(identifier)

    def _insert(self, connection: sqlite3.Connection, reduction: str, observation: int, batch: SignatureBatch) -> int:
        table = _name("signatures", reduction)
        zones = (batch.zone + 1).tolist()
        # A zone may have moved to another tile since; it keeps one signature per acquisition.
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS batch (zone INTEGER PRIMARY KEY)")
        connection.execute("DELETE FROM temp.batch")
        connection.executemany("INSERT INTO temp.batch VALUES (?)", ((zone,) for zone in zones))
        connection.execute(
            f"DELETE FROM {table} WHERE zone IN (SELECT zone FROM temp.batch) AND observation IN "
            "(SELECT id FROM observation WHERE reduction = ? AND acquisition = ? AND id <> ?)",
            (reduction, batch.acquisition.id, observation),
        )
        columns = [zones, [observation] * len(zones), *_columns(batch)]
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", zip(*columns, strict=True))
        return len(zones)


_OBSERVED: Final = ("acquisition", "tile", "platform", "baseline", "relative_orbit")


def _create_signatures(connection: sqlite3.Connection, reduction: str, batch: SignatureBatch) -> None:
    table, view, zones = (_name(kind, reduction) for kind in ("signatures", "series", "zones"))
    columns = [f"{band}_{name}" for band in batch.bands for name in (*_BATCH_COLUMNS, *batch.statistics)]
    columns += [f"{band}_{code}" for band, (codes, _) in batch.classes.items() for code in codes.tolist()]
    declared = ", ".join(f"{_quote(column)} REAL" for column in columns)
    comma = ", " if declared else ""
    connection.execute(
        f"CREATE TABLE {table} (zone INTEGER NOT NULL, observation INTEGER NOT NULL{comma}{declared}, "
        "PRIMARY KEY (zone, observation)) WITHOUT ROWID"
    )
    selects = [
        "SELECT z.id AS zone_id, o.time AS time, {literal} AS band, {columns}, {observed} "
        "FROM {zones} z JOIN {table} s ON s.zone = z.fid JOIN observation o ON o.id = s.observation".format(
            literal=_literal(band),
            columns=", ".join(
                f"s.{_quote(f'{band}_{name}')} AS {_quote(name)}" for name in (*_BATCH_COLUMNS, *batch.statistics)
            ),
            observed=", ".join(f"o.{name} AS {name}" for name in _OBSERVED),
            zones=zones,
            table=table,
        )
        for band in batch.bands
    ]
    if selects:
        connection.execute(f"CREATE VIEW {view} AS " + " UNION ALL ".join(selects))
        _register(connection, f"series_{reduction}", "Signatures by zone, time and band")


def _columns(batch: SignatureBatch) -> Iterator[list[Any]]:
    """Columns of a batch, in the order of the table; NaN becomes NULL."""
    for number in range(len(batch.bands)):
        yield batch.valid[:, number].tolist()
        yield batch.total[:, number].tolist()
        for statistic in range(len(batch.statistics)):
            yield _nullable(batch.values[:, number, statistic])
    for _, counts in batch.classes.values():
        for code in range(counts.shape[1]):
            yield counts[:, code].tolist()


def _nullable(values: npt.NDArray[np.float32]) -> list[float | None]:
    # Shortest decimals that give the float32 again, not the digits of its double.
    return [None if value != value else float(str(value)) for value in values]


def _register(connection: sqlite3.Connection, table: str, description: str) -> None:
    """List a table or view as GeoPackage attributes, so that QGIS shows it."""
    connection.execute(
        "INSERT OR REPLACE INTO gpkg_contents (table_name, data_type, identifier, description) VALUES (?, 'attributes', ?, ?)",
        (table, table, description),
    )


def _name(kind: str, reduction: str) -> str:
    return _quote(f"{kind}_{reduction}")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
