"""The embedded store: one GeoPackage with zones and signatures, which QGIS opens.

A record (a zone in an acquisition) is one row of `record_<reduction>`, with a column per band and statistic;
the view `signature_<reduction>` gives one row per band. One writer at a time; SQLite's rollback journal, not
WAL, because WAL does not work over network file systems.
"""

# ruff: noqa: S608
# Table and column names come from `quote`; values are parameters.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.base.claims import hold
from hpckit.base.filelocks import gdal_without_locks, locks_work
from hpckit.base.files import make_folder
from hpckit.base.quantities import available_cores
from hpckit.base.reading import is_there, refusal
from hpckit.campaign.markers import MarkerRule
from hpckit.errors import BusyError, StoreError, StoreUnavailableError, is_temporary
from hpckit.reduce.signatures.spool import Segment
from hpckit.space.attributes import Attributes
from hpckit.space.zones import ZoneLayer
from hpckit.store.blocks import (
    BLOCK_ROWS,
    Bands,
    Blocks,
    RecordBlock,
    changed_meanwhile,
    in_order,
    narrowed,
    ranges_of,
)
from hpckit.store.frames import (
    PROVENANCE,
    RowLayout,
    ZoneRecords,
    as_utc,
    chosen,
    class_frame,
    series_frame,
    statistics_columns,
)
from hpckit.store.geopackage_attributes import attribute_names, read_attributes
from hpckit.store.geopackage_blocks import Reading, origins_of, records_by_zone
from hpckit.store.geopackage_markers import drop_rules, has_markers, read_markers, rule_identities, write_markers
from hpckit.store.geopackage_names import check_name, column_names, columns_of, quote
from hpckit.store.geopackage_tables import (
    change_attributes,
    create_records,
    extend,
    find_reduction,
    floats,
    load_batch,
    read_layout,
    refresh_views,
    remove_all_styles,
    remove_layer,
    remove_results,
    remove_units,
    shrink,
    style_zones,
    write_crops,
)
from hpckit.store.leftovers import remove_leftovers
from hpckit.store.markerrows import MarkerRows, marker_frame
from hpckit.store.migrations import migrations
from hpckit.store.model import NOBODY
from hpckit.store.owner import StoreOwner

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas

_APPLICATION_ID: Final = 0x47504B47
_READERS: Final = 4
"""Threads at most that read signatures of many zones at once; each holds a block of them."""
_USER_VERSION: Final = 10300
_QUIETLY_S: Final = 2.0
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PROVENANCE: Final = "a.name, a.platform, a.level, o.tile, o.baseline, a.relative_orbit, o.cloud_cover, o.run_id"


class GeoPackage:
    """A GeoPackage as a store.

    Parameters
    ----------
    path : Path
        The file; `prepare` makes it.
    timeout_s : float
        How long to wait for another writer.
    tell : callable
        Called when it waits for one.
    """

    def __init__(self, path: Path, timeout_s: float = 60, tell: Callable[[str], None] = lambda text: None) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._tell = tell
        self._open: sqlite3.Connection | None = None
        self._claim: ExitStack | None = None
        """Where the file system has no locks."""

    def prepare(self) -> None:
        """Make the file, or bring its tables up to date; see `Store`."""
        with self._errors():
            make_folder(self.path.parent)
            with self._transaction(make=True) as db:
                _begin_database(db, self.path)
                _migrate(db, self.path)
                remove_leftovers(self.path, [name for (name,) in db.execute("SELECT name FROM hpckit_reduction")])

    def is_made(self) -> bool:
        """Whether the file is there, and more than a sync left that was killed as it began; see `Store`."""
        return is_there(self.path) and self.path.stat().st_size > 0

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def newest(self) -> int:
        """Version of the tables that this hpckit makes."""
        return len(migrations("geopackage"))

    def version(self) -> int:
        """Version of the tables; see `Store`."""
        with self._errors():
            return _version(self._db()) if self.is_made() else 0

    def other_users(self) -> tuple[str, ...]:
        """None: the file system says who may use a file."""
        return ()

    def owners(self) -> dict[str, StoreOwner]:
        """Whom the reductions belong to; see `Store`."""
        with self._errors():
            if "campaign" not in column_names(self._db(), "hpckit_reduction"):
                return {}
            rows = self._db().execute("SELECT name, campaign, run_id, place FROM hpckit_reduction ORDER BY id")
            return {name: StoreOwner(*rest) for name, *rest in rows}

    def layers(self) -> dict[str, str]:
        """Digests of the zones of the reductions; see `Store`."""
        with self._errors():
            return dict(self._db().execute("SELECT name, zones_digest FROM hpckit_reduction").fetchall())

    def load_zones(self, reduction: str, zones: ZoneLayer, owner: StoreOwner = NOBODY) -> None:
        """Make the zones of a reduction those of `zones`; see `Store`."""
        check_name(reduction)
        claimed = [owner.campaign, owner.run_id, owner.place]
        with self._errors():
            query = "SELECT zones_digest, campaign, run_id, place FROM hpckit_reduction WHERE name = ?"
            known = self._db().execute(query, [reduction]).fetchone()
            if known == (zones.digest, *claimed):
                return
            if known is not None and known[0] == zones.digest:
                with self._transaction() as db:
                    change = "UPDATE hpckit_reduction SET campaign = ?, run_id = ?, place = ? WHERE name = ?"
                    db.execute(change, [*claimed, reduction])
                return
            with self._transaction() as db:
                remove_results(db, reduction)
                remove_leftovers(self.path, [reduction])
            # GDAL writes the layer over a connection of its own; the row that makes it count follows.
            self._disconnect()
            with gdal_without_locks(self._claim is not None):
                _write_layer(self.path, f"zones_{reduction}", zones)
            with self._transaction() as db:
                layer = quote(f"zones_{reduction}")
                db.execute(f"CREATE UNIQUE INDEX {quote(f'zones_{reduction}_id')} ON {layer} (id)")
                create_records(db, reduction)
                db.execute(
                    "INSERT INTO hpckit_reduction (name, zones_digest, zones, campaign, run_id, place)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    [reduction, zones.digest, len(zones), *claimed],
                )
                style_zones(db, reduction)

    def attributes(self) -> dict[str, str]:
        """Digests of the attributes of the zones; see `Store`."""
        with self._errors():
            if "attributes_digest" not in column_names(self._db(), "hpckit_reduction"):
                return {}
            return dict(self._db().execute("SELECT name, attributes_digest FROM hpckit_reduction").fetchall())

    def attribute_values(self, reduction: str) -> dict[str, list[Any]]:
        """Attributes of the zones by name; see `Store`."""
        with self._errors():
            return read_attributes(self._db(), reduction)

    def note_attributes(self, reduction: str, attributes: Attributes) -> None:
        """Make the attributes of the zones these; see `Store`."""
        with self._errors():
            if self.attributes().get(reduction) != attributes.digest:
                with self._transaction() as db:
                    change_attributes(db, reduction, attributes)

    def note_crops(self, reduction: str, crops: Sequence[str | None]) -> None:
        """Note the crop of each zone in the layer of the zones; see `Store`."""
        if not any(crops):
            return
        name = f"zones_{reduction}"
        with self._errors():
            if any(column.casefold() == "crop" for column in attribute_names(self._db(), reduction)):
                return
            known = "crop" in column_names(self._db(), name)
            query = f"SELECT fid, {'crop' if known else 'NULL'} FROM {quote(name)} ORDER BY fid"
            rows = self._db().execute(query).fetchall()
            changed = [(new, fid) for (fid, old), new in zip(rows, crops, strict=True) if new != old]
            if changed:
                with self._transaction() as db:
                    write_crops(db, reduction, changed)

    def made_from(self, reduction: str) -> dict[str, str]:
        """Inputs of the results by unit; see `Store`."""
        query = (
            "SELECT unit, inputs FROM observation WHERE reduction IN (SELECT id FROM hpckit_reduction WHERE name = ?)"
        )
        with self._errors():
            return dict(self._db().execute(query, [reduction]).fetchall())

    def load_segment(self, segment: Segment, units: Collection[str] | None = None, drop: Collection[str] = ()) -> int:
        """Load results of a segment in one transaction; see `Store`."""
        name, rows = segment.header.reduction, 0
        with self._errors(), self._transaction() as db:
            reduction, batches = find_reduction(db, segment, self.path), list(chosen(segment, units))
            query = "SELECT unit, inputs FROM observation WHERE reduction = ?"
            have = dict(db.execute(query, [reduction]).fetchall())
            batches = [batch for batch in batches if have.get(batch.unit) != batch.inputs]
            remove_units(db, name, [*drop, *(batch.unit for batch in batches)])
            for batch in batches:
                extend(db, name, batch)
                load_batch(db, reduction, segment, batch)
                rows += len(batch.zone)
        return rows

    def drop(self, reduction: str, units: Collection[str]) -> None:
        """Remove the results of units, and what nothing needs any more; see `Store`."""
        with self._errors(), self._transaction() as db:
            remove_units(db, reduction, units)
            shrink(db, reduction)
            db.execute("DELETE FROM acquisition WHERE id NOT IN (SELECT acquisition FROM observation)")

    def remove(self, reduction: str) -> None:
        """Remove a reduction with its zones and results; see `Store`."""
        with self._errors(), self._transaction() as db:
            remove_results(db, reduction)
            remove_layer(db, f"zones_{reduction}")
            remove_all_styles(db, reduction)
            db.execute("DELETE FROM acquisition WHERE id NOT IN (SELECT acquisition FROM observation)")

    def reductions(self) -> list[str]:
        """Names of the reductions in the store."""
        with self._errors():
            return [name for (name,) in self._db().execute("SELECT name FROM hpckit_reduction ORDER BY id")]

    def bands(self, reduction: str) -> list[str]:
        """Bands and indices of a reduction."""
        return list(self._layout(reduction).bands)

    def acquisitions(self, reduction: str) -> list[tuple[str, datetime]]:
        """Name and time of the acquisitions of a reduction; see `Store`."""
        query = (
            "SELECT DISTINCT a.name, a.time FROM observation o JOIN acquisition a ON a.id = o.acquisition"
            " WHERE o.reduction IN (SELECT id FROM hpckit_reduction WHERE name = ?) ORDER BY a.time, a.name"
        )
        with self._errors():
            return [(n, as_utc(datetime.fromisoformat(t))) for n, t in self._db().execute(query, [reduction])]

    def zone_ids(self, reduction: str) -> list[str]:
        """Identifiers of the zones of a reduction, in the order of the layer."""
        self._layout(reduction)
        with self._errors():
            layer = quote(f"zones_{reduction}")
            return [str(name) for (name,) in self._db().execute(f"SELECT id FROM {layer} ORDER BY fid")]

    def series(self, reduction: str, zone: str, band: str | None = None) -> pandas.DataFrame:
        """Signatures of a zone, sorted by time and band; see `Store`."""
        self._layout(reduction).check(reduction, band)
        return series_frame(self.records(reduction, zone), band)

    def records(self, reduction: str, zone: str) -> ZoneRecords:
        """Signatures of a zone as arrays, sorted by time; see `Store`."""
        layout = self._layout(reduction)
        coded = [f"{band}_{code}" for band, codes in (layout.classes or {}).items() for code in codes]
        columns = [name for band in layout.bands for name in columns_of(band, layout.statistics)]
        rows = self._zone_rows(reduction, zone, [*columns, *coded])
        data = floats([row[len(PROVENANCE) + 1 :] for row in rows], len(columns) + len(coded))
        numbers = data[:, : len(columns)].reshape(len(rows), len(layout.bands), 2 + len(layout.statistics))
        provenance = {name: [row[k + 1] for row in rows] for k, name in enumerate(PROVENANCE)}
        counts, classes = data[:, len(columns) :], {}
        for band, codes in (layout.classes or {}).items():
            classes[band], counts = counts[:, : len(codes)], counts[:, len(codes) :]
        times = [row[0] for row in rows]
        return ZoneRecords(layout, times, provenance, numbers[:, :, 0], numbers[:, :, 1], numbers[:, :, 2:], classes)

    def blocks(
        self,
        reduction: str,
        bands: Bands = None,
        classes: str | None = None,
        rows: int = BLOCK_ROWS,
        zones: npt.NDArray[np.int64] | None = None,
    ) -> Blocks:
        """Signatures of all zones, some zones at a time; see `Store`."""
        layout = narrowed(self._layout(reduction), reduction, bands, classes)
        names = tuple(self.zone_ids(reduction))
        with self._errors():
            state = self._state()
            origins = origins_of(self._db(), reduction, _PROVENANCE)
            counts = records_by_zone(self._db(), reduction, len(names))
            ranges = ranges_of(counts, max(1, rows // max(1, len(layout.bands))), zones)
        reading = Reading(self.path, reduction, layout, origins, names, has_locks=self._claim is None)
        found = in_order(reading.block, ranges, min(_READERS, available_cores()) if reading.has_locks else 1)
        return Blocks(layout, self._unchanged(found, state))

    def _unchanged(self, blocks: Iterator[RecordBlock], state: tuple[int, int]) -> Iterator[RecordBlock]:
        """The same blocks; an error where somebody changed the file since."""
        for block in blocks:
            with self._errors():
                if self._state() != state:
                    raise changed_meanwhile(self.path)
            yield block

    def _state(self) -> tuple[int, int]:
        """Changes of the file by other connections and by this one."""
        return int(self._db().execute("PRAGMA data_version").fetchone()[0]), self._db().total_changes

    def class_counts(self, reduction: str, zone: str, band: str) -> pandas.DataFrame:
        """Pixels of each class in a zone; see `Store`."""
        return class_frame(self.records(reduction, zone), reduction, band)

    def image(self, reduction: str, acquisition: str, band: str) -> pandas.DataFrame:
        """Signatures of all zones in one acquisition and band; see `Store`."""
        import pandas as pd

        layout = self._layout(reduction)
        layout.check(reduction, band)
        names = columns_of(band, layout.statistics)
        with self._errors():
            rows = (
                self._db()
                .execute(
                    f"SELECT z.id, {', '.join(f'r.{quote(name)}' for name in names)} "
                    f"FROM {quote(f'record_{reduction}')} r "
                    f"JOIN {quote(f'zones_{reduction}')} z ON z.fid = r.zone "
                    f"WHERE r.acquisition IN (SELECT id FROM acquisition WHERE name = ?) "
                    f"AND r.{quote(names[1])} IS NOT NULL ORDER BY r.zone",
                    [acquisition],
                )
                .fetchall()
            )
        data = floats([row[1:] for row in rows], len(names))
        columns = statistics_columns(layout.statistics, data[:, 0], data[:, 1], data[:, 2:])
        return pd.DataFrame({"zone": [row[0] for row in rows], **columns})

    def marker_rules(self, reduction: str) -> dict[str, str]:
        """Digest of what the markers of each rule were made from; see `Store`."""
        with self._errors():
            return rule_identities(self._db(), reduction) if has_markers(self._db()) else {}

    def load_markers(self, reduction: str, rule: MarkerRule, identity: str, layer: str, rows: MarkerRows) -> None:
        """Make the markers of a rule these; see `Store`."""
        check_name(reduction)
        with self._errors(), self._transaction() as db:
            write_markers(db, reduction, rule, identity, layer, rows)

    def drop_markers(self, reduction: str, names: Collection[str]) -> None:
        """Remove rules with their markers; see `Store`."""
        with self._errors(), self._transaction() as db:
            drop_rules(db, reduction, names)

    def markers(self, reduction: str, zone: str | None = None) -> pandas.DataFrame:
        """Markers of a zone, or of all; see `Store`."""
        self._layout(reduction)
        with self._errors():
            return marker_frame(read_markers(self._db(), reduction, zone) if has_markers(self._db()) else [])

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts by reduction; see `Store`."""
        with self._errors():
            return {name: self._count(name) for name in self.reductions()}

    def close(self) -> None:
        """Close the file."""
        self._disconnect()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _disconnect(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _count(self, reduction: str) -> dict[str, int]:
        db, table = self._db(), quote(f"record_{reduction}")
        layout = self._layout(reduction)
        counts = [f"COUNT({quote(f'{band}_total')})" for band in layout.bands]
        one = db.execute(f"SELECT COUNT(*), COUNT(DISTINCT acquisition), {' + '.join(counts) or '0'} FROM {table}")
        records, acquisitions, signatures = one.fetchone()
        zones = db.execute("SELECT zones FROM hpckit_reduction WHERE name = ?", [reduction]).fetchone()[0]
        return {"zones": zones, "acquisitions": acquisitions, "records": records, "signatures": signatures}

    def _zone_rows(self, reduction: str, zone: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Time, provenance and `columns` of the records of a zone, sorted by time."""
        wanted = "".join(f", r.{quote(name)}" for name in columns)
        with self._errors():
            rows: list[tuple[Any, ...]] = (
                self._db()
                .execute(
                    f"SELECT a.time, {_PROVENANCE}{wanted} FROM {quote(f'zones_{reduction}')} z "
                    f"JOIN {quote(f'record_{reduction}')} r ON r.zone = z.fid "
                    "JOIN observation o ON o.id = r.observation JOIN acquisition a ON a.id = r.acquisition "
                    "WHERE z.id = ? ORDER BY a.time, a.id",
                    [zone],
                )
                .fetchall()
            )
        return rows

    def _layout(self, reduction: str) -> RowLayout:
        with self._errors():
            layout = read_layout(self._db(), reduction)
        if layout is None:
            raise StoreError(
                f"{self.path}: no reduction {reduction!r} in it", hint="`hpckit sync` loads what was computed"
            )
        return layout

    def _db(self, *, make: bool = False) -> sqlite3.Connection:
        if self._open is None:
            if not make and not self.is_made():
                raise StoreError(f"{self.path}: no such GeoPackage", hint="`hpckit run` or `hpckit sync` makes it")
            if self._claim is None and not locks_work(self.path.parent):
                self._claim = ExitStack()
                self._claim.enter_context(_alone(self.path))
            if make:
                # SQLite makes files with mode 644 at most; this one has the mode that the umask allows.
                self.path.touch()
            mode, vfs = "rwc" if make else "rw", "&vfs=unix-none" if self._claim is not None else ""
            self._open = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}{vfs}",
                uri=True,
                timeout=self.timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            self._open.execute("PRAGMA cache_size = -65536")
            if not make:
                _check_is_geopackage(self._open, self.path)
        return self._open

    @contextmanager
    def _transaction(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        db = self._db(make=make)
        self._begin(db)
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself where the disk is full.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _begin(self, db: sqlite3.Connection) -> None:
        """Begin a transaction; where another program writes, say so and wait for it."""
        db.execute(f"PRAGMA busy_timeout = {round(1000 * min(_QUIETLY_S, self.timeout_s))}")
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if self.timeout_s <= _QUIETLY_S or getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                raise
            self._tell(f"{self.path}: another program is writing to it; waiting up to {self.timeout_s:.0f} s")
            db.execute(f"PRAGMA busy_timeout = {round(1000 * self.timeout_s)}")
            db.execute("BEGIN IMMEDIATE")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self.close()
            raise _explain(self.path, error) from error
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other programs of hpckit away from a file that cannot be locked."""
    try:
        with hold(path.with_name(f".{path.name}.lock"), str(path)):
            yield
    except BusyError as error:
        raise StoreUnavailableError(error.message, hint=error.hint) from None


def _explain(path: Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return StoreUnavailableError(
            f"{path}: another program is writing to it", hint="close it (QGIS in editing mode?) and try again"
        )
    reasons = {
        sqlite3.SQLITE_READONLY: ("is read-only", "give it and its folder write permission"),
        sqlite3.SQLITE_FULL: ("the disk is full", "make room, then `hpckit sync` continues"),
        sqlite3.SQLITE_NOTADB: ("is no GeoPackage", "set store.path to another file"),
        sqlite3.SQLITE_CORRUPT: ("is damaged", "move it away; `hpckit sync` makes it again from the spool"),
        sqlite3.SQLITE_CONSTRAINT: ("another hpckit loads the same results at this moment", "try again"),
        sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "look at the permissions of the file and its folder"),
        sqlite3.SQLITE_IOERR: ("the file system fails", "look at the disk and its quota"),
    }
    reason, hint = reasons.get(code, ("SQLite refuses", None))
    fault = refusal(path) if code == sqlite3.SQLITE_CANTOPEN else None
    if code == sqlite3.SQLITE_IOERR or (fault is not None and is_temporary(fault)):
        return StoreUnavailableError(f"{path}: {reason}", hint=hint)
    return StoreError(f"{path}: {reason}", hint=hint)


def _begin_database(db: sqlite3.Connection, path: Path) -> None:
    """Make an empty database a GeoPackage, in the transaction that makes its tables: it is whole or empty."""
    if db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0:
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_USER_VERSION}")
    _check_is_geopackage(db, path)


def _check_is_geopackage(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise StoreError(f"{path}: is no GeoPackage", hint="set store.path to another file")


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version, known = _version(db), migrations("geopackage")
    if version > len(known):
        raise StoreError(
            f"{path}: its schema is version {version}, this hpckit knows versions up to {len(known)}",
            hint="install the newer hpckit that made it",
        )
    for number, script in enumerate(known[version:], version + 1):
        for statement in _statements(script):
            db.execute(statement)
        db.execute("INSERT INTO hpckit_schema (version) VALUES (?)", [number])
    if 0 < version < len(known):
        refresh_views(db)


def _version(db: sqlite3.Connection) -> int:
    has = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'hpckit_schema'").fetchone()
    return (db.execute("SELECT MAX(version) FROM hpckit_schema").fetchone()[0] or 0) if has else 0


def _statements(script: str) -> Iterator[str]:
    """Single statements of a script: `executescript` would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _write_layer(path: Path, layer: str, zones: ZoneLayer) -> None:
    import shapely

    from hpckit.base.ogr import pyogrio

    try:
        pyogrio.raw.write(
            path,
            shapely.to_wkb(zones.geometries),
            [np.array(zones.ids, dtype=object)],
            ["id"],
            layer=layer,
            driver="GPKG",
            geometry_type="MultiPolygon",
            crs=zones.crs,
            append=False,
            layer_options={"OVERWRITE": "YES", "GEOMETRY_NAME": "geom", "SPATIAL_INDEX": "YES", "FID": "fid"},
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError) as error:
        raise StoreError(
            f"{path}: the layer {layer} cannot be written", hint="check the disk and permissions"
        ) from error
