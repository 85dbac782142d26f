"""Databases that are empty, locked, or closed to a user: what passes by itself, and what a person has to do."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest

from hpckit.errors import StoreError, StoreUnavailableError
from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis
from hpckit.store.postgis_errors import _explained
from hpckit.testing.signatures import REDUCTION, zone_layer
from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.postgis]


def ask(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database(f"access_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def user(database: str) -> Iterator[str]:
    name = f"u_{uuid.uuid4().hex[:8]}"
    ask(database, f"CREATE ROLE {name} LOGIN")
    yield name
    ask(database, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def as_user(dsn: str, user: str) -> str:
    return changed(dsn, user=user)


def changed(dsn: str, **changes: str) -> str:
    parts = {**psycopg2.extensions.parse_dsn(dsn), **changes}
    return f"postgresql://{parts['user']}@/{parts['dbname']}?" + urlencode(
        {name: value for name, value in parts.items() if name not in ("user", "dbname")}
    )


def tables_in_public(dsn: str) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'spatial_ref_sys'"
    return [row[0] for row in ask(dsn, query)]


def test_an_empty_database_is_fine_where_the_user_may_fill_it(database: str) -> None:
    store = PostGis(database, f"s_{uuid.uuid4().hex[:8]}")
    assert not store.is_made()
    assert not store.is_made(), "looking makes nothing"
    store.prepare()
    assert store.is_made()
    store.close()


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        ([], "USAGE ON SCHEMA"),
        (["USAGE"], "CREATE ON SCHEMA"),
        (["CREATE"], "USAGE ON SCHEMA"),
        (None, "CREATE ON DATABASE"),
    ],
)
def test_a_missing_privilege_is_named_and_nothing_is_made_elsewhere(
    database: str, user: str, grants: list[str] | None, missing: str
) -> None:
    ask(database, "CREATE EXTENSION IF NOT EXISTS postgis", f"GRANT CREATE, USAGE ON SCHEMA public TO {user}")
    schema = f"s_{uuid.uuid4().hex[:8]}"
    if grants is not None:
        ask(database, f"CREATE SCHEMA {schema}", *(f"GRANT {right} ON SCHEMA {schema} TO {user}" for right in grants))
    before = tables_in_public(database)
    store = PostGis(as_user(database, user), schema)
    for action in (store.is_made, store.prepare):
        with pytest.raises(StoreError) as caught:
            action()
        assert caught.value.exit_code == 1
        assert missing in str(caught.value.hint) and user in str(caught.value.hint)
    store.close()
    assert tables_in_public(database) == before


def test_without_postgis_a_plain_user_is_told_what_an_administrator_does(
    postgres_server: PostgresServer, user: str
) -> None:
    dsn = postgres_server.create_database(f"bare_{uuid.uuid4().hex[:8]}")
    ask(dsn, "DROP EXTENSION IF EXISTS postgis CASCADE")
    with pytest.raises(StoreError, match="PostGIS is not in this database") as caught:
        PostGis(as_user(dsn, user), "hpckit").is_made()
    assert "CREATE EXTENSION postgis" in str(caught.value.hint)


@pytest.mark.parametrize("change", [{"dbname": "no_such_database"}, {"user": "no_such_user"}])
def test_what_never_passes_does_not_ask_to_try_again(database: str, change: dict[str, str]) -> None:
    with pytest.raises(StoreError) as caught:
        PostGis(changed(database, **change), "s").is_made()
    assert caught.value.exit_code == 1


def test_a_hung_peer_is_waited_for_not_for_ever_and_named(database: str) -> None:
    schema, told = f"s_{uuid.uuid4().hex[:8]}", list[str]()
    peer = psycopg2.connect(database, application_name="hpckit of a colleague")
    try:
        with peer.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"hpckit:{schema}"])
        store, begun = PostGis(database, schema, wait_s=1, tell=told.append), time.monotonic()
        with pytest.raises(StoreUnavailableError, match="hpckit of a colleague") as caught:
            store.prepare()
        assert caught.value.exit_code == 75
        assert str(peer.get_backend_pid()) in str(caught.value)
        assert "pg_terminate_backend" in str(caught.value.hint)
        assert time.monotonic() - begun < 20
        assert len(told) == 1 and "hpckit of a colleague" in told[0]
        store.wait_s = 30
        threading.Timer(0.5, peer.rollback).start()
        store.prepare()
        store.close()
    finally:
        peer.close()


def test_a_lock_on_rows_is_waited_for_not_for_ever(database: str) -> None:
    schema = f"s_{uuid.uuid4().hex[:8]}"
    store = PostGis(database, schema, wait_s=1)
    store.prepare()
    peer = psycopg2.connect(database, application_name="psql")
    try:
        with peer.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {schema}.reduction")
        with pytest.raises(StoreUnavailableError, match=r"another program holds a lock.*psql"):
            store.load_zones(REDUCTION, zone_layer())
    finally:
        peer.close()
    store.load_zones(REDUCTION, zone_layer())
    store.close()


class Refusal(psycopg2.OperationalError):
    """An error with a SQLSTATE of our choice."""

    def __init__(self, state: str | None, text: str) -> None:
        super().__init__(text)
        self.state = state

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self.state


@pytest.mark.parametrize(
    ("state", "text", "code"),
    [
        ("57P01", "terminating connection due to administrator command", 75),
        ("57P03", "the database system is starting up", 75),
        ("53300", "sorry, too many clients already", 75),
        ("40P01", "deadlock detected", 75),
        ("40001", "could not serialize access", 75),
        ("53100", "could not extend file: No space left on device", 75),
        ("08006", "server closed the connection unexpectedly", 75),
        (None, "connection to server failed: Connection refused", 75),
        ("42501", "permission denied for table record", 1),
        ("58P01", 'could not access file "$libdir/postgis-3"', 1),
        ("0A000", 'extension "postgis" is not available', 1),
        ("28P01", 'password authentication failed for user "me"', 1),
        (None, 'FATAL:  password authentication failed for user "me"', 1),
        (None, "fe_sendauth: no password supplied", 1),
        (None, 'FATAL:  no pg_hba.conf entry for host "10.0.0.1"', 1),
        (None, 'FATAL:  database "x" does not exist', 1),
        ("23505", "duplicate key value", 1),
    ],
)
def test_states_that_pass_and_states_that_stay(state: str | None, text: str, code: int) -> None:
    error = _explained("database x", "s", Refusal(state, text), lambda: "")
    assert error.exit_code == code
    assert text in str(error)
    assert ("PostGIS is not installed" in str(error)) is (state == "0A000")


def test_a_geopackage_that_another_writes_to_is_waited_for_with_a_word(tmp_path: Path) -> None:
    told: list[str] = []
    GeoPackage(tmp_path / "a.gpkg").prepare()
    store, peer = GeoPackage(tmp_path / "a.gpkg", 3, told.append), GeoPackage(tmp_path / "a.gpkg")
    with peer._transaction(), pytest.raises(StoreUnavailableError, match="another program is writing"):
        store.prepare()
    assert len(told) == 1
    store.prepare()
