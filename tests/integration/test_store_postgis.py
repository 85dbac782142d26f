"""PostgreSQL's own matters: schema, roles, plans, JRC's shapes, and what goes wrong with servers."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import psycopg2.errors
import pytest

from hpckit.errors import StoreError, StoreUnavailableError
from hpckit.reduce.signatures.spool import Segment
from hpckit.store import copy
from hpckit.store.postgis import PostGis
from hpckit.testing.signatures import REDUCTION, batch, segment, zone_layer
from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.postgis]

LAYER = zone_layer()


@pytest.fixture
def sealed(tmp_path: Path) -> Segment:
    folder = tmp_path / "spool"
    folder.mkdir()
    return segment(folder, [batch(0), batch(1, empty=[2])], LAYER)


@pytest.fixture
def store(postgis_dsn: str) -> Iterator[PostGis]:
    made = PostGis(postgis_dsn, f"t_{uuid.uuid4().hex[:12]}")
    made.prepare()
    made.load_zones(REDUCTION, LAYER)
    yield made
    made.close()
    ask(postgis_dsn, f"DROP SCHEMA {made.schema} CASCADE", fetch=False)
    ask(postgis_dsn, f"DROP ROLE IF EXISTS {made.schema}_reader", fetch=False)


def ask(dsn: str, query: str, values: Any = (), *, fetch: bool = True) -> list[tuple[Any, ...]]:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchall() if fetch else []


def test_everything_has_a_comment(store: PostGis) -> None:
    lacking = """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0
         WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'v') AND NOT a.attisdropped
           AND col_description(c.oid, a.attnum) IS NULL
        UNION ALL
        SELECT c.relname, '' FROM pg_class c
         WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'v') AND obj_description(c.oid) IS NULL"""
    assert ask(store.dsn, lacking, [store.schema, store.schema]) == []
    assert ask(store.dsn, f"SELECT COUNT(*) FROM {store.schema}.schema_version") == [(9,)]


def test_reader_reads_and_cannot_write(store: PostGis, sealed: Segment) -> None:
    store.load_segment(sealed)
    with psycopg2.connect(store.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {store.schema}_reader")
        cursor.execute(f"SELECT COUNT(*) FROM {store.schema}.signature")
        assert cursor.fetchone() == (48,)
        cursor.execute(f"SELECT COUNT(*) FROM {store.schema}.sigs")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(f"DELETE FROM {store.schema}.record")


def test_view_signature(store: PostGis, sealed: Segment) -> None:
    store.load_segment(sealed)
    rows = ask(
        store.dsn,
        f"SELECT mean, p75, valid_fraction, baseline, relative_orbit, run_id FROM {store.schema}.signature"
        " WHERE zone = %s AND band = 'NDVI' ORDER BY time",
        [LAYER.ids[2]],
    )
    made = sealed.batches[0]
    assert np.float32(rows[0][0]) == made.values[2, 2, 0]
    assert np.float32(rows[0][1]) == made.values[2, 2, 6]
    assert rows[0][2] == pytest.approx(made.valid[2, 2] / made.total[2, 2])
    assert rows[0][3:] == ("05.10", 51, "run-1")
    assert rows[1][:3] == (None, None, 0), "no valid pixel"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT mean FROM {}.signature WHERE reduction = 'parcels' AND zone = '77' AND band = 'NDVI'",
        "SELECT mean FROM {}.signature WHERE zone = '77' AND band = 'NDVI'",
        "SELECT mean FROM {}.sigs WHERE pid = 77 AND band = 'B04'",
        "SELECT hist FROM {}.hists WHERE pid = 77",
        "SELECT pixels FROM {}.class_count WHERE zone = '77'",
    ],
)
def test_plans_of_a_zone_take_the_key(store: PostGis, tmp_path: Path, query: str) -> None:
    """Without statistics of the tables, as after the first load, too."""
    layer = zone_layer([str(number) for number in range(2000)])
    store.load_zones(REDUCTION, layer)
    store.load_segment(segment(tmp_path, [batch(number, range(2000)) for number in range(10)], layer))
    plan = "\n".join(row[0] for row in ask(store.dsn, "EXPLAIN " + query.format(store.schema)))
    assert "record_pkey" in plan
    assert "Index Cond: ((acquisition = " in plan
    assert "Seq Scan on record" not in plan


@pytest.mark.parametrize(
    ("platform", "level", "sensor", "card"),
    [
        ("S2C", "L1C", "2C", "s2"), ("S1A", "GRD", "1A", "bs"), ("S1C", "CARD-BS", "1C", "bs"),
        ("S1B", "CARD-COH6", "1B", "c6"), ("S1A", "NRB", "1A", "bs"),
    ],
)  # fmt: skip
def test_jrc_kinds_of_data(
    store: PostGis, sealed: Segment, platform: str, level: str, sensor: str, card: str
) -> None:
    store.load_segment(sealed)
    name = store.schema
    ask(store.dsn, f"UPDATE {name}.acquisition SET platform = %s, level = %s", [platform, level], fetch=False)
    assert ask(store.dsn, f"SELECT DISTINCT sensor, card FROM {name}.dias_catalogue") == [(sensor, card)]


def test_jrc_shapes(store: PostGis, sealed: Segment) -> None:
    store.load_segment(sealed)
    made, name = sealed.batches[0], store.schema
    catalogue = ask(store.dsn, f"SELECT * FROM {name}.dias_catalogue ORDER BY obstime")
    obsid, obstime, reference, sensor, card, status, footprint = catalogue[0]
    assert obstime == datetime(2024, 3, 1, 10, 30, 31, 24000)
    assert (reference, sensor, card, status) == ("S2A_MSIL2A_0", "2A", "s2", "extracted")
    assert ask(store.dsn, "SELECT ST_AsText(%s::public.geometry)", [footprint]) == [
        ("POLYGON((2 45,3 45,3 46,2 46,2 45))",)
    ]
    ((pid, area),) = ask(
        store.dsn,
        f"SELECT ogc_fid, ST_Area(ST_Transform(wkb_geometry, 32631)) FROM {name}.parcels WHERE pid = %s",
        [LAYER.ids[0]],
    )
    assert area == pytest.approx(10_000, rel=1e-6)
    query = f"SELECT band, count, mean, std, min, max, p25, p50, p75 FROM {name}.sigs"
    sigs = ask(store.dsn, f"{query} WHERE pid = %s AND obsid = %s ORDER BY band", [pid, obsid])
    assert [row[0] for row in sigs] == ["B04", "B08@60m", "NDVI"]
    np.testing.assert_allclose(sigs[0][1:], [made.valid[0, 0], *(made.values[0, 0] * 1e4)], rtol=1e-5)
    np.testing.assert_allclose(sigs[2][1:], [made.valid[0, 2], *made.values[0, 2]], rtol=1e-5)
    assert len(ask(store.dsn, f"SELECT 1 FROM {name}.sigs")) == 48 - 3, "rows with valid pixels only"
    ((hist,),) = ask(store.dsn, f"SELECT hist FROM {name}.hists WHERE pid = %s AND obsid = %s", [pid, obsid])
    codes, counts = made.classes["SCL"]
    assert hist == {str(code): int(n) for code, n in zip(codes, counts[0], strict=True) if n}


def test_odd_schema_name(postgis_dsn: str, sealed: Segment) -> None:
    store = PostGis(postgis_dsn, 'odd "name"; DROP TABLE x')
    try:
        store.prepare()
        store.load_zones(REDUCTION, LAYER)
        assert store.load_segment(sealed) == 16
        assert len(store.series(REDUCTION, LAYER.ids[0])) == 6
    finally:
        store.close()
        ask(postgis_dsn, 'DROP SCHEMA IF EXISTS "odd ""name""; DROP TABLE x" CASCADE', fetch=False)


def test_newer_schema(store: PostGis) -> None:
    ask(store.dsn, f"INSERT INTO {store.schema}.schema_version VALUES (99, now(), 'x')", fetch=False)
    with pytest.raises(StoreError, match="version 99"):
        store.prepare()


def test_two_programs_prepare_at_once(postgis_dsn: str) -> None:
    schema, errors = f"t_{uuid.uuid4().hex[:12]}", []

    def work() -> None:
        try:
            PostGis(postgis_dsn, schema).prepare()
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    ask(postgis_dsn, f"DROP SCHEMA {schema} CASCADE", fetch=False)


def test_nothing_there_yet(postgis_dsn: str) -> None:
    store = PostGis(postgis_dsn, "nowhere")
    with pytest.raises(StoreError, match="no tables of hpckit") as caught:
        store.series(REDUCTION, "1")
    assert "hpckit sync" in str(caught.value.hint)
    store.close()


def test_unreachable_and_password_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    with pytest.raises(StoreUnavailableError, match="database crops on 127") as caught:
        PostGis("postgresql://me:geheim@127.0.0.1:1/crops").prepare()
    assert caught.value.exit_code == 75
    assert "s3cret" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_malformed_dsn() -> None:
    with pytest.raises(StoreError):
        PostGis("postgresql://[").prepare()


def test_read_only_database(store: PostGis, sealed: Segment) -> None:
    read_only = PostGis(f"{store.dsn}&options=-c%20default_transaction_read_only%3Don", store.schema)
    with pytest.raises(StoreError, match="read-only"):
        read_only.load_segment(sealed)
    read_only.close()
    assert store.load_segment(sealed) == 16


def test_user_without_privileges(postgres_server: PostgresServer, store: PostGis, sealed: Segment) -> None:
    user = f"u_{uuid.uuid4().hex[:8]}"
    ask(store.dsn, f"CREATE ROLE {user} LOGIN; GRANT {store.schema}_reader TO {user}", fetch=False)
    reader = PostGis(postgres_server.dsn(user=user), store.schema)
    assert reader.series(REDUCTION, LAYER.ids[0]).empty
    with pytest.raises(StoreError, match="privilege"):
        reader.load_segment(sealed)
    reader.close()
    with pytest.raises(StoreError, match="may not create the schema"):
        PostGis(postgres_server.dsn(user=user), "new_schema").prepare()
    with pytest.raises(StoreError, match="PostGIS is not in this database, and this user may not make it"):
        PostGis(postgres_server.create_database(f"d_{user}").replace("hpckit@", f"{user}@")).prepare()


def test_user_who_may_not_make_roles(postgres_server: PostgresServer, postgis_dsn: str, sealed: Segment) -> None:
    user = f"u_{uuid.uuid4().hex[:8]}"
    roles = f"CREATE ROLE {user} LOGIN; CREATE SCHEMA {user} AUTHORIZATION {user}"
    ask(postgis_dsn, f"CREATE EXTENSION IF NOT EXISTS postgis; {roles}", fetch=False)
    store = PostGis(postgres_server.dsn(user=user), user)
    store.prepare()
    store.load_zones(REDUCTION, LAYER)
    assert store.load_segment(sealed) == 16
    store.close()


def test_backend_killed_in_the_middle(
    store: PostGis, sealed: Segment, postgis_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = copy.record_stream

    def stream(*arguments: Any) -> Any:
        backends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hpckit'"
        ask(postgis_dsn, f"{backends} AND state = 'idle in transaction'")
        return original(*arguments)

    monkeypatch.setattr("hpckit.store.postgis_load.record_stream", stream)
    with pytest.raises(StoreUnavailableError) as caught:
        store.load_segment(sealed)
    assert caught.value.exit_code == 75
    monkeypatch.undo()
    assert store.made_from(REDUCTION) == {}, "the store connects again by itself"
    assert store.load_segment(sealed) == 16
    assert store.summary()[REDUCTION]["records"] == 16


def test_server_crashes_in_the_middle_of_a_sync(tmp_path: Path) -> None:
    """Killed without a checkpoint while segments stream in; after its restart nothing is lost and nothing doubled."""
    server = PostgresServer().start()
    try:
        layer = zone_layer([str(number) for number in range(20_000)])
        sealed = [segment(tmp_path, [batch(number, range(20_000))], layer) for number in range(8)]
        store = PostGis(server.create_database("crash"))
        store.prepare()
        store.load_zones(REDUCTION, layer)
        done: list[str] = []

        def stop() -> None:
            while len(done) < 2:
                time.sleep(0.005)
            time.sleep(0.05)
            server.stop(immediately=True)

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(StoreUnavailableError):
            for item in sealed * 50:
                store.load_segment(item)
                done.append(item.batches[0].unit)
        stopper.join()
        with pytest.raises(StoreUnavailableError):
            store.made_from(REDUCTION)
        server.start()
        known = store.made_from(REDUCTION)
        assert set(done) <= known.keys(), "what was reported as loaded is there"
        for item in sealed:
            assert store.load_segment(item) == (0 if item.batches[0].unit in known else 20_000)
        assert store.summary()[REDUCTION]["records"] == 160_000
        store.close()
    finally:
        server.remove()
