"""Upgrades of stores that others use: an older schema is made with the real scripts, in a real PostgreSQL."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner

from hpckit.cli import cli
from hpckit.errors import StoreError
from hpckit.store import postgis
from hpckit.store.geopackage import GeoPackage
from hpckit.store.migrations import migrations
from hpckit.store.owner import StoreOwner
from hpckit.store.postgis import PostGis
from hpckit.store.upgrade import migrate, require_asked, state_of
from hpckit.testing.signatures import REDUCTION, zone_layer
from tests.integration.test_store_access import as_user, ask

pytestmark = [pytest.mark.integration, pytest.mark.postgis]
MINE = StoreOwner("wheat", "run-1", "host:/a/wheat.yaml")
OTHER = StoreOwner("maize", "run-2", "host:/b/maize.yaml")


@pytest.fixture
def older(postgis_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A schema one version before the newest, with a reduction of ours."""
    schema, known = f"u_{uuid.uuid4().hex[:10]}", migrations("postgis")
    with monkeypatch.context() as patch:
        patch.setattr(postgis, "migrations", lambda kind: known[:-1])
        store = PostGis(postgis_dsn, schema)
        store.prepare()
        store.load_zones(REDUCTION, zone_layer(), MINE)
        store.close()
    made = PostGis(postgis_dsn, schema)
    yield made
    made.close()
    ask(postgis_dsn, f"DROP SCHEMA {schema} CASCADE")


def test_a_store_of_one_campaign_alone_is_upgraded_unasked(older: PostGis) -> None:
    state = state_of(older)
    assert (state.version, state.is_older, state.campaigns, state.users) == (older.newest - 1, True, ("wheat",), ())
    require_asked(older, MINE)
    older.prepare()
    assert older.version() == older.newest and older.layers().keys() == {REDUCTION}


def test_another_campaign_is_asked_for_and_the_results_stay(older: PostGis) -> None:
    older.load_zones("other", zone_layer(), OTHER)
    with pytest.raises(StoreError, match="and campaign maize use them too") as caught:
        require_asked(older, MINE)
    assert "hpckit store migrate" in str(caught.value.hint)
    assert older.version() == older.newest - 1
    assert migrate(older).version == older.newest
    assert older.layers().keys() == {REDUCTION, "other"}
    require_asked(older, MINE)


@pytest.mark.parametrize("way", ["table", "role", "public"])
def test_another_user_is_asked_for(older: PostGis, postgis_dsn: str, way: str) -> None:
    user, role = f"v_{uuid.uuid4().hex[:8]}", f"{older.schema}_reader"
    ask(postgis_dsn, f"CREATE ROLE {user} LOGIN")
    grant = {
        "table": f"GRANT SELECT ON {older.schema}.zone TO {user}",
        "role": f"GRANT {role} TO {user}",
        "public": f"GRANT USAGE ON SCHEMA {older.schema} TO PUBLIC",
    }[way]
    try:
        ask(postgis_dsn, grant)
        named = "everybody" if way == "public" else user
        with pytest.raises(StoreError, match=f"user {named} use them too"):
            require_asked(older, MINE)
        done = CliRunner().invoke(cli, ["store", "migrate", "--dsn", postgis_dsn, "--schema", older.schema])
        assert done.exit_code == 2 and "give --yes" in done.output and older.version() == older.newest - 1
        done = CliRunner().invoke(cli, ["store", "migrate", "--dsn", postgis_dsn, "--schema", older.schema, "--yes"])
        assert done.exit_code == 0 and older.version() == older.newest
    finally:
        ask(postgis_dsn, f"DROP OWNED BY {user} CASCADE", f"DROP ROLE {user}")


def test_who_may_not_change_the_tables_is_told_and_nothing_changes(older: PostGis, postgis_dsn: str) -> None:
    user = f"w_{uuid.uuid4().hex[:8]}"
    every = f"ALL TABLES IN SCHEMA {older.schema}"
    ask(postgis_dsn, f"CREATE ROLE {user} LOGIN", f"GRANT ALL ON SCHEMA {older.schema} TO {user}")
    ask(postgis_dsn, f"GRANT ALL ON {every} TO {user}")
    store = PostGis(as_user(postgis_dsn, user), older.schema)
    try:
        with pytest.raises(StoreError, match=f"user {user} may not upgrade the tables, which belong to"):
            migrate(store)
        assert older.version() == older.newest - 1
    finally:
        store.close()
        ask(postgis_dsn, f"DROP OWNED BY {user} CASCADE", f"DROP ROLE {user}")


def test_a_newer_schema_is_refused_and_a_missing_one_is_not_made(older: PostGis, postgis_dsn: str) -> None:
    ask(postgis_dsn, f"INSERT INTO {older.schema}.schema_version VALUES (99, now(), 'x')")
    with pytest.raises(StoreError, match="is version 99, this hpckit knows up to") as caught:
        migrate(older)
    assert "newer hpckit" in str(caught.value.hint)
    nowhere = PostGis(postgis_dsn, f"n_{uuid.uuid4().hex[:8]}")
    with pytest.raises(StoreError, match="there are no tables of hpckit"):
        migrate(nowhere)
    assert not nowhere.is_made()
    nowhere.close()


def test_a_geopackage_of_two_campaigns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, known = tmp_path / "store.gpkg", migrations("geopackage")
    with monkeypatch.context() as patch:
        patch.setattr("hpckit.store.geopackage.migrations", lambda kind: known[:-1])
        old = GeoPackage(path)
        old.prepare()
        old.close()
    with sqlite3.connect(path) as db:
        columns = "name, zones_digest, zones, campaign, run_id, place"
        insert = f"INSERT INTO hpckit_reduction ({columns}) VALUES (?, '', 0, ?, ?, ?)"
        for name, owner in ((REDUCTION, MINE), ("other", OTHER)):
            db.execute(insert, [name, owner.campaign, owner.run_id, owner.place])
    store = GeoPackage(path)
    with pytest.raises(StoreError, match=r"store\.gpkg: its tables are version \d+.*campaign maize"):
        require_asked(store, MINE)
    assert migrate(store).version == store.newest
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT MAX(version) FROM hpckit_schema").fetchone() == (len(known),)


def test_neither_or_both_stores_are_named(tmp_path: Path) -> None:
    for words in (["show"], ["migrate"], ["show", str(tmp_path), "--dsn", "postgresql://x@y/z"]):
        done = CliRunner().invoke(cli, ["store", *words])
        assert done.exit_code == 2 and "name a campaign file, or give --dsn" in done.output


def test_the_database_is_shown_without_its_password(older: PostGis, postgis_dsn: str) -> None:
    done = CliRunner().invoke(cli, ["store", "show", "--dsn", postgis_dsn, "--schema", older.schema])
    assert done.exit_code == 0 and f"schema {older.schema}" in done.output and "campaigns: wheat" in done.output
    assert psycopg2.extensions.parse_dsn(postgis_dsn)["dbname"] in done.output
