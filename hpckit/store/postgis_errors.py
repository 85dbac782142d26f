"""What PostgreSQL's refusals mean to a person, and whether they may pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from hpckit.base.distribution import pip_install
from hpckit.errors import StoreError, StoreUnavailableError

_REASONS: Final = {
    "42501": ("this user lacks a privilege", "let the owner of the database grant it, or use a user who has it"),
    "25006": ("the database is read-only", "connect to the primary server, not to a standby"),
    "58P01": (
        "the server misses a file, or has a damaged one",
        "let its administrator look at the installation: of PostGIS, if the file is one of its libraries",
    ),
    "42P01": ("there are no tables of hpckit", "`hpckit sync` makes them"),
    "3F000": ("there is no such schema", "`hpckit sync` makes it"),
    "3D000": ("there is no such database", "create it, or set `store.dsn` to one that is there"),
    "28P01": ("the server does not accept user and password", "look at the user in `store.dsn`, and at ~/.pgpass"),
    "28000": (
        "the server does not let this user in",
        "look at the user in `store.dsn`; an administrator can allow it",
    ),
}
"""Failures that stay, by SQLSTATE."""

_PASSING_REASONS: Final = {
    "53100": ("the server's disk is full", "make room there, then `hpckit sync` continues"),
    "55P03": ("another program holds a lock", "wait for it, or let an administrator end it; `hpckit sync` continues"),
}

_PASSING: Final = ("08", "53", "55", "57", "40")
"""Classes of SQLSTATE of failures that may pass: connection, resources, locks, operator, rollback."""

_AT_LOGIN: Final = (
    (r"authentication failed|no password supplied|password retrieved", "28P01"),
    (r'database "[^"]*" does not exist', "3D000"),
    (r'role "[^"]*" (does not exist|is not permitted)|no pg_hba\.conf entry|pg_hba\.conf rejects', "28000"),
    (r"permission denied for database", "42501"),
    (r"server does not support SSL|requires? SSL|certificate verify failed|root certificate file", "28000"),
)
"""What the server says of logins that it will never accept: libpq hands out no SQLSTATE before there is a session."""

NO_POSTGIS: Final = "install the package postgis of that PostgreSQL version"


def import_psycopg2() -> ModuleType:
    """Import psycopg2.

    Raises
    ------
    StoreError
        If it is not installed.
    """
    try:
        import psycopg2
    except ImportError as error:
        raise StoreError("psycopg2 is not installed", hint=pip_install("postgis")) from error
    return psycopg2


@contextmanager
def explained(where: str, schema: str, after: Callable[[], None], who: Callable[[], str]) -> Iterator[None]:
    """Turn psycopg2's errors into ours; `after` is called before, `who` says who holds a lock.

    Raises
    ------
    StoreUnavailableError
        For failures that may pass: no connection, server stopped, out of resources, a lock.
    StoreError
        For others.
    """
    psycopg2 = import_psycopg2()
    try:
        yield
    except psycopg2.Error as error:
        after()
        raise _explained(where, schema, error, who) from None
    except ValueError as error:
        # psycopg2's complaint about NUL in text.
        if "NUL" not in str(error):
            raise
        raise StoreError(f"{where}: {error}") from None


def _explained(where: str, schema: str, error: Any, who: Callable[[], str]) -> StoreError:
    psycopg2 = import_psycopg2()
    detail = " ".join(str(error).strip().splitlines()[:1]) or type(error).__name__
    # A connection that ends in the middle of an answer is a plain DatabaseError without a SQLSTATE.
    lost = type(error) is psycopg2.DatabaseError and error.pgcode is None
    broken = lost or isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError))
    state = error.pgcode or (_said_at_login(str(error)) if broken else "")
    if state == "0A000" and "postgis" in detail.lower():
        return StoreError(f"{where}: PostGIS is not installed on the server: {detail}", hint=NO_POSTGIS)
    if state in _REASONS:
        reason, hint = _REASONS[state]
        return StoreError(f"{where}, schema {schema}: {reason}: {detail}", hint=hint)
    if state in _PASSING_REASONS:
        reason, hint = _PASSING_REASONS[state]
        said = who() if state == "55P03" else detail
        return StoreUnavailableError(f"{where}, schema {schema}: {reason}: {said}", hint=hint)
    if not state and broken:
        return StoreUnavailableError(
            f"{where} cannot be reached, or broke off: {detail}",
            hint="the results are safe in the spool; `hpckit sync` loads them later",
        )
    if state.startswith(_PASSING):
        return StoreUnavailableError(f"{where}: {detail}", hint="`hpckit sync` tries again")
    return StoreError(f"{where}, schema {schema}: {detail}")


def _said_at_login(text: str) -> str:
    return next((state for words, state in _AT_LOGIN if re.search(words, text)), "")
