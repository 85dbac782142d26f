"""The central store: PostgreSQL with PostGIS. One transaction per segment."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.credentials import check_dsn
from hpckit.base.version import __version__
from hpckit.campaign.markers import MarkerRule
from hpckit.errors import StoreError
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
from hpckit.store.copy import read_floats
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
from hpckit.store.markerrows import MarkerRows, marker_frame
from hpckit.store.migrations import migrations
from hpckit.store.model import NOBODY
from hpckit.store.owner import StoreOwner
from hpckit.store.postgis_access import in_work, require_access, require_postgis, set_up, take_lock
from hpckit.store.postgis_attributes import write_attributes
from hpckit.store.postgis_blocks import Reading, find_parts, records_of_a_zone
from hpckit.store.postgis_errors import explained, import_psycopg2
from hpckit.store.postgis_load import COPY_BYTES, find_reduction, load_records
from hpckit.store.postgis_markers import drop_rules, has_markers, read_markers, rule_identities, write_markers
from hpckit.store.postgis_remove import remove_orphans, remove_reduction, remove_units
from hpckit.store.postgis_rows import change_crops, copy_zones, read_layouts
from hpckit.store.postgis_schema import other_users, require_owner, schema_version
from hpckit.store.postgis_styles import lacks_styles, put_styles
from hpckit.store.postgis_views import refresh_views

if TYPE_CHECKING:
    import pandas
    import psycopg2.extensions

_CONNECT_S: Final = 10
_READERS: Final = 2
"""Connections that read signatures of many zones at once."""


_SERIES: Final = """
SELECT a.time, a.name, a.platform, a.level, o.tile, o.baseline, a.relative_orbit, o.cloud_cover, o.run_id,
       o.layout, r.data
  FROM reduction p JOIN zone z ON z.reduction = p.id JOIN record r ON r.zone = z.id
  JOIN observation o ON o.id = r.observation JOIN acquisition a ON a.id = r.acquisition
 WHERE p.name = %s AND z.name = %s ORDER BY a.time, a.id
"""


class PostGis:
    """A schema of a PostgreSQL database as a store.

    Parameters
    ----------
    dsn : str
        `postgresql://user@host/database`; the password comes from ~/.pgpass or PGPASSWORD.
    schema : str
        Schema that holds the tables.
    wait_s : float
        How long to wait for locks of others.
    tell : callable
        Called with whom it waits for.
    """

    def __init__(
        self,
        dsn: str,
        schema: str = "hpckit",
        wait_s: float = 60,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.dsn = dsn
        self.schema = schema
        self.wait_s = wait_s
        self._tell = tell
        self._connection: psycopg2.extensions.connection | None = None
        self._idle: list[psycopg2.extensions.connection] = []
        """Connections of threads that read ahead."""
        import_psycopg2()

    def prepare(self) -> None:
        """Make the schema, or bring it up to date; see `Store`."""
        from psycopg2 import sql

        with self._transaction() as cursor:
            # Two programs that start at once must not migrate both.
            take_lock(cursor, f"hpckit:{self.schema}", self.wait_s, self._tell)
            if not require_postgis(cursor, self._where):
                cursor.execute("CREATE EXTENSION postgis SCHEMA public")
            require_access(cursor, self._where, self.schema)
            cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self.schema])
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            self._set_search_path(cursor)
            self._migrate(cursor)

    def is_made(self) -> bool:
        """Whether the tables are there; if not, this user can make them.

        Raises
        ------
        StoreError
            If this user lacks a privilege, or the server lacks PostGIS.
        """
        with self._transaction() as cursor:
            require_postgis(cursor, self._where)
            return require_access(cursor, self._where, self.schema)

    @property
    def where(self) -> str:
        """Schema and database, for messages."""
        return f"{self._where}, schema {self.schema}"

    @property
    def newest(self) -> int:
        """Version of the tables that this hpckit makes."""
        return len(migrations("postgis"))

    def version(self) -> int:
        """Version of the tables; see `Store`."""
        with self._transaction() as cursor:
            return schema_version(cursor)

    def other_users(self) -> tuple[str, ...]:
        """Users who may use the tables, by privileges and by roles; see `Store`."""
        with self._transaction() as cursor:
            return other_users(cursor, self.schema)

    def owners(self) -> dict[str, StoreOwner]:
        """Whom the reductions belong to; see `Store`."""
        known = (
            "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = 'reduction'"
            " AND column_name = 'place'"
        )
        if not self._rows(known, [self.schema]):
            return {}
        rows = self._rows("SELECT name, campaign, run_id, place FROM reduction ORDER BY id")
        return {name: StoreOwner(*rest) for name, *rest in rows}

    def layers(self) -> dict[str, str]:
        """Digests of the zones of the reductions; see `Store`."""
        return dict(self._rows("SELECT name, zones_digest FROM reduction"))

    def load_zones(self, reduction: str, zones: ZoneLayer, owner: StoreOwner = NOBODY) -> None:
        """Make the zones of a reduction those of `zones`; see `Store`."""
        claimed = [owner.campaign, owner.run_id, owner.place]
        with self._transaction() as cursor:
            take_lock(cursor, f"hpckit:{self.schema}:zones", self.wait_s, self._tell)
            cursor.execute("SELECT zones_digest, campaign, run_id, place FROM reduction WHERE name = %s", [reduction])
            known = cursor.fetchone()
            if known == (zones.digest, *claimed):
                return
            if known is not None and known[0] == zones.digest:
                change = "UPDATE reduction SET campaign = %s, run_id = %s, place = %s WHERE name = %s"
                cursor.execute(change, [*claimed, reduction])
                return
            remove_reduction(cursor, reduction)
            cursor.execute("SELECT COALESCE(MAX(first_zone + zones), 1) FROM reduction")
            first = _one(cursor)[0]
            cursor.execute(
                "INSERT INTO reduction (name, zones_digest, first_zone, zones, crs, campaign, run_id, place)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
                [reduction, zones.digest, first, len(zones), zones.crs, *claimed],
            )
            copy_zones(cursor, _one(cursor)[0], first, zones)
            cursor.execute("ANALYZE zone")

    def attributes(self) -> dict[str, str]:
        """Digests of the attributes of the zones; see `Store`."""
        known = (
            "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = 'reduction'"
            " AND column_name = 'attributes_digest'"
        )
        if not self._rows(known, [self.schema]):
            return {}
        return dict(self._rows("SELECT name, attributes_digest FROM reduction"))

    def attribute_values(self, reduction: str) -> dict[str, list[Any]]:
        """Attributes of the zones by name; see `Store`."""
        ((listed,),) = self._rows("SELECT attributes FROM reduction WHERE name = %s", [reduction])
        query = (
            "SELECT z.attributes FROM zone z JOIN reduction p ON p.id = z.reduction WHERE p.name = %s ORDER BY z.id"
        )
        rows = [values or {} for (values,) in self._rows(query, [reduction])]
        return {name: [row.get(name) for row in rows] for name, _ in listed or []}

    def note_attributes(self, reduction: str, attributes: Attributes) -> None:
        """Make the attributes of the zones these; see `Store`."""
        is_new = self.attributes().get(reduction) != attributes.digest
        with self._transaction() as cursor:
            if is_new:
                write_attributes(cursor, reduction, attributes)
            self._refresh_views(cursor, reduction)

    def _refresh_views(self, cursor: Any, reduction: str) -> None:
        layouts = read_layouts(cursor, reduction) or {}
        refresh_views(cursor, reduction, layouts, _merge(list(layouts.values())), self._tell)

    def note_crops(self, reduction: str, crops: Sequence[str | None]) -> None:
        """Note the crop of each zone; see `Store`."""
        if not any(crops):
            return
        with self._transaction() as cursor:
            if change_crops(cursor, reduction, crops):
                put_styles(cursor, self.schema)

    def made_from(self, reduction: str) -> dict[str, str]:
        """Inputs of the results by unit; see `Store`."""
        query = "SELECT unit, inputs FROM observation WHERE reduction = (SELECT id FROM reduction WHERE name = %s)"
        return {row[0]: row[1] for row in self._rows(query, [reduction])}

    def load_segment(self, segment: Segment, units: Collection[str] | None = None, drop: Collection[str] = ()) -> int:
        """Load results of a segment in one transaction; see `Store`."""
        with self._transaction() as cursor:
            self._lock_acquisitions(cursor, "_shared")
            reduction, first_zone = find_reduction(cursor, segment)
            cursor.execute("SELECT unit, inputs FROM observation WHERE reduction = %s", [reduction])
            have = dict(cursor.fetchall())
            batches = [batch for batch in chosen(segment, units) if have.get(batch.unit) != batch.inputs]
            outdated = [unit for unit in (*drop, *(batch.unit for batch in batches)) if unit in have]
            remove_units(cursor, segment.header.reduction, outdated)
            if batches:
                load_records(cursor, segment, batches, reduction, first_zone)
            if batches or outdated:
                self._refresh_views(cursor, segment.header.reduction)
        return sum(len(batch.zone) for batch in batches)

    def drop(self, reduction: str, units: Collection[str]) -> None:
        """Remove the results of units, and what nothing needs any more; see `Store`."""
        with self._transaction() as cursor:
            self._lock_acquisitions(cursor)
            remove_units(cursor, reduction, units)
            remove_orphans(cursor)
            self._refresh_views(cursor, reduction)

    def remove(self, reduction: str) -> None:
        """Remove a reduction with its zones and results; see `Store`."""
        with self._transaction() as cursor:
            self._lock_acquisitions(cursor)
            remove_reduction(cursor, reduction)
            remove_orphans(cursor)
            self._refresh_views(cursor, reduction)

    def _lock_acquisitions(self, cursor: Any, kind: str = "") -> None:
        """Nobody removes acquisitions that another one is about to refer to."""
        cursor.execute(
            f"SELECT pg_advisory_xact_lock{kind}(hashtext(%s))",
            [f"hpckit:{self.schema}:acquisitions"],
        )

    def reductions(self) -> list[str]:
        """Names of the reductions in the store."""
        return [row[0] for row in self._rows("SELECT name FROM reduction ORDER BY id")]

    def bands(self, reduction: str) -> list[str]:
        """Bands and indices of a reduction."""
        layouts = self._layouts(reduction).values()
        return list(dict.fromkeys(band for layout in layouts for band in layout.bands))

    def acquisitions(self, reduction: str) -> list[tuple[str, datetime]]:
        """Name and time of the acquisitions of a reduction; see `Store`."""
        query = (
            "SELECT DISTINCT a.name, a.time FROM observation o JOIN acquisition a ON a.id = o.acquisition"
            " WHERE o.reduction IN (SELECT id FROM reduction WHERE name = %s) ORDER BY a.time, a.name"
        )
        return [(name, as_utc(when)) for name, when in self._rows(query, [reduction])]

    def zone_ids(self, reduction: str) -> list[str]:
        """Identifiers of the zones of a reduction, in the order of the layer."""
        self._layouts(reduction)
        query = "SELECT z.name FROM zone z JOIN reduction p ON p.id = z.reduction WHERE p.name = %s ORDER BY z.id"
        return [row[0] for row in self._rows(query, [reduction])]

    def series(self, reduction: str, zone: str, band: str | None = None) -> pandas.DataFrame:
        """Signatures of a zone, sorted by time and band; see `Store`."""
        _merge(list(self._layouts(reduction).values())).check(reduction, band)
        return series_frame(self.records(reduction, zone), band)

    def records(self, reduction: str, zone: str) -> ZoneRecords:
        """Signatures of a zone as arrays, sorted by time; see `Store`."""
        layouts = self._layouts(reduction)
        merged = _merge(list(layouts.values()))
        rows = self._zone_rows(reduction, zone)
        valid = np.full((len(rows), len(merged.bands)), np.nan)
        total, values = valid.copy(), np.full((*valid.shape, len(merged.statistics)), np.nan)
        classes = {band: np.full((len(rows), len(codes)), np.nan) for band, codes in (merged.classes or {}).items()}
        for number, row in enumerate(rows):
            layout, data = layouts[row[-2]], np.array(row[-1], dtype=np.float32)
            place = [merged.bands.index(name) for name in layout.bands]
            count = len(layout.bands)
            valid[number, place], total[number, place] = data[:count], data[count : 2 * count]
            statistics = data[layout.counts_width :].reshape(-1, len(layout.statistics))
            if len(statistics):
                columns = [merged.statistics.index(name) for name in layout.statistics]
                values[np.ix_([number], place, columns)] = statistics
            for band, codes in (merged.classes or {}).items():
                for code, position in layout.class_places(band).items():
                    classes[band][number, codes.index(code)] = data[position]
        provenance = {name: [row[k + 1] for row in rows] for k, name in enumerate(PROVENANCE)}
        return ZoneRecords(merged, [row[0] for row in rows], provenance, valid, total, values, classes)

    def blocks(
        self,
        reduction: str,
        bands: Bands = None,
        classes: str | None = None,
        rows: int = BLOCK_ROWS,
        zones: npt.NDArray[np.int64] | None = None,
    ) -> Blocks:
        """Signatures of all zones, some zones at a time; see `Store`."""
        layouts = self._layouts(reduction)
        layout = narrowed(_merge(list(layouts.values())), reduction, bands, classes)
        state, (first, names) = self._state(reduction), self._zone_names(reduction)
        with self._transaction() as cursor:
            wanted = {number: one for number, one in layouts.items() if set(one.bands) & set(layout.bands)}
            origins, parts = find_parts(cursor, reduction, wanted)
            many = records_of_a_zone(cursor, parts, first + np.arange(len(names)))
        counts = np.full(len(names) if parts else 0, max(1, many))
        most = max(1, rows // max(1, len(layout.bands)))
        ranges = ranges_of(counts, most, zones if parts else None)
        reading = Reading(layout, origins, parts, names.tolist(), first, self._borrowed)
        return Blocks(layout, self._read_blocks(reading, ranges, reduction, state))

    def _read_blocks(
        self, reading: Reading, ranges: Sequence[tuple[int, int]], reduction: str, state: tuple[int, ...]
    ) -> Iterator[RecordBlock]:
        """Read blocks ahead; an error where somebody loaded results since."""
        try:
            for block in in_order(reading.block, ranges, _READERS):
                if self._state(reduction) != state:
                    raise changed_meanwhile(self._where)
                if len(block.zone):
                    yield block
        finally:
            while self._idle:
                self._idle.pop().close()

    def _state(self, reduction: str) -> tuple[int, ...]:
        """What differs after every load and removal of results."""
        query = (
            "SELECT COUNT(*), COALESCE(SUM(o.id), 0) FROM observation o JOIN reduction p ON p.id = o.reduction"
            " WHERE p.name = %s"
        )
        return tuple(map(int, self._rows(query, [reduction])[0]))

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        """A cursor of a connection beside that of this store, for one thread."""
        with explained(self._where, self.schema, lambda: None, lambda: "another program"):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                with connection, connection.cursor() as cursor:
                    yield cursor
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    def class_counts(self, reduction: str, zone: str, band: str) -> pandas.DataFrame:
        """Pixels of each class in a zone; see `Store`."""
        return class_frame(self.records(reduction, zone), reduction, band)

    def image(self, reduction: str, acquisition: str, band: str) -> pandas.DataFrame:
        """Signatures of all zones in one acquisition and band; see `Store`."""
        import pandas as pd

        layouts = self._layouts(reduction)
        merged = _merge(list(layouts.values()))
        merged.check(reduction, band)
        first, names = self._zone_names(reduction)
        parts = []
        for number, layout in layouts.items():
            if band in layout.bands:
                zone, data = self._band_of_image(reduction, acquisition, number, layout, band)
                columns = statistics_columns(layout.statistics, data[:, 0], data[:, 1], data[:, 2:])
                parts.append(pd.DataFrame({"zone": names[zone - first], **columns}, index=zone))
        frame = pd.concat([part for part in parts if len(part)] or parts[:1])
        return frame.sort_index().reset_index(drop=True)

    def marker_rules(self, reduction: str) -> dict[str, str]:
        """Digest of what the markers of each rule were made from; see `Store`."""
        with self._transaction() as cursor:
            return rule_identities(cursor, reduction) if has_markers(cursor) else {}

    def load_markers(self, reduction: str, rule: MarkerRule, identity: str, layer: str, rows: MarkerRows) -> None:
        """Make the markers of a rule these; see `Store`."""
        with self._transaction() as cursor:
            write_markers(cursor, reduction, rule, identity, layer, rows)

    def drop_markers(self, reduction: str, names: Collection[str]) -> None:
        """Remove rules with their markers; see `Store`."""
        with self._transaction() as cursor:
            drop_rules(cursor, reduction, names)

    def markers(self, reduction: str, zone: str | None = None) -> pandas.DataFrame:
        """Markers of a zone, or of all; see `Store`."""
        self._layouts(reduction)
        if zone is not None and "\0" in zone:  # which PostgreSQL refuses as text
            return marker_frame([])
        with self._transaction() as cursor:
            return marker_frame(read_markers(cursor, reduction, zone) if has_markers(cursor) else [])

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts by reduction; see `Store`."""
        query = """
            SELECT p.name, p.zones, COUNT(DISTINCT r.acquisition), COALESCE(SUM(r.records), 0),
                   COALESCE(SUM(r.records * cardinality(l.bands)), 0)
              FROM reduction p LEFT JOIN observation o ON o.reduction = p.id
              LEFT JOIN (SELECT observation, acquisition, COUNT(*) AS records FROM record GROUP BY 1, 2) r
                     ON r.observation = o.id
              LEFT JOIN layout l ON l.id = o.layout
             GROUP BY p.id ORDER BY p.id"""
        names = ("zones", "acquisitions", "records", "signatures")
        return {row[0]: dict(zip(names, map(int, row[1:]), strict=True)) for row in self._rows(query)}

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _zone_rows(self, reduction: str, zone: str) -> list[tuple[Any, ...]]:
        """Time, provenance, layout and data of the records of a zone, sorted by time."""
        # PostgreSQL refuses text with NUL; no zone has such a name.
        return [] if "\0" in zone else self._rows(_SERIES, [reduction, zone])

    def _zone_names(self, reduction: str) -> tuple[int, npt.NDArray[np.object_]]:
        """Id of the first zone, and the names of all in the order of their ids, which have no gaps."""
        query = (
            "SELECT p.first_zone, z.name FROM zone z JOIN reduction p ON p.id = z.reduction"
            " WHERE p.name = %s ORDER BY z.id"
        )
        rows = self._rows(query, [reduction])
        return rows[0][0] if rows else 0, np.array([row[1] for row in rows], dtype=object)

    def _band_of_image(self, reduction: str, acquisition: str, number: int, layout: RowLayout, band: str) -> Any:
        position, count, width = layout.bands.index(band), len(layout.bands), len(layout.statistics)
        first = layout.counts_width + position * width
        places = [position, count + position, *range(first, first + width)]
        columns = ", ".join(f"COALESCE(r.data[{place + 1}], 'NaN')" for place in places)
        query = (
            f"COPY (SELECT r.zone, {columns} FROM record r WHERE r.acquisition = ANY(%s) AND r.observation = ANY(%s))"  # noqa: S608
            " TO STDOUT (FORMAT binary)"
        )
        observations = self._rows(
            "SELECT o.acquisition, o.id FROM observation o JOIN acquisition a ON a.id = o.acquisition"
            " JOIN reduction p ON p.id = o.reduction WHERE a.name = %s AND p.name = %s AND o.layout = %s",
            [acquisition, reduction, number],
        )
        target = io.BytesIO()
        with self._transaction() as cursor:
            keys = [sorted({row[0] for row in observations}), [row[1] for row in observations]]
            statement = cursor.mogrify(query.replace("ANY(%s)", "ANY(%s::integer[])"), keys).decode()
            cursor.copy_expert(statement, target, size=COPY_BYTES)
        return read_floats(target.getvalue(), len(places))

    def _layouts(self, reduction: str) -> dict[int, RowLayout]:
        """Layouts that the records of a reduction have, oldest first."""
        with self._transaction() as cursor:
            layouts = read_layouts(cursor, reduction)
        if layouts is None:
            raise StoreError(
                f"{self._where}: no reduction {reduction!r} in schema {self.schema}",
                hint="`hpckit sync` loads what was computed",
            )
        return layouts

    def _migrate(self, cursor: Any) -> None:
        version, known = schema_version(cursor), migrations("postgis")
        if version > len(known):
            raise StoreError(
                f"{self._where}: schema {self.schema} is version {version}, this hpckit knows up to {len(known)}",
                hint="install the newer hpckit that made it",
            )
        if 0 < version < len(known):
            require_owner(cursor, self._where, self.schema)
        for number, script in enumerate(known[version:], version + 1):
            cursor.execute(script)
            cursor.execute("INSERT INTO schema_version (version, hpckit) VALUES (%s, %s)", [number, __version__])
        if version < len(known):
            put_styles(cursor, self.schema, self._tell)
        elif lacks_styles(cursor, self.schema):  # this user may be allowed to by now
            put_styles(cursor, self.schema)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._transaction() as cursor:
            cursor.execute(query, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with explained(self._where, self.schema, self._forget, self._in_work):
            if self._connection is None:
                self._connection = self._connect()
            with self._connection, self._connection.cursor() as cursor:
                yield cursor

    def _connect(self) -> psycopg2.extensions.connection:
        import psycopg2

        try:
            check_dsn(self.dsn)
        except ValueError as error:
            raise StoreError(str(error), hint="correct `store.dsn`") from None
        connection = psycopg2.connect(
            self.dsn, connect_timeout=_CONNECT_S, application_name="hpckit", keepalives_idle=30
        )
        with connection, connection.cursor() as cursor:
            set_up(cursor, self.wait_s)
            self._set_search_path(cursor)
        return connection

    def _set_search_path(self, cursor: Any) -> None:
        from psycopg2 import sql

        cursor.execute(
            "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'postgis'"
        )
        row = cursor.fetchone()
        schemas = [self.schema, *([row[0]] if row else [])]
        path = sql.SQL(", ").join(map(sql.Identifier, schemas))
        cursor.execute(sql.SQL("SET search_path TO {}").format(path))

    def _in_work(self) -> str:
        """Who may hold the lock that was waited for."""
        if self._connection is None:
            return "a program that has ended since"
        with self._connection, self._connection.cursor() as cursor:
            return in_work(cursor)

    def _forget(self) -> None:
        """Drop a connection that broke; the next call makes another one."""
        if self._connection is not None and self._connection.closed:
            self._connection = None

    @property
    def _where(self) -> str:
        """Host and database, and nothing secret."""
        from psycopg2 import ProgrammingError
        from psycopg2.extensions import parse_dsn

        try:
            check_dsn(self.dsn)
            parts = parse_dsn(self.dsn)
        except (ProgrammingError, ValueError):
            return "the database"
        return f"database {parts.get('dbname', '?')} on {parts.get('host', 'this machine')}"


def _merge(layouts: Sequence[RowLayout]) -> RowLayout:
    """Bands, statistics and classes of several layouts together."""
    bands = dict.fromkeys(band for layout in layouts for band in layout.bands)
    statistics = dict.fromkeys(name for layout in layouts for name in layout.statistics)
    classes: dict[str, set[int]] = {}
    for layout in layouts:
        for band, codes in (layout.classes or {}).items():
            classes.setdefault(band, set()).update(codes)
    return RowLayout(tuple(bands), tuple(statistics), {band: tuple(sorted(codes)) for band, codes in classes.items()})


def _one(cursor: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] = cursor.fetchone()
    return row
