"""What every store must do: GeoPackage and PostGIS; rows are counted in SQL of the test's own."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis
from hpckit.testing.signatures import REDUCTION
from hpckit.testing.store import Fresh, StoreTests

pytestmark = pytest.mark.integration


class TestGeoPackage(StoreTests):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Fresh:
        path = tmp_path / "a 'b' \"c\" #?.gpkg"
        names = {"record": f"record_{REDUCTION}", "ledger": "hpckit_ledger"}

        def count(table: str) -> int:
            with sqlite3.connect(path) as db:
                return int(db.execute(f"SELECT COUNT(*) FROM {names.get(table, table)}").fetchone()[0])

        return Fresh(lambda: GeoPackage(path), count)


@pytest.mark.postgis
class TestPostGis(StoreTests):
    @pytest.fixture
    def fresh(self, postgis_dsn: str) -> Iterator[Fresh]:
        schema = f"t_{uuid.uuid4().hex[:12]}"

        def count(table: str) -> int:
            with psycopg2.connect(postgis_dsn) as connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT COUNT(*) FROM {schema}.{table}")
                return int(cursor.fetchone()[0])

        yield Fresh(lambda: PostGis(postgis_dsn, schema), count)
        with psycopg2.connect(postgis_dsn) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {schema} CASCADE")
