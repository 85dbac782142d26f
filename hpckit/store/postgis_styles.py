"""The table `layer_styles` of a database, as QGIS makes and reads it: our rows in it, and nobody else's.

QGIS looks for one table in the search path, usually `public.layer_styles`. It holds the styles of all schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hpckit.store.styles import LayerStyle, StyleRow, changes, latest_styles, zone_styles

_MAKE: Final = """
CREATE TABLE public.layer_styles (
    id serial PRIMARY KEY,
    f_table_catalog varchar,
    f_table_schema varchar,
    f_table_name varchar,
    f_geometry_column varchar,
    stylename text,
    styleqml xml,
    stylesld xml,
    useasdefault boolean,
    description text,
    owner varchar(63) DEFAULT CURRENT_USER,
    ui xml,
    update_time timestamp DEFAULT CURRENT_TIMESTAMP,
    type varchar
)
"""
_NEEDED: Final = frozenset(
    ("f_table_catalog", "f_table_schema", "f_table_name", "f_geometry_column", "stylename", "styleqml")
) | {"useasdefault", "description", "update_time"}
_FOUND: Final = """
SELECT array_agg(a.attname::text),
       has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname = 'public' AND c.relname = 'layer_styles' GROUP BY c.oid
"""
_OF_LAYER: Final = (
    "f_table_catalog = current_database() AND f_table_schema = %s AND f_table_name = %s"
    " AND f_geometry_column = 'geom'"
)
_ROWS: Final = (
    "SELECT id, stylename, useasdefault, description, styleqml::text FROM public.layer_styles"  # noqa: S608 -- constant
    f" WHERE {_OF_LAYER} ORDER BY id"
)
_INSERT: Final = (
    "INSERT INTO public.layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, stylename,"
    " styleqml, useasdefault, description)"
    " VALUES (current_database(), %s, %s, 'geom', %s, XMLPARSE(DOCUMENT %s), %s, %s)"
)
_UPDATE: Final = (
    "UPDATE public.layer_styles SET styleqml = XMLPARSE(DOCUMENT %s), description = %s, useasdefault = %s,"
    " update_time = CURRENT_TIMESTAMP WHERE id = %s"
)
_CROPS: Final = "SELECT crop, count(*) FROM zone WHERE crop <> '' GROUP BY crop"


def put_styles(cursor: Any, schema: str, tell: Callable[[str], None] = lambda text: None) -> None:
    """Make our styles of a schema those that fit it now; a person's stay.

    Parameters
    ----------
    tell : callable
        Called with the reason where styles cannot be kept.
    """
    import psycopg2

    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('hpckit:layer_styles'))")
    fault = _why_not(cursor)
    if not fault:
        cursor.execute("SAVEPOINT styles")
        try:
            _put(cursor, schema)
        except psycopg2.Error as error:  # a table with other rules than that of QGIS
            cursor.execute("ROLLBACK TO SAVEPOINT styles")
            fault = (error.diag.message_primary or str(error)).strip()
    if fault:
        tell(f"layer styles for QGIS are left out: {fault}")


def lacks_styles(cursor: Any, schema: str) -> bool:
    """Whether the database has no style of this schema."""
    cursor.execute(_FOUND)
    row = cursor.fetchone()
    if row is None or not row[1] or not set(row[0]) >= _NEEDED:
        return row is None
    cursor.execute("SELECT 1 FROM public.layer_styles WHERE f_table_schema = %s LIMIT 1", [schema])
    return cursor.fetchone() is None


def _why_not(cursor: Any) -> str:
    """Make the table if it is missing; why this user may not write in it, or nothing."""
    cursor.execute(_FOUND)
    row = cursor.fetchone()
    if row is not None:
        columns, may_write = row
        is_usable = may_write and set(columns) >= _NEEDED
        return "" if is_usable else "this user may not write to the table public.layer_styles of the database"
    cursor.execute("SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'")
    may = cursor.fetchone()
    if may is None or not may[0]:
        return "this user may not create the table public.layer_styles in the database"
    cursor.execute(_MAKE)
    # Without it, QGIS would report an error to everybody who opens a layer of the database.
    cursor.execute("GRANT SELECT ON public.layer_styles TO PUBLIC")
    return ""


def _put(cursor: Any, schema: str) -> None:
    cursor.execute(_CROPS)
    for layer, styles in _wanted(dict(cursor.fetchall())).items():
        cursor.execute(_ROWS, [schema, layer])
        todo = changes([StyleRow(*row) for row in cursor.fetchall()], styles)
        for number in todo.removed:
            cursor.execute("DELETE FROM public.layer_styles WHERE id = %s", [number])
        for number, style, default in todo.changed:
            cursor.execute(_UPDATE, [style.qml, style.description, default, number])
        for style, default in todo.added:
            cursor.execute(_INSERT, [schema, layer, style.name, style.qml, default, style.description])


def _wanted(crops: Mapping[str, int]) -> dict[str, list[LayerStyle]]:
    return {"zone": zone_styles("zone", crops, "name"), "latest": latest_styles("latest", "ndvi")}
