"""Zones in the store have the shape that they have in their own CRS, on both stores, however long their edges are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg2
import pyogrio
import pyproj
import pytest
import shapely

from hpckit.space.zones import ZoneLayer
from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis

pytestmark = pytest.mark.integration

# by CRS: fields, dikes, squares of a grid; the last ones cross the antimeridian, or hold the pole
SHAPES = {
    3035: [shapely.box(4e6, 3e6, 4.06e6, 3.03e6), shapely.box(4e6, 3e6, 4e6 + 30, 3e6 + 40)],
    28992: [
        shapely.LineString([(20e3, 380e3), (60e3, 390e3)]).buffer(50, cap_style="flat"),
        shapely.Polygon(
            shapely.box(1e5, 4e5, 1.5e5, 4.5e5).exterior, [shapely.box(1.1e5, 4.1e5, 1.4e5, 4.4e5).exterior]
        ),
    ],
    4326: [shapely.box(5, 51, 6, 52), shapely.box(-10, 60, 30, 70)],
    32601: [shapely.box(150e3, 6.6e6, 320e3, 6.7e6), shapely.box(4e5, 6.6e6, 4.001e5, 6.6001e6)],
    3413: [shapely.box(-5e5, -4e5, 6e5, 5e5), shapely.box(1e6, 1e6, 1.2e6, 1.3e6)],
}


def layer(epsg: int) -> ZoneLayer:
    shapes = shapely.multipolygons([[shape] for shape in SHAPES[epsg]])
    return ZoneLayer(("a", "b"), shapes, pyproj.CRS(epsg).to_wkt())


@pytest.fixture
def postgis(postgis_dsn: str) -> Iterator[PostGis]:
    made = PostGis(postgis_dsn, f"t_{uuid.uuid4().hex[:12]}")
    made.prepare()
    yield made
    made.close()
    with psycopg2.connect(postgis_dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {made.schema} CASCADE; DROP ROLE IF EXISTS {made.schema}_reader")


def require_same(stored: shapely.Geometry, source: int, expected: shapely.Geometry, epsg: int) -> None:
    """A shape moved back with a vertex every few metres lies nowhere more than 0.2 m beside the original."""
    assert stored.geom_type == "MultiPolygon" and stored.is_valid
    move = pyproj.Transformer.from_crs(source, epsg, always_xy=True)
    step = 2e-3 if source == 4326 else 200.0

    def back(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(move.transform(xy[:, 0], xy[:, 1]))

    moved = shapely.union_all(
        [shapely.make_valid(shapely.transform(shapely.segmentize(part, step), back)) for part in stored.geoms]
    )
    tolerance = 0.2 if epsg != 4326 else 1e-9
    assert moved.symmetric_difference(expected).area <= tolerance * expected.length
    assert moved.buffer(0.3).covers(expected)


@pytest.mark.postgis
@pytest.mark.parametrize("epsg", SHAPES)
def test_shapes_in_postgis(postgis: PostGis, epsg: int) -> None:
    postgis.load_zones("fields", layer(epsg))
    with psycopg2.connect(postgis.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT ST_AsBinary(geom), ST_IsValid(geom) FROM {postgis.schema}.zone ORDER BY name")
        for (wkb, valid), expected in zip(cursor.fetchall(), SHAPES[epsg], strict=True):
            assert valid
            require_same(shapely.from_wkb(bytes(wkb)), 4326, expected, epsg)


@pytest.mark.parametrize("epsg", SHAPES)
def test_shapes_in_a_geopackage(tmp_path: Path, epsg: int) -> None:
    store = GeoPackage(tmp_path / "store.gpkg")
    store.prepare()
    store.load_zones("fields", layer(epsg))
    store.close()
    meta, _, wkb, _ = pyogrio.raw.read(tmp_path / "store.gpkg", layer="zones_fields")
    for shape, expected in zip(shapely.from_wkb(wkb), SHAPES[epsg], strict=True):
        require_same(shape, int(meta["crs"].partition(":")[2]), expected, epsg)


@pytest.mark.postgis
def test_a_zone_without_a_place_on_earth_is_empty(postgis: PostGis) -> None:
    zones = shapely.multipolygons([[shapely.box(4e6, 3e6, 4.1e6, 3.1e6)], [shapely.box(1e12, 1e12, 2e12, 2e12)]])
    postgis.load_zones("fields", ZoneLayer(("a", "b"), zones, pyproj.CRS(3035).to_wkt()))
    with psycopg2.connect(postgis.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT name, ST_IsEmpty(geom) FROM {postgis.schema}.zone ORDER BY name")
        assert cursor.fetchall() == [("a", False), ("b", True)]
