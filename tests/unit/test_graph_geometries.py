"""GeoJSON of any kind as geometries of process graphs, and geometries in other CRSs."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely

from hpckit.errors import GraphError
from hpckit.processgraph.geojson import from_geojson
from hpckit.processgraph.reproject import in_crs

SQUARE = {"type": "Polygon", "coordinates": [[[10, 47], [10.1, 47], [10.1, 47.1], [10, 47.1], [10, 47]]]}
POINT = {"type": "Point", "coordinates": [10, 47, 500]}


def feature(geometry, **members):
    return {"type": "Feature", "geometry": geometry, "properties": {}, **members}


def collection(*features, **members):
    return {"type": "FeatureCollection", "features": list(features), **members}


def test_a_geometry_is_one():
    found = from_geojson(SQUARE)
    assert len(found) == 1 and found.crs == "EPSG:4326"
    assert shapely.equals(found.shapes[0], shapely.box(10, 47, 10.1, 47.1))
    assert found.ids == () and found.properties == ()


def test_a_feature_collection_has_one_for_each_feature_with_id_and_properties():
    found = from_geojson(
        collection(
            feature(SQUARE, id="a", properties={"crop": "wheat"}, bbox=[0, 0, 1, 1]),
            feature(None, properties=None),
            feature(POINT, id=7),
            bbox=[0, 0, 1, 1],
        )
    )
    assert [shape.geom_type for shape in found.shapes] == ["Polygon", "GeometryCollection", "Point"]
    assert found.shapes[1].is_empty and not found.shapes[2].has_z
    assert found.ids == ("a", None, 7)
    assert found.properties == ({"crop": "wheat"}, {}, {})


def test_a_collection_of_geometries_has_one_for_each_member_and_that_of_a_feature_is_one():
    members = {"type": "GeometryCollection", "geometries": [SQUARE, POINT]}
    assert len(from_geojson(members)) == 2
    (shape,) = from_geojson(feature(members)).shapes
    assert [part.geom_type for part in shape.geoms] == ["Polygon", "Point"]


def test_no_features_are_no_geometries():
    found = from_geojson(collection())
    assert len(found) == 0 and found.shapes.shape == (0,)


def test_empty_coordinates_are_an_empty_geometry():
    assert from_geojson({"type": "Polygon", "coordinates": []}).shapes[0].is_empty


@pytest.mark.parametrize(
    "name", ["EPSG:32632", "urn:ogc:def:crs:EPSG::32632", "urn:x-ogc:def:crs:EPSG:32632"], ids=str
)
def test_the_old_member_crs_is_followed(name):
    try:
        pyproj.CRS(name)
    except pyproj.exceptions.CRSError:
        pytest.skip(f"PROJ does not know {name}")
    given = {**POINT, "crs": {"type": "name", "properties": {"name": name}}}
    assert from_geojson(given).crs == "EPSG:32632"


@pytest.mark.parametrize("name", ["urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"])
def test_degrees_have_one_name(name):
    given = collection(feature(SQUARE), crs={"type": "name", "properties": {"name": name}})
    assert from_geojson(given).crs == "EPSG:4326"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "no GeoJSON object"),
        ({"type": "Raster"}, "'Raster'"),
        ({"type": "FeatureCollection"}, "'features' is no array"),
        (collection(SQUARE), "feature 1 is no object of the type 'Feature'"),
        (collection(feature(SQUARE), feature({"type": "Circle"})), "feature 2: the type 'Circle'"),
        (feature({"type": "Polygon"}), "'coordinates' is missing"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}, "not closed"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [0, 0]]]}, "2 positions"),
        ({"type": "Point", "coordinates": ["a", 1]}, "coordinates are none of a Point"),
        ({"type": "Point", "coordinates": [float("nan"), 1]}, "coordinates are none of a Point"),
        ({"type": "Point", "coordinates": [1e999, 1]}, "coordinates are none of a Point"),
        ({**POINT, "crs": {"type": "name", "properties": {"name": "EPSG:1"}}}, "'EPSG:1' is no known CRS"),
        ({**POINT, "crs": {"type": "link"}}, "names no CRS"),
        (feature([1, 2]), "no object"),
    ],
)
def test_what_is_no_geojson_is_refused_by_name(given, words):
    with pytest.raises(GraphError) as caught:
        from_geojson(given)
    assert words in caught.value.message and caught.value.fault == "ProcessParameterInvalid"


def test_geometries_keep_their_kinds_in_another_crs():
    shapes = np.array(
        [
            shapely.box(10, 47, 10.1, 47.1),
            shapely.MultiPolygon([shapely.box(10, 47, 10.1, 47.1)]),
            shapely.Point(10, 47),
            shapely.LineString([(10, 47), (10.1, 47.1)]),
            shapely.GeometryCollection([shapely.Point(10, 47), shapely.box(10, 47, 10.1, 47.1)]),
            shapely.Polygon(),
        ],
        dtype=object,
    )
    moved = in_crs(shapes, "EPSG:4326", "EPSG:32632")
    kinds = ["Polygon", "MultiPolygon", "Point", "LineString", "GeometryCollection", "Polygon"]
    assert [shape.geom_type for shape in moved][1:] == kinds[1:]
    east, north = pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(10, 47)
    assert shapely.get_coordinates(moved[2]).tolist() == [[pytest.approx(east), pytest.approx(north)]]
    back = in_crs(moved, "EPSG:32632", "EPSG:4326")
    assert shapely.area(shapely.symmetric_difference(back[0], shapes[0])) < 1e-8
    assert moved[5].is_empty


def test_a_line_bends_where_the_crs_bends():
    line = np.array([shapely.LineString([(0, 60), (20, 60)])], dtype=object)
    (moved,) = in_crs(line, "EPSG:4326", "EPSG:3035")
    middle = pyproj.Transformer.from_crs(4326, 3035, always_xy=True).transform(10, 60)
    assert moved.distance(shapely.Point(middle)) < 1


def test_polygons_cut_at_the_antimeridian_are_one_area_in_a_projected_crs():
    halves = np.array(
        [shapely.MultiPolygon([shapely.box(179.9, -17, 180, -16.9), shapely.box(-180, -17, -179.9, -16.9)])],
        dtype=object,
    )
    (moved,) = in_crs(halves, "EPSG:4326", "EPSG:32760")
    west, _, east, _ = moved.bounds
    assert east - west < 25_000
    (back,) = in_crs(np.array([moved], dtype=object), "EPSG:32760", "EPSG:4326")
    assert back.area == pytest.approx(halves[0].area, rel=1e-4)


def test_a_geometry_beyond_the_crs_is_named():
    shapes = np.array([shapely.Point(10, 47), shapely.Point(10, 200)], dtype=object)
    with pytest.raises(GraphError, match="geometry 2 lies outside"):
        in_crs(shapes, "EPSG:4326", "EPSG:32632")
