"""What PostgreSQL's refusals mean to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from hpckit.errors import StoreError, StoreUnavailableError

_REASONS: Final = {
    "42501": ("this user lacks a privilege", "let the owner of the database grant it, or use a user who has it"),
    "25006": ("the database is read-only", "connect to the primary server, not to a standby"),
    "53100": ("the server's disk is full", "make room there, then `hpckit sync` goes on"),
    "0A000": ("PostGIS is not installed on the server", "install the package postgis of that PostgreSQL version"),
    "58P01": ("PostGIS is not installed on the server", "install the package postgis of that PostgreSQL version"),
    "42P01": ("there are no tables of hpckit", "`hpckit sync` makes them"),
    "3F000": ("there is no such schema", "`hpckit sync` makes it"),
}
"""By SQLSTATE."""

_PASSING: Final = ("08", "53", "55", "57", "40")
"""Classes of SQLSTATE of failures that may pass: connection, resources, locks, operator, rollback."""


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
        raise StoreError("psycopg2 is not installed", hint="pip install 'hpckit[postgis]'") from error
    return psycopg2


@contextmanager
def explained(where: str, schema: str, after: Callable[[], None]) -> Iterator[None]:
    """Turn psycopg2's errors into ours; `after` is called before.

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
        state = error.pgcode or ""
        detail = " ".join(str(error).strip().splitlines()[:1]) or type(error).__name__
        if state in _REASONS:
            reason, hint = _REASONS[state]
            raise StoreError(f"{where}, schema {schema}: {reason}: {detail}", hint=hint) from None
        if not state and isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)):
            raise StoreUnavailableError(
                f"{where} cannot be reached, or broke off: {detail}",
                hint="what was computed is safe in the spool; `hpckit sync` loads it later",
            ) from None
        if state.startswith(_PASSING):
            raise StoreUnavailableError(f"{where}: {detail}", hint="`hpckit sync` tries again") from None
        raise StoreError(f"{where}, schema {schema}: {detail}") from error
    except ValueError as error:
        # psycopg2's complaint about NUL in text.
        if "NUL" not in str(error):
            raise
        raise StoreError(f"{where}: {error}") from None
