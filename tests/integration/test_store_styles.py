"""Layer styles that stores keep for QGIS: whose rows they are, and the layer that they colour."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pyogrio
import pytest
import shapely

from hpckit.reduce.signatures.spool import Segment
from hpckit.sensors.masks import CLEAR
from hpckit.store.geopackage import GeoPackage
from hpckit.store.migrations import migrations
from hpckit.store.postgis import PostGis
from hpckit.testing.signatures import REDUCTION, batch, segment, zone_layer
from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.integration

LAYER = zone_layer()
ZONES, LATEST = f"zones_{REDUCTION}", f"latest_{REDUCTION}"
CROPS = ["maize" if number % 2 else "oats & <rye>" for number in range(len(LAYER))]


@pytest.fixture
def sealed(tmp_path: Path) -> Segment:
    folder = tmp_path / "spool"
    folder.mkdir()
    return segment(folder, [batch(0), batch(1, empty=[2])], LAYER)


@pytest.fixture
def loaded(tmp_path: Path, sealed: Segment) -> Path:
    path = tmp_path / "store.gpkg"
    with_store(path, lambda store: (store.load_zones(REDUCTION, LAYER), store.load_segment(sealed)))
    return path


def with_store(path: Path, work: Any) -> None:
    store = GeoPackage(path)
    store.prepare()
    work(store)
    store.close()


def rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        query = "SELECT f_table_name, styleName, useAsDefault FROM layer_styles ORDER BY f_table_name, styleName"
        return db.execute(query).fetchall()


OURS = [(LATEST, "NDVI", 1), (LATEST, "valid fraction", 0), (ZONES, "outlines", 1)]


def test_layers_have_styles(loaded: Path) -> None:
    assert rows(loaded) == OURS
    with sqlite3.connect(loaded) as db:
        assert db.execute("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'").fetchone() == (
            "attributes",
        )


def test_crops_are_shown_once_they_are_known(loaded: Path) -> None:
    with_store(loaded, lambda store: store.note_crops(REDUCTION, CROPS))
    expected = [*OURS[:2], (ZONES, "crop", 1), (ZONES, "outlines", 0)]
    assert rows(loaded) == expected
    assert list(pyogrio.read_dataframe(loaded, layer=ZONES)["crop"]) == CROPS
    with_store(loaded, lambda store: store.note_crops(REDUCTION, [None] * len(LAYER)))
    assert rows(loaded) == expected, "a layer that is gone makes no crop unknown"
    info = pyogrio.read_info(loaded, layer=ZONES)
    assert info["capabilities"]["fast_spatial_filter"]


def test_the_latest_clear_observation(loaded: Path, sealed: Segment) -> None:
    """Compared with the series of each zone."""
    frame = pyogrio.read_dataframe(loaded, layer=LATEST).set_index("zone")
    assert list(frame.index) == list(LAYER.ids)
    assert shapely.equals(frame.geometry.to_numpy(), LAYER.geometries).all()
    store = GeoPackage(loaded)
    for zone in LAYER.ids:
        series = store.series(REDUCTION, zone, "NDVI")
        clear = series[(series["valid_fraction"] >= CLEAR) & (series["valid"] > 0)]
        if clear.empty:
            assert frame.loc[zone, "time"] is None or frame.loc[zone].isna()["time"]
            continue
        newest = clear.iloc[-1]
        assert frame.loc[zone, "acquisition"] == newest["acquisition"]
        assert frame.loc[zone, "NDVI_mean"] == pytest.approx(newest["mean"])
        assert frame.loc[zone, "NDVI_valid"] == newest["valid"]
    store.close()
    assert frame["acquisition"].nunique() == 2, "the samples have a zone that the newest acquisition does not show"


def test_the_view_is_cheap(loaded: Path) -> None:
    info = pyogrio.read_info(loaded, layer=LATEST)
    assert info["capabilities"]["fast_spatial_filter"], "the index of the zones"
    with sqlite3.connect(loaded) as db:
        plan = " ".join(row[-1] for row in db.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {LATEST}"))
    assert "acquisition_time" in plan
    assert f"record_{REDUCTION}_key (zone=? AND acquisition=?)" in plan
    assert "TEMP B-TREE" not in plan


def test_a_persons_styles_stay(loaded: Path) -> None:
    with sqlite3.connect(loaded) as db:
        db.execute("UPDATE layer_styles SET useAsDefault = 0 WHERE f_table_name IN (?, ?)", [LATEST, ZONES])
        insert = (
            "INSERT INTO layer_styles (f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,"
            " useAsDefault, description) VALUES ('', ?, 'geom', ?, '<qgis/>', ?, ?)"
        )
        db.execute(insert, [ZONES, "mine", 1, ""])
        db.execute(insert, ["wells", "blue", 1, "theirs"])
        # Saved over ours, which QGIS keeps the description of if nobody types another one.
        db.execute("UPDATE layer_styles SET styleQML = '<qgis/>', useAsDefault = 1 WHERE styleName = 'NDVI'")
    with_store(loaded, lambda store: store.note_crops(REDUCTION, CROPS))
    other = zone_layer(["new", *LAYER.ids])
    with_store(loaded, lambda store: store.load_zones(REDUCTION, other))
    assert (ZONES, "mine", 1) in rows(loaded)
    assert (LATEST, "NDVI", 1) in rows(loaded)
    assert (ZONES, "outlines", 0) in rows(loaded)
    with_store(loaded, lambda store: store.remove(REDUCTION))
    assert rows(loaded) == [(LATEST, "NDVI", 1), ("wells", "blue", 1), (ZONES, "mine", 1)]


def test_only_the_removed_reductions_styles_go(loaded: Path) -> None:
    with_store(loaded, lambda store: store.load_zones("meadows", zone_layer(["m"])))
    with_store(loaded, lambda store: store.remove(REDUCTION))
    assert rows(loaded) == [("zones_meadows", "outlines", 1)]
    assert LATEST not in [name for name, _ in pyogrio.list_layers(loaded)]
    with sqlite3.connect(loaded) as db:
        assert db.execute("SELECT 1 FROM gpkg_geometry_columns WHERE table_name = ?", [LATEST]).fetchone() is None


def test_a_store_of_an_earlier_version(loaded: Path) -> None:
    with sqlite3.connect(loaded) as db:
        db.execute(f"DROP VIEW {LATEST}")
        db.execute("DROP INDEX acquisition_time")
        db.execute("DROP TABLE layer_styles")
        for table in ("gpkg_geometry_columns", "gpkg_contents"):
            db.execute(f"DELETE FROM {table} WHERE table_name IN ('layer_styles', ?)", [LATEST])
        for column in ("attributes", "attributes_digest"):
            db.execute(f"ALTER TABLE hpckit_reduction DROP COLUMN {column}")
        db.execute("DELETE FROM hpckit_schema WHERE version > 3")
    with_store(loaded, lambda store: None)
    assert rows(loaded) == OURS


@pytest.mark.parametrize("kind", [f"TABLE {LATEST} (y)", f"VIEW {LATEST} AS SELECT 1 AS y WHERE 0"])
def test_another_table_of_the_name(tmp_path: Path, sealed: Segment, kind: str) -> None:
    path = tmp_path / "other.gpkg"
    with_store(path, lambda store: None)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE layer_styles (x)")
        db.execute(f"CREATE {kind}")
    with_store(path, lambda store: (store.load_zones(REDUCTION, LAYER), store.load_segment(sealed)))
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT * FROM layer_styles").fetchall() == []
        assert db.execute(f"SELECT * FROM {LATEST}").fetchall() == []


def ask(dsn: str, query: str, values: Any = (), *, fetch: bool = True) -> list[tuple[Any, ...]]:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchall() if fetch else []


STYLES = (
    "SELECT f_table_name, stylename, useasdefault FROM public.layer_styles"
    " WHERE f_table_schema = %s ORDER BY f_table_name, stylename"
)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    yield postgres_server.create_database(f"d_{uuid.uuid4().hex[:10]}")


@pytest.mark.postgis
def test_a_database_has_styles(database: str, sealed: Segment) -> None:
    store = PostGis(database, "s1")
    store.prepare()
    store.load_zones(REDUCTION, LAYER)
    ours = [("latest", "NDVI", True), ("latest", "valid fraction", False), ("zone", "outlines", True)]
    assert ask(database, STYLES, ["s1"]) == ours
    insert = (
        "INSERT INTO public.layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,"
        " stylename, styleqml, useasdefault, description) VALUES (current_database(), 's1', 'zone', 'geom', 'mine',"
        " '<qgis/>', true, 'crop')"
    )
    ask(database, insert, fetch=False)
    store.note_crops(REDUCTION, CROPS)
    store.load_segment(sealed)
    assert ask(database, STYLES, ["s1"]) == [
        *ours[:2],
        ("zone", "crop", False),
        ("zone", "mine", True),
        ("zone", "outlines", False),
    ]
    found = {row[0]: row[1:] for row in ask(database, "SELECT zone, acquisition, ndvi, crop FROM s1.latest")}
    for number, zone in enumerate(LAYER.ids):
        series = store.series(REDUCTION, zone, "NDVI")
        clear = series[(series["valid_fraction"] >= CLEAR) & (series["valid"] > 0)]
        newest = None if clear.empty else clear.iloc[-1]
        assert found[zone][0] == (None if newest is None else newest["acquisition"])
        assert found[zone][2] == CROPS[number]
        if newest is not None:
            assert found[zone][1] == pytest.approx(newest["mean"])
    plan = " ".join(row[0] for row in ask(database, "EXPLAIN SELECT count(*), ST_Extent(geom) FROM s1.latest"))
    assert "record" not in plan, "joins are left out where nothing of a record is asked for"
    store.close()


def test_sql_and_python_agree_what_is_clear() -> None:
    (script,) = [text for text in migrations("postgis") if "CREATE VIEW latest" in text]
    assert f">= {CLEAR} *" in script


@pytest.mark.postgis
def test_a_user_who_may_not_write_styles(postgres_server: PostgresServer, database: str, sealed: Segment) -> None:
    user = f"u_{uuid.uuid4().hex[:8]}"
    ((name,),) = ask(database, "SELECT current_database()")
    ask(database, "CREATE EXTENSION postgis", fetch=False)
    ask(database, f"CREATE ROLE {user} LOGIN", fetch=False)
    ask(database, f"GRANT CREATE ON DATABASE {name} TO {user}", fetch=False)
    ask(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", fetch=False)
    told: list[str] = []
    store = PostGis(postgres_server.dsn(name, user), "s2", tell=told.append)
    for _ in range(2):
        store.prepare()
        store.load_zones(REDUCTION, LAYER)
        store.load_segment(sealed)
        store.note_crops(REDUCTION, CROPS)
    assert len([text for text in told if "layer styles" in text]) == 1
    assert ask(database, "SELECT to_regclass('public.layer_styles')") == [(None,)]
    # Somebody makes the table with a rule of their own, then lets this user write, and at last use its numbers.
    PostGis(database, "s3").prepare()
    ask(database, f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.layer_styles TO {user}", fetch=False)
    store.prepare()
    assert ask(database, STYLES, ["s2"]) == []
    ask(database, f"GRANT USAGE ON SEQUENCE public.layer_styles_id_seq TO {user}", fetch=False)
    store.prepare()
    assert [row[1] for row in ask(database, STYLES, ["s2"])] == ["NDVI", "valid fraction", "crop", "outlines"]
    assert store.summary()[REDUCTION]["records"] == 16
    store.close()
