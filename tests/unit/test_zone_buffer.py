"""Buffers of zones: those of shapely in a metric CRS, metres on the ground in others; no zone is lost silently."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.campaign.metres import parse_metres
from hpckit.errors import ZoneError
from hpckit.space.buffer import buffered
from hpckit.space.zones import findings, load_zones, read_zones, write_zones
from tests.small_campaign import write_zones as write_layer

UTM = pyproj.CRS.from_epsg(32631)
DEGREES = pyproj.CRS.from_epsg(4326)


def multi(*shapes):
    return np.array([shapely.multipolygons([shape]) for shape in shapes], dtype=object)


def moved(shapes, source, target):
    way = pyproj.Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(shapes, way.transform, interleaved=False)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=3, max_size=9, unique=True),
    st.floats(-60, 60).filter(lambda metres: abs(metres) > 0.01),
)
def test_in_a_metric_crs_it_is_the_buffer_of_shapely(corners, metres):
    hull = shapely.MultiPoint([(500_000 + x, 5_000_000 + y) for x, y in corners]).convex_hull
    if hull.geom_type != "Polygon":
        return
    (made,) = buffered(multi(hull), UTM, metres)
    expected = hull.buffer(metres, quad_segs=16)
    assert made.geom_type == "MultiPolygon"
    assert shapely.symmetric_difference(made, expected).area < 1e-6


@pytest.mark.parametrize("epsg", [4326, 4258, 3857, 3035, 2154, 28992, 27700, 31983])
@pytest.mark.parametrize("metres", [-5.0, 12.5])
def test_in_any_crs_it_is_in_metres_on_the_ground(epsg, metres):
    crs = pyproj.CRS.from_epsg(epsg)
    longitude, latitude = {28992: (5.4, 52.1), 27700: (-1.5, 52.5), 31983: (-47, -15)}.get(epsg, (3.2, 46.0))
    local = pyproj.CRS.from_proj4(f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m")
    field = shapely.Polygon([(0, 0), (120, 10), (130, 90), (60, 60), (5, 80)])
    zone = moved(multi(field), local, crs)
    (made,) = moved(buffered(zone, crs, metres), crs, local)
    expected = shapely.buffer(field, metres, quad_segs=16)
    # The scale of UTM errs by 0.04 %: 2 mm of 5 m, along a border of 500 m.
    assert shapely.symmetric_difference(made, expected).area < 500 * (0.002 * abs(metres) + 0.001)
    assert shapely.hausdorff_distance(made, expected) < 0.05


@pytest.mark.parametrize(("latitude", "metres"), [(10.0, -20.0), (-64.0, 20.0), (85.5, -20.0), (-88.0, 15.0)])
def test_across_the_antimeridian_no_border_is_made(latitude, metres):
    wide = 0.01 / np.cos(np.radians(latitude))
    west, east = (
        shapely.box(180 - wide, latitude, 180, latitude + 0.01),
        shapely.box(-180, latitude, -180 + wide, latitude + 0.01),
    )
    whole = np.array([shapely.multipolygons([west, east])], dtype=object)
    (made,) = buffered(whole, DEGREES, metres)
    local = pyproj.CRS.from_proj4(f"+proj=laea +lat_0={latitude + 0.005} +lon_0=180 +datum=WGS84 +units=m")
    here = shapely.union_all(shapely.set_precision(shapely.get_parts(moved([whole[0]], DEGREES, local)[0]), 0.001))
    expected = shapely.buffer(here, metres)
    got = shapely.union_all(shapely.set_precision(shapely.get_parts(moved([made], DEGREES, local)[0]), 0.001))
    assert got.area == pytest.approx(expected.area, rel=3e-4)
    assert made.bounds[::2] == (-180, 180)


def test_zones_that_vanish_are_listed(tmp_path):
    boxes = ((0, 100, 100), (200, 209, 500), (300, 311, 500))
    shapes = [
        shapely.box(600_000 + west, 5_600_000, 600_000 + east, 5_600_000 + north) for west, east, north in boxes
    ]
    write_layer(tmp_path / "zones.gpkg", shapes, ["field", "strip", "narrow"])
    layer = read_zones(tmp_path / "zones.gpkg", "name", buffer_m=-5)
    assert (layer.ids, layer.vanished) == (("field", "narrow"), ("strip",))
    assert layer.geometries[0].equals(shapely.box(600_005, 5_600_005, 600_095, 5_600_095))
    assert findings(layer, -5) == ["1 zone left out of which a buffer of -5 m leaves nothing: 'strip'"]
    write_zones(tmp_path / "frozen.parquet", layer)
    again = load_zones(tmp_path / "frozen.parquet")
    assert (again.vanished, again.digest) == (layer.vanished, layer.digest)
    with pytest.raises(ZoneError, match="a buffer of -50 m leaves nothing of any zone"):
        read_zones(tmp_path / "zones.gpkg", "name", buffer_m=-50)


def test_a_buffer_is_part_of_the_zones(tmp_path):
    write_layer(tmp_path / "zones.gpkg", [shapely.box(0, 0, 100, 100)])
    digests = {read_zones(tmp_path / "zones.gpkg", "name", buffer_m=metres).digest for metres in (-5, 0, 5)}
    assert len(digests) == 3
    assert read_zones(tmp_path / "zones.gpkg", "name").digest in digests


@pytest.mark.parametrize("text", ["5 km", "m", "-", "1e3", "5 5", "wide"])
def test_other_lengths_are_refused(text):
    with pytest.raises(ValueError, match="write it like -5m"):
        parse_metres(text)
