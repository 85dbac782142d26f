"""Fixtures: a real PostgreSQL server with PostGIS, started once for the session and removed at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server of one's own."""
    try:
        server = PostgresServer({"fsync": "off", "shared_buffers": "64MB"})
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgis_dsn(postgres_server: PostgresServer) -> str:
    """Connection string of a database on it; tests take schemas of their own in it."""
    return postgres_server.create_database("hpckit")
