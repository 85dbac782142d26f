"""Markers in a GeoPackage, inside a transaction of the caller."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.version import __version__
from hpckit.campaign.markers import MarkerRule
from hpckit.store.geopackage_names import column_names
from hpckit.store.markerrows import MARKER_COLUMNS, MarkerRows, days_of, described, require_layer

_KNOWN: Final = "(SELECT id FROM hpckit_reduction WHERE name = ?)"


def has_markers(db: sqlite3.Connection) -> bool:
    """Whether the file has the tables; one of an earlier version has not."""
    return bool(column_names(db, "hpckit_marker_rule"))


def rule_identities(db: sqlite3.Connection, reduction: str) -> dict[str, str]:
    """Digest of what the markers of each rule were made from."""
    query = f"SELECT name, identity FROM hpckit_marker_rule WHERE reduction IN {_KNOWN}"  # noqa: S608
    return dict(db.execute(query, [reduction]).fetchall())


def drop_rules(db: sqlite3.Connection, reduction: str, names: Collection[str] | None = None) -> None:
    """Remove rules with their markers; all of the reduction if no names are given."""
    wanted = json.dumps(sorted(rule_identities(db, reduction) if names is None else names))
    rules = (
        f"SELECT id FROM hpckit_marker_rule WHERE reduction IN {_KNOWN}"  # noqa: S608
        " AND name IN (SELECT value FROM json_each(?))"
    )
    db.execute(f"DELETE FROM markers WHERE rule IN ({rules})", [reduction, wanted])  # noqa: S608
    db.execute(f"DELETE FROM hpckit_marker_rule WHERE id IN ({rules})", [reduction, wanted])  # noqa: S608


def write_markers(
    db: sqlite3.Connection, reduction: str, rule: MarkerRule, identity: str, layer: str, rows: MarkerRows
) -> None:
    """Replace the markers of a rule.

    Parameters
    ----------
    layer : str
        Digest of the zones that they belong to.

    Raises
    ------
    StoreError
        If the store has other zones by now.
    """
    known = db.execute("SELECT id, zones_digest FROM hpckit_reduction WHERE name = ?", [reduction]).fetchone()
    require_layer(None if known is None else known[1], layer, reduction)
    drop_rules(db, reduction, [rule.name])
    number = db.execute(
        "INSERT INTO hpckit_marker_rule (reduction, name, rule, identity, hpckit) VALUES (?, ?, ?, ?, ?)",
        [known[0], rule.name, described(rule), identity, __version__],
    ).lastrowid
    names = ["rule", *MARKER_COLUMNS]
    insert = f"INSERT INTO markers ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    layer_ids = dict(db.execute(f'SELECT fid - 1, id FROM "zones_{reduction}"'))  # noqa: S608 -- a checked name
    db.executemany(insert, _rows(number or 0, reduction, rule, rows, layer_ids))


def _rows(
    number: int, reduction: str, rule: MarkerRule, rows: MarkerRows, names: dict[int, Any]
) -> Iterator[tuple[Any, ...]]:
    days = [days_of(time) for time in rows.time]
    lasted = (days[2] - days[0]).astype(np.int64).tolist()
    texts = [np.datetime_as_string(day).tolist() for day in days]
    times = [_utc(time) for time in rows.time]
    zones = rows.zone.tolist()
    orbits = [None if orbit < 0 else orbit for orbit in rows.orbit.tolist()]
    values = [value.tolist() for value in rows.value]
    columns = (zones, lasted, rows.confidence.tolist(), orbits, rows.observations(), *texts, *values, *times)
    for zone, duration, confidence, orbit, seen, *rest in zip(*columns, strict=True):
        yield (
            *(number, reduction, str(names[zone]), rule.name, rule.kind, *rest[:3], duration, *rest[3:6], zone + 1),
            *(rule.practice, confidence, rule.band, rule.statistic, orbit, *rest[6:], json.dumps(seen)),
        )


def _utc(time: npt.NDArray[np.datetime64]) -> list[str]:
    return [f"{text}Z" for text in np.datetime_as_string(time, unit="ms").tolist()]


def read_markers(db: sqlite3.Connection, reduction: str, zone: str | None) -> list[tuple[Any, ...]]:
    """Rows with `MARKER_COLUMNS`, of one zone or of all, in the order of zones, times and rules."""
    where, values = "reduction = ?", [reduction]
    if zone is not None:
        where, values = f"{where} AND foi_id = ?", [reduction, zone]
    query = f"SELECT {', '.join(MARKER_COLUMNS)} FROM markers WHERE {where} ORDER BY pid, time_main, marker, id"  # noqa: S608
    return [(*row[:-1], json.loads(row[-1])) for row in db.execute(query, values)]
