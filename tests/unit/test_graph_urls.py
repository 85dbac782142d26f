"""Vector files at addresses: what is read, and which addresses are refused."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph import urls
from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.urls import read_url
from hpckit.testing.graphs import MemoryEnvironment, result_of

pytest.importorskip("httpx")
COLLECTION = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "id": 1, "properties": {"a": 1}, "geometry": {"type": "Point", "coordinates": [10, 47]}}
    ],
}
HERE = ("127.0.0.1",)


def parquet(crs, **columns):
    shapes = [shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 2)]
    table = pa.table({"geometry": shapely.to_wkb(shapes), **columns})
    about = {"encoding": "WKB", "geometry_types": ["Polygon"], **crs}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture(scope="module")
def server():
    files = {
        "/a.geojson": json.dumps(COLLECTION).encode(),
        "/broken.geojson": b"{",
        "/no.geojson": b'{"type": "Circle"}',
        "/a.parquet": parquet({}, name=["x", "y"], day=np.array(["2024-01-01", "2024-01-02"], "datetime64[D]")),
        "/utm.parquet": parquet({"crs": "EPSG:32632"}),
    }

    class Handler(BaseHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def do_GET(self):
            self.asked.append(self.path)
            to = {"/redirect": "/a.geojson", "/away": "http://192.168.0.1/a.geojson", "/loop": "/loop"}.get(self.path)
            if to:
                self.send_response(302)
                self.send_header("Location", to)
                self.end_headers()
                return
            self.send_response(200 if self.path in {*files, "/slow"} else 404)
            self.end_headers()
            for _ in range(20 if self.path == "/slow" else 0):
                self.wfile.write(b" ")
                time.sleep(0.05)
            self.wfile.write(files.get(self.path, b""))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = Handler.asked
    server.address = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_geojson_is_read_through_redirects(server):
    found = read_url(f"{server.address}/redirect", "geojson", HERE)
    assert found.ids == (1,) and found.properties == ({"a": 1},) and found.crs == "EPSG:4326"


def test_geoparquet_is_read_with_its_crs_and_properties(server):
    found = read_url(f"{server.address}/a.parquet", "Parquet", HERE)
    assert found.crs == "EPSG:4326" and shapely.equals(found.shapes[1], shapely.box(1, 1, 2, 2))
    assert found.properties == ({"name": "x", "day": "2024-01-01"}, {"name": "y", "day": "2024-01-02"})
    assert read_url(f"{server.address}/utm.parquet", "GeoParquet", HERE).crs == "EPSG:32632"


def test_units_of_a_job_share_one_copy(server, tmp_path):
    address = f"{server.address}/a.geojson"
    before = server.asked.count("/a.geojson")
    for _ in range(3):
        assert len(read_url(address, "GeoJSON", HERE, tmp_path / "copies")) == 1
    assert server.asked.count("/a.geojson") == before + 1


@pytest.mark.parametrize(
    ("path", "format", "fault"),
    [
        ("/missing", "GeoJSON", "HTTP status 404"),
        ("/broken.geojson", "GeoJSON", "no GeoJSON"),
        ("/no.geojson", "GeoJSON", "'Circle'"),
        ("/a.geojson", "Parquet", "not a Parquet file"),
        ("/a.geojson", "GPX", "'GPX'"),
        ("/loop", "GeoJSON", "redirects in a row"),
        ("/away", "GeoJSON", "192.168.0.1 is not among the hosts"),
    ],
)
def test_what_cannot_be_read_is_named(server, path, format, fault):
    with pytest.raises(GraphError) as caught:
        read_url(f"{server.address}{path}", format, HERE)
    assert fault in caught.value.message and "/tmp" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "hosts", "words"),
    [
        ("https://example.org/a", (), "not among the hosts"),
        ("https://127.0.0.1/a", ("*",), "not among the hosts"),
        ("https://localhost/a", ("*",), "not among the hosts"),
        ("https://169.254.169.254/latest", ("*",), "not among the hosts"),
        ("https://[::1]/a", ("*",), "not among the hosts"),
        ("http://8.8.8.8/a", ("8.8.8.8",), "not encrypted"),
        ("file:///etc/passwd", ("*",), "no address of a web server"),
        ("https:///a", ("*",), "no address of a web server"),
    ],
)
def test_addresses_that_nobody_may_be_sent_to_are_refused(url, hosts, words):
    with pytest.raises(GraphError, match=words) as caught:
        read_url(url, "GeoJSON", hosts)
    assert caught.value.fault == "ProcessParameterInvalid"


def test_secrets_of_an_address_are_not_shown():
    with pytest.raises(GraphError) as caught:
        read_url("https://me:word@example.org/a?token=secret", "GeoJSON", ())
    assert "secret" not in str(caught.value) and "word" not in str(caught.value)


def test_files_that_are_too_large_are_refused(server, monkeypatch):
    monkeypatch.setattr(urls, "MOST_BYTES", 10)
    with pytest.raises(GraphError, match="has more than"):
        read_url(f"{server.address}/a.geojson", "GeoJSON", HERE)


def test_answers_that_take_too_long_are_refused(server, monkeypatch):
    monkeypatch.setattr(urls, "LONGEST_S", 0.4)
    with pytest.raises(GraphError, match=r"takes more than 0\.4 seconds"):
        read_url(f"{server.address}/slow", "GeoJSON", HERE)


def test_load_url_asks_the_environment():
    made = Geometries(np.array([shapely.Point(1, 2), shapely.Point(3, 4)], dtype=object), "EPSG:4326")
    environment = MemoryEnvironment(vectors={"https://a.org/f": made})
    found = result_of("load_url", environment, url="https://a.org/f", format="GeoJSON")
    assert found.geometries is made and found.features == range(2) and np.isnan(found.values).all()
