"""Passwords where none may stand: in campaign and site files, which people share, copy and commit.

A password is looked for in every spelling that libpq reads, and by its own parser where it is installed. Nothing here
repeats what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

Location = tuple[str | int, ...]

_POSTGRES: Final = re.compile(r"^\s*postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_SECRET_OPTIONS: Final = frozenset(
    ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
)
_WORD: Final = r"(?:pg|ssl)?(?:password|passwd|pwd)"
_SECRET_FIELD: Final = re.compile(rf"(?:^|.*_)(?:{_WORD}|secret|secret_access_key)", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    rf"(?<![a-z])(?:{_WORD}|oauth_client_secret|secret_access_key)\s*=\s*['\"]?[^\s'\"$&<{{]", re.IGNORECASE
)
"""`password=x`; not what a shell looks up, `PGPASSWORD=$(cat …)`."""
_IN_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@'\"]*:[^\s/@'\"]+@(?!sha256:)", re.IGNORECASE)
_PORTS: Final = re.compile(r"[\d,]*")


def find_secret(value: Any, location: Location = ()) -> Location | None:
    """Where a password stands in the plain values of a document; None if nowhere."""
    return next(_secrets(value, location), None)


def check_dsn(dsn: str) -> None:
    """Require `postgresql://user@host/database` of parts that cannot be misread.

    Raises
    ------
    ValueError
        If it is something else; the message does not repeat it.
    """
    if not re.match(r"postgres(ql)?://", dsn) or re.search(r"[\s\\\x00-\x1f]", dsn):
        raise ValueError("dsn must look like postgresql://user@host/database")
    authority = re.split(r"[/?]", _POSTGRES.sub("", dsn), maxsplit=1)[0]
    if dsn.count("@") > authority.count("@") or authority.count("@") > 1:
        raise ValueError("dsn has an @ that is no end of a user's name; write it as %40, and / as %2F")
    options = _libpq(dsn)
    if options is None:
        raise ValueError(
            "dsn is no URL that PostgreSQL's client reads; it looks like postgresql://user@host/database"
        )
    if not _PORTS.fullmatch(options.get("port") or ""):
        raise ValueError("the port in dsn is no number")


def _secrets(value: Any, location: Location) -> Iterator[Location]:
    if isinstance(value, dict):
        for name, inner in value.items():
            named = _SECRET_FIELD.fullmatch(str(name)) and isinstance(inner, (str, int, float))
            if named and inner != "" and not str(inner).startswith("$"):
                yield (*location, name)
            yield from _secrets(inner, (*location, name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _secrets(inner, (*location, position))
    elif isinstance(value, str) and _holds_secret(value):
        yield location


def _holds_secret(text: str) -> bool:
    spelt = unquote(unquote(text))
    if any(_ASSIGNED.search(form) or _IN_URL.search(form) for form in (text, spelt)):
        return True
    return bool(_POSTGRES.match(text)) and (_has_secret_option(text) or _has_password(text))


def _has_password(dsn: str) -> bool:
    """Whether something like `user:password@` stands before the last @, whatever characters it is made of."""
    before, at, _ = _POSTGRES.sub("", dsn).rpartition("@")
    return bool(at) and not unquote(before).endswith(":") and ":" in unquote(before)


def _has_secret_option(dsn: str) -> bool:
    query = dsn.partition("?")[2]
    names = {unquote(part.partition("=")[0]).lower() for part in query.split("&")}
    return bool(_SECRET_OPTIONS & (names | {name for name, value in (_libpq(dsn) or {}).items() if value}))


def _libpq(dsn: str) -> dict[str, str] | None:
    """The options as libpq reads them; none of them where it is not installed, None where it reads none."""
    try:
        from psycopg2 import ProgrammingError
        from psycopg2.extensions import parse_dsn
    except ImportError:
        return {}
    try:
        return dict(parse_dsn(dsn))
    except (ProgrammingError, ValueError):
        return None
