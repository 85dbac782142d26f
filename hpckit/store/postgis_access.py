"""What a user may do in a database, who stands in the way, and how long to wait for that one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from hpckit.errors import StoreError, StoreUnavailableError
from hpckit.store.postgis_errors import NO_POSTGIS

_LOOK_S: Final = 1.0
_SESSION: Final = (
    "SET tcp_keepalives_idle = 60",
    "SET tcp_keepalives_interval = 15",
    "SET tcp_keepalives_count = 4",
    "SET idle_in_transaction_session_timeout = '15min'",
)
"""So that the server ends this session, and gives its locks back, where this machine dies or hangs."""

_HOLDER: Final = """
SELECT a.pid, a.usename, a.application_name, COALESCE(a.client_hostname, host(a.client_addr), 'the server itself'),
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS TZ')
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtext(%s)::bigint
"""
_IN_WORK: Final = """
SELECT a.pid, a.usename, a.application_name, COALESCE(a.client_hostname, host(a.client_addr), 'the server itself'),
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS TZ')
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
 ORDER BY a.xact_start LIMIT 1
"""


def set_up(cursor: Any, wait_s: float) -> None:
    """Bound what a session waits for, and what others have to wait for it."""
    for statement in _SESSION:
        cursor.execute("SAVEPOINT setting")
        try:
            cursor.execute(statement)
        except Exception:  # a server, or a pooler before it, that does not know the setting
            cursor.execute("ROLLBACK TO SAVEPOINT setting")
    cursor.execute("SET lock_timeout = %s", [f"{max(1, round(1000 * wait_s))}ms"])


def take_lock(cursor: Any, name: str, wait_s: float, tell: Callable[[str], None]) -> None:
    """Take an advisory lock until the transaction ends; say who has it while waiting.

    Raises
    ------
    StoreUnavailableError
        If it is not given back in time.
    """
    limit, told = time.monotonic() + wait_s, False
    while True:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [name])
        if cursor.fetchone()[0]:
            return
        cursor.execute(_HOLDER, [name])
        who = _describe(cursor.fetchone())
        if time.monotonic() > limit:
            raise StoreUnavailableError(
                f"the lock of {name} was not released within {wait_s:.0f} s by {who}",
                hint="wait for that program; if it hangs, its user or an administrator ends it with "
                "`SELECT pg_terminate_backend(PROCESS)`; then `hpckit sync` continues",
            )
        if not told:
            tell(f"waiting, up to {wait_s:.0f} s, for {who}")
            told = True
        time.sleep(min(_LOOK_S, wait_s / 4))


def in_work(cursor: Any) -> str:
    """Who has had a transaction open for longest: whoever holds a lock is among them."""
    cursor.execute(_IN_WORK)
    return _describe(cursor.fetchone())


def _describe(row: tuple[Any, ...] | None) -> str:
    if row is None:
        return "a session that has ended since"
    pid, user, application, host, since = row
    return f"server process {pid} ({application or 'unnamed program'} of {user} on {host}, since {since})"


def require_access(cursor: Any, where: str, schema: str) -> bool:
    """Make sure that the schema can be used, or be made; whether its tables are there.

    Raises
    ------
    StoreError
        If a privilege is missing; the message says which.
    """
    cursor.execute("SELECT current_user, current_database(), to_regnamespace(quote_ident(%s))::oid", [schema])
    user, database, number = cursor.fetchone()
    if number is None:
        cursor.execute("SELECT has_database_privilege(current_database(), 'CREATE')")
        _require(
            cursor, f"{where}: user {user} may not create the schema {schema}", f"CREATE ON DATABASE {database}", user
        )
        return False
    cursor.execute("SELECT has_schema_privilege(%s::oid, 'USAGE')", [number])
    _require(cursor, f"{where}: user {user} may not use the schema {schema}", f"USAGE ON SCHEMA {schema}", user)
    cursor.execute("SELECT 1 FROM pg_class WHERE relnamespace = %s AND relname = 'schema_version'", [number])
    if cursor.fetchone() is not None:
        return True
    cursor.execute("SELECT has_schema_privilege(%s::oid, 'CREATE')", [number])
    _require(
        cursor, f"{where}: user {user} may not make tables in the schema {schema}", f"CREATE ON SCHEMA {schema}", user
    )
    return False


def _require(cursor: Any, fault: str, privilege: str, user: str) -> None:
    if not cursor.fetchone()[0]:
        raise StoreError(fault, hint=f"let its owner run `GRANT {privilege} TO {user}`")


def require_postgis(cursor: Any, where: str) -> bool:
    """Make sure that PostGIS is in the database, or can be made in it; whether it is there.

    Raises
    ------
    StoreError
        If it is not installed on the server, or the user may not make it.
    """
    cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'postgis'")
    if cursor.fetchone() is not None:
        return True
    cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'")
    if cursor.fetchone() is None:
        raise StoreError(f"{where}: PostGIS is not installed on the server", hint=NO_POSTGIS)
    cursor.execute(
        "SELECT rolsuper OR (has_database_privilege(current_database(), 'CREATE') AND EXISTS"
        " (SELECT 1 FROM pg_available_extension_versions WHERE name = 'postgis' AND trusted))"
        " FROM pg_roles WHERE rolname = current_user"
    )
    if not cursor.fetchone()[0]:
        raise StoreError(
            f"{where}: PostGIS is not in this database, and this user may not make it",
            hint="let an administrator run `CREATE EXTENSION postgis` in it, once",
        )
    return False
