"""The schema of a database as others see it: its version, and who may use it."""

from __future__ import annotations

from typing import Any, Final

from hpckit.errors import StoreError

_OTHERS: Final = """
WITH RECURSIVE granted AS (
    SELECT nspowner AS role FROM pg_namespace WHERE nspname = %(schema)s
    UNION
    SELECT (aclexplode(nspacl)).grantee FROM pg_namespace WHERE nspname = %(schema)s
    UNION
    SELECT (aclexplode(c.relacl)).grantee
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s
), reached AS (
    SELECT role FROM granted
    UNION
    SELECT m.member FROM pg_auth_members m JOIN reached r ON r.role = m.roleid
)
SELECT r.rolname FROM reached JOIN pg_roles r ON r.oid = reached.role
 WHERE r.rolcanlogin AND r.rolname <> current_user
UNION
SELECT 'everybody' FROM granted WHERE role = 0
 ORDER BY 1
"""
"""Owner, and whoever has a privilege on the schema or a table, directly or as a member of a role."""


def schema_version(cursor: Any) -> int:
    """Version of the tables in the search path; 0 where there are none."""
    cursor.execute("SELECT to_regclass('schema_version')")
    if cursor.fetchone()[0] is None:
        return 0
    cursor.execute("SELECT COALESCE(MAX(version), 0) FROM schema_version")
    return int(cursor.fetchone()[0])


def other_users(cursor: Any, schema: str) -> tuple[str, ...]:
    """Users other than this one who may use a schema; `everybody` stands for PUBLIC."""
    cursor.execute(_OTHERS, {"schema": schema})
    return tuple(row[0] for row in cursor.fetchall())


def require_owner(cursor: Any, where: str, schema: str) -> None:
    """Make sure that this user owns the tables: an upgrade by another one would leave tables of two owners.

    Raises
    ------
    StoreError
        If another user does; the message names that user.
    """
    cursor.execute(
        "SELECT pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE'), current_user FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = 'schema_version'",
        [schema],
    )
    owner, allowed, user = cursor.fetchone()
    if not allowed:
        raise StoreError(
            f"{where}, schema {schema}: user {user} may not upgrade the tables, which belong to {owner}",
            hint=f"let {owner} run `hpckit store migrate`",
        )
