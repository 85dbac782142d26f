"""What results are loaded with: SQLite for GeoPackages, psycopg2 for PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.util import find_spec

from hpckit.base.distribution import pip_install
from hpckit.base.findings import Finding


def examine() -> Iterator[Finding]:
    """SQLite with R-trees, and the driver of PostGIS."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE t USING rtree(id, a, b)")
    except sqlite3.OperationalError as error:
        remedy = "use a Python whose SQLite has R-trees, or PostgreSQL as the store"
        yield Finding("SQLite", False, f"{sqlite3.sqlite_version}: {error}", remedy)
    else:
        yield Finding("SQLite", True, f"{sqlite3.sqlite_version}, with R-trees")
    finally:
        connection.close()
    if find_spec("psycopg2") is None:
        says, remedy = "not installed: no store in PostgreSQL", f"`{pip_install('postgis')}`"
        yield Finding("PostGIS driver", None, says, remedy, needed=False)
        return
    try:
        import psycopg2
    except ImportError as error:
        remedy = f"`{pip_install('postgis')}`, whose wheel contains the client library"
        yield Finding("PostGIS driver", False, f"psycopg2 cannot be imported: {error}", remedy, needed=False)
        return
    yield Finding("PostGIS driver", True, f"psycopg2, libpq {psycopg2.__libpq_version__}", needed=False)
