"""Series as views in PostgreSQL: `signature_<reduction>` has a row for each band, `wide_<reduction>` a column.

Both end with the attributes of the zones. A view is made again only where its text differs, since that needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hpckit.base.files import digest_json
from hpckit.store.frames import RowLayout

_MARK: Final = "made by hpckit"
_WAIT: Final = "2s"
_KINDS: Final = frozenset({"bigint", "double precision", "boolean", "date", "timestamp", "text"})
_ORIGIN: Final = ("acquisition", "platform", "level", "relative_orbit", "tile", "baseline", "cloud_cover", "run_id")
_ORIGIN_SQL: Final = (
    "a.name AS acquisition, a.platform, a.level, a.relative_orbit, o.tile, o.baseline, o.cloud_cover, o.run_id"
)
_FROM: Final = """
  FROM reduction p
  JOIN zone z ON z.reduction = p.id
  JOIN record r ON r.zone = z.id
  JOIN acquisition a ON a.id = r.acquisition
  JOIN observation o ON o.id = r.observation"""

Tell = Callable[[str], None]


def refresh_views(
    cursor: Any, reduction: str, layouts: Mapping[int, RowLayout], merged: RowLayout, tell: Tell
) -> None:
    """Make the views of a reduction those of its layouts and attributes."""
    cursor.execute("SELECT attributes FROM reduction WHERE name = %s", [reduction])
    row = cursor.fetchone()
    attributes = [] if row is None else [(str(name), str(kind)) for name, kind in row[0] if kind in _KINDS]
    texts = {f"signature_{reduction}": "", f"wide_{reduction}": ""}
    if row is not None and merged.bands:
        texts = {
            f"signature_{reduction}": _tall(cursor, reduction, layouts, merged, attributes),
            f"wide_{reduction}": _wide(cursor, reduction, layouts, merged, attributes),
        }
    for view, text in texts.items():
        _make(cursor, view, text, tell)


def _make(cursor: Any, view: str, text: str, tell: Tell) -> None:
    """Make a view, or remove it if there is no text. What somebody else made under its name stays."""
    from psycopg2 import errors, sql

    comment = f"{_MARK}, {digest_json(text)[:16]}"
    cursor.execute("SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident(%s))", [view])
    if cursor.fetchone()[0] is not None:
        cursor.execute(
            "SELECT c.relkind::text, obj_description(c.oid, 'pg_class') FROM pg_class c"
            " WHERE c.relname = %s AND c.relnamespace = current_schema()::regnamespace",
            [view],
        )
        kind, said = cursor.fetchone()
        if kind != "v" or not str(said or "").startswith(_MARK):
            tell(f"the database has something else with the name {view}: it stays, and this view is not made")
            return
        if said == comment and text:
            return
    elif not text:
        return
    cursor.execute("SAVEPOINT hpckit_view")
    try:
        name = sql.Identifier(view)
        cursor.execute("SET LOCAL lock_timeout = %s", [_WAIT])  # whoever reads the view keeps nobody from loading
        cursor.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(name))
        if text:
            cursor.execute(sql.SQL("CREATE VIEW {} AS ").format(name) + sql.SQL(text))
            cursor.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(name, sql.Literal(comment)))
    except (errors.DependentObjectsStillExist, errors.InsufficientPrivilege, errors.LockNotAvailable) as error:
        cursor.execute("ROLLBACK TO SAVEPOINT hpckit_view")
        reason = str(error).splitlines()[0]
        tell(f"the view {view} stays as it was: {reason}")
    cursor.execute("RELEASE SAVEPOINT hpckit_view")


def _text(cursor: Any, *parts: Any) -> str:
    from psycopg2 import sql

    return sql.Composed(parts).as_string(cursor)


def _name(cursor: Any, name: str) -> str:
    from psycopg2 import sql

    return _text(cursor, sql.Identifier(name))


def _literal(cursor: Any, value: str) -> str:
    from psycopg2 import sql

    return _text(cursor, sql.Literal(value))


def _at(places: Mapping[int, int]) -> str:
    """The number of a record, by the place that it has in each layout; NaN and what lacks are null."""
    if not places:
        return "NULL::real"
    if len(set(places.values())) == 1:
        number = f"r.data[{next(iter(places.values()))}]"
    else:
        arms = " ".join(f"WHEN {layout} THEN r.data[{place}]" for layout, place in places.items())
        number = f"CASE o.layout {arms} END"
    return f"NULLIF({number}, 'NaN')"


def _places(layouts: Mapping[int, RowLayout], band: str, name: str) -> dict[int, int]:
    """Where in the records of each layout a number of a band stands, counted from 1."""
    found = {}
    for number, layout in layouts.items():
        if band not in layout.bands:
            continue
        position, count = layout.bands.index(band), len(layout.bands)
        if name in ("valid", "total"):
            found[number] = position + 1 + (count if name == "total" else 0)
        elif name in layout.statistics:
            width = len(layout.statistics)
            found[number] = layout.counts_width + position * width + layout.statistics.index(name) + 1
    return found if len(found) == len(layouts) or not found else {**found, **_nowhere(layouts, found)}


def _nowhere(layouts: Mapping[int, RowLayout], found: Mapping[int, int]) -> dict[int, int]:
    """Layouts without a number: a place that no record has, which is null."""
    return {number: 0 for number in layouts if number not in found}


def _tall(
    cursor: Any,
    reduction: str,
    layouts: Mapping[int, RowLayout],
    merged: RowLayout,
    attributes: Sequence[tuple[str, str]],
) -> str:
    names = ["valid", "total", *merged.statistics]
    rows = [
        f"({_literal(cursor, band)}::text, {', '.join(_at(_places(layouts, band, name)) for name in names)})"
        for band in merged.bands
    ]
    columns = ", ".join(_name(cursor, name) for name in names)
    statistics = "".join(f", b.{_name(cursor, name)}" for name in merged.statistics)
    taken = ("zone", "time", "band", "valid_fraction", *names, *_ORIGIN)
    return (
        "SELECT z.name AS zone, a.time, b.band, b.valid, b.total, b.valid / NULLIF(b.total, 0) AS valid_fraction"
        f"{statistics}, {_ORIGIN_SQL}{_shown(cursor, attributes, taken)}{_FROM}"
        f"\n  CROSS JOIN LATERAL (VALUES {', '.join(rows)}) AS b (band, {columns})"
        f"\n WHERE p.name = {_literal(cursor, reduction)} AND b.total IS NOT NULL"
    )


def _wide(
    cursor: Any,
    reduction: str,
    layouts: Mapping[int, RowLayout],
    merged: RowLayout,
    attributes: Sequence[tuple[str, str]],
) -> str:
    numbers = {
        f"{band}_{name}": _at(_places(layouts, band, name))
        for band in merged.bands
        for name in ("valid", "total", *merged.statistics)
    }
    for band, codes in (merged.classes or {}).items():
        for code in codes:
            places = {
                number: layout.class_places(band)[code] + 1
                for number, layout in layouts.items()
                if code in layout.class_places(band)
            }
            numbers[f"{band}_{code}"] = _at({**places, **_nowhere(layouts, places)} if places else places)
    shown = ", ".join(f"{text} AS {_name(cursor, name)}" for name, text in numbers.items())
    taken = ("zone", "time", *numbers, *_ORIGIN)
    return (
        f"SELECT z.name AS zone, a.time, {shown}, {_ORIGIN_SQL}{_shown(cursor, attributes, taken)}{_FROM}"
        f"\n WHERE p.name = {_literal(cursor, reduction)}"
    )


def _shown(cursor: Any, attributes: Sequence[tuple[str, str]], taken: Sequence[str]) -> str:
    """Columns of attributes; without those that results from before they had these names would hide."""
    known = {name.casefold() for name in taken}
    return "".join(
        f", (z.attributes->>{_literal(cursor, name)})::{kind} AS {_name(cursor, name)}"
        for name, kind in attributes
        if name.casefold() not in known
    )
