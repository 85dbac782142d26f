"""Markers in PostgreSQL, inside a transaction of the caller."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.version import __version__
from hpckit.campaign.markers import MarkerRule
from hpckit.store.markerrows import MARKER_COLUMNS, MarkerRows, described, require_layer

_ROWS_AT_A_TIME: Final = 50_000
_COPY: Final = (
    "COPY marker (rule, zone, relative_orbit, time_start, time_main, time_end, value_1, value_2, value_3, confidence,"
    " observations) FROM STDIN (FORMAT csv)"
)


def has_markers(cursor: Any) -> bool:
    """Whether the schema has the tables; one of an earlier version has not."""
    cursor.execute("SELECT to_regclass('marker_rule') IS NOT NULL")
    return bool(cursor.fetchone()[0])


def rule_identities(cursor: Any, reduction: str) -> dict[str, str]:
    """Digest of what the markers of each rule were made from."""
    query = "SELECT k.name, k.identity FROM marker_rule k JOIN reduction p ON p.id = k.reduction WHERE p.name = %s"
    cursor.execute(query, [reduction])
    return dict(cursor.fetchall())


def drop_rules(cursor: Any, reduction: str, names: Collection[str]) -> None:
    """Remove rules; their markers go with them."""
    cursor.execute(
        "DELETE FROM marker_rule WHERE reduction = (SELECT id FROM reduction WHERE name = %s) AND name = ANY(%s)",
        [reduction, sorted(names)],
    )


def write_markers(cursor: Any, reduction: str, rule: MarkerRule, identity: str, layer: str, rows: MarkerRows) -> None:
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
    cursor.execute("SELECT id, zones_digest, first_zone FROM reduction WHERE name = %s FOR SHARE", [reduction])
    known = cursor.fetchone()
    require_layer(None if known is None else known[1], layer, reduction)
    # The row of the rule is locked first, so that two programs cannot both write its markers.
    cursor.execute(
        "INSERT INTO marker_rule (reduction, name, rule, identity, hpckit) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (reduction, name) DO UPDATE SET rule = excluded.rule, identity = excluded.identity,"
        " hpckit = excluded.hpckit, computed = now() RETURNING id",
        [known[0], rule.name, described(rule), identity, __version__],
    )
    number = int(cursor.fetchone()[0])
    cursor.execute("DELETE FROM marker WHERE rule = %s", [number])
    for block in _blocks(_rows(number, known[2], rows)):
        cursor.copy_expert(_COPY, block, size=1 << 20)
    cursor.execute("ANALYZE marker")


def _blocks(rows: Iterator[Sequence[Any]]) -> Iterator[io.StringIO]:
    """CSV of some rows at a time."""
    while True:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for _, row in zip(range(_ROWS_AT_A_TIME), rows, strict=False):
            writer.writerow(row)
        if not text.tell():
            return
        text.seek(0)
        yield text


def _rows(number: int, first_zone: int, rows: MarkerRows) -> Iterator[Sequence[Any]]:
    times = [_utc(time) for time in rows.time]
    orbits = ["" if orbit < 0 else orbit for orbit in rows.orbit.tolist()]
    values = [value.astype(np.float32).astype(str).tolist() for value in rows.value]
    columns = (
        *((rows.zone + first_zone).tolist(), orbits, *times, *values, rows.confidence.tolist(), rows.observations()),
    )
    for *rest, seen in zip(*columns, strict=True):
        yield (number, *rest, _array(seen))


def _array(names: Sequence[str]) -> str:
    """Literal of an array of texts."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}"


def _utc(time: npt.NDArray[np.datetime64]) -> list[str]:
    return [f"{text}Z" for text in np.datetime_as_string(time, unit="us").tolist()]


def read_markers(cursor: Any, reduction: str, zone: str | None) -> list[tuple[Any, ...]]:
    """Rows with `MARKER_COLUMNS`, of one zone or of all, in the order of zones, times and rules."""
    where, values = "reduction = %s", [reduction]
    if zone is not None:
        where, values = f"{where} AND foi_id = %s", [reduction, zone]
    cursor.execute(
        f"SELECT {', '.join(MARKER_COLUMNS)} FROM markers WHERE {where} ORDER BY pid, time_main, marker",  # noqa: S608
        values,
    )
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
