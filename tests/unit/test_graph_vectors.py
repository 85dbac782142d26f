"""Vector cubes: loaded, filtered, widened, reprojected, sampled; windows of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Dimension
from hpckit.space.box import Box
from hpckit.testing.graphs import GRID, bands, calling, evaluation_of, raster, result_of, times

SQUARE, FAR, EMPTY = shapely.box(600000, 5199900, 600100, 5200000), shapely.box(0, 0, 10, 10), shapely.Polygon()
POINT, LINE = shapely.Point(600050, 5199950), shapely.LineString([(600000, 5200000), (600100, 5200000)])


def geojson(*shapes, properties=None):
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    features = [
        {
            "type": "Feature",
            "id": f"f{number}",
            "properties": properties[number] if properties else {},
            "geometry": shapely.geometry.mapping(shape),
        }
        for number, shape in enumerate(shapes)
    ]
    return {"type": "FeatureCollection", "features": features, "crs": crs}


def vectors(*shapes, properties=None, names=()):
    return result_of("load_geojson", data=geojson(*shapes, properties=properties), properties=list(names))


def test_geojson_without_properties_has_one_dimension():
    found = vectors(SQUARE, EMPTY)
    assert found.dims == (Dimension("geometry", "geometry", crs="EPSG:32632"),)
    assert np.isnan(found.values).all() and len(found.geometries) == 2 and found.features == range(2)
    assert vectors().values.shape == (0,)


def test_properties_become_labels():
    found = vectors(SQUARE, POINT, properties=[{"a": 1, "b": None}, {"b": 2.5}], names=("a", "b"))
    assert found.dims[1] == Dimension("properties", "other", ("a", "b"))
    np.testing.assert_array_equal(found.values, [[1, np.nan], [np.nan, 2.5]])


def test_an_array_has_a_label_for_each_of_its_elements():
    found = vectors(SQUARE, POINT, properties=[{"a": [1, 2, 3]}, {"a": [4]}], names=("a",))
    assert found.dims[1].labels == (0, 1, 2)
    np.testing.assert_array_equal(found.values, [[1, 2, 3], [4, np.nan, np.nan]])


def test_texts_are_objects_and_objects_are_refused():
    found = vectors(SQUARE, POINT, properties=[{"a": "wheat"}, {}], names=("a",))
    assert found.values.tolist() == [["wheat"], [None]]
    with pytest.raises(GraphError, match="no number, text or truth"):
        vectors(SQUARE, properties=[{"a": {"b": 1}}], names=("a",))


def test_a_part_of_geojson_is_that_of_the_whole():
    call = evaluation_of(
        "load_geojson", data=geojson(SQUARE, POINT, LINE, properties=[{"a": 1}, {"a": 2}, {"a": 3}]), properties=["a"]
    )
    assert call.evaluate(range(1, 3)).values.tolist() == [[2], [3]]
    assert call.evaluate((0, 2)).values.tolist() == [[1], [3]]
    assert call.type().values.shape == (0, 1)


@pytest.mark.parametrize(
    ("relation", "expected"),
    [
        ("intersects", ["f0", "f1", "f2"]),
        ("disjoint", ["f3"]),
        ("within", ["f0", "f1"]),
        ("touches", ["f2"]),
        ("contains", ["f0"]),
        ("equals", ["f0"]),
        ("overlaps", []),
        ("crosses", []),
    ],
)
def test_geometries_are_kept_by_their_relation_to_others(relation, expected):
    neighbour = shapely.box(600100, 5199900, 600200, 5200000)
    given = vectors(SQUARE, POINT, neighbour, FAR, EMPTY, properties=[{"n": n} for n in range(5)], names=("n",))
    found = result_of("filter_vector", data=given, geometries=vectors(SQUARE), relation=relation)
    assert list(found.geometries.ids) == expected
    assert found.values[:, 0].tolist() == [int(name[1:]) for name in expected]
    assert [feature["n"] for feature in found.geometries.properties] == found.values[:, 0].tolist()


def test_a_part_of_filtered_geometries_has_the_right_values():
    given = vectors(SQUARE, FAR, POINT, FAR, LINE, properties=[{"n": n} for n in range(5)], names=("n",))
    call = evaluation_of("filter_vector", data=given, geometries=vectors(SQUARE))
    assert call.evaluate().values[:, 0].tolist() == [0, 2, 4]
    assert call.evaluate(range(1, 3)).values[:, 0].tolist() == [2, 4]
    assert call.evaluate((0, 2)).values[:, 0].tolist() == [0, 4]
    assert call.evaluate(range(0)).values.shape == (0, 1)


def test_filters_bring_others_to_the_crs_of_the_data():
    degrees = result_of("vector_reproject", data=vectors(SQUARE.buffer(1)), projection=4326)
    found = result_of("filter_vector", data=vectors(SQUARE, FAR), geometries=degrees, relation="within")
    assert found.geometries.ids == ("f0",)


def test_an_unknown_relation_is_refused():
    with pytest.raises(GraphError, match="'near'"):
        result_of("filter_vector", data=vectors(SQUARE), geometries=vectors(SQUARE), relation="near")


def test_buffers_are_polygons_and_may_be_empty():
    found = result_of("vector_buffer", geometries=vectors(SQUARE, POINT, LINE, EMPTY), distance=10)
    assert found.geometries.shapes[0].area == pytest.approx(100 * 100 + 4 * 100 * 10 + np.pi * 100, rel=1e-2)
    assert [shape.geom_type for shape in found.geometries.shapes] == ["Polygon"] * 4
    assert found.geometries.shapes[3].is_empty and found.geometries.ids == ("f0", "f1", "f2", "f3")
    shrunk = result_of("vector_buffer", geometries=vectors(SQUARE, POINT), distance=-60)
    assert all(shape.is_empty for shape in shrunk.geometries.shapes)


def test_distances_need_metres_and_must_not_be_0():
    degrees = result_of("load_geojson", data={"type": "Point", "coordinates": [10, 47]})
    for process, name in (("vector_buffer", "geometries"), ("vector_to_regular_points", "data")):
        with pytest.raises(GraphError, match="metres") as caught:
            evaluation_of(process, **{name: degrees}, distance=10).type()
        assert caught.value.fault == "UnitMismatch"
    with pytest.raises(GraphError, match="not 0"):
        result_of("vector_buffer", geometries=vectors(POINT), distance=0)


def test_reprojection_changes_geometries_and_the_crs_of_the_dimension():
    given = vectors(SQUARE, POINT, EMPTY, properties=[{"n": 1}, {"n": 2}, {"n": 3}], names=("n",))
    there = result_of("vector_reproject", data=given, projection=3035)
    assert there.dims[0].crs == there.geometries.crs == "EPSG:3035"
    assert there.values.tolist() == given.values.tolist()
    back = result_of("vector_reproject", data=there, projection="EPSG:32632", dimension="geometry")
    for one, other in zip(back.geometries.shapes, given.geometries.shapes, strict=True):
        assert (one.is_empty == other.is_empty and shapely.hausdorff_distance(one, other) < 0.2) or one.is_empty


def test_reprojection_refuses_unknown_dimensions_and_crs():
    with pytest.raises(GraphError) as caught:
        result_of("vector_reproject", data=vectors(SQUARE), projection=3035, dimension="x")
    assert caught.value.fault == "DimensionNotAvailable"
    with pytest.raises(GraphError, match="no known CRS"):
        result_of("vector_reproject", data=vectors(SQUARE), projection=1)
    with pytest.raises(GraphError, match="no vector cube"):
        result_of("vector_reproject", data=raster(np.zeros((3, 3))), projection=3035)


def test_regular_points_of_polygons_lines_and_points():
    found = result_of("vector_to_regular_points", data=vectors(SQUARE, LINE, POINT, EMPTY), distance=25)
    square, line, point, empty = found.geometries.shapes
    assert len(square.geoms) == 16 and (shapely.get_coordinates(square)[0] == [600012.5, 5199987.5]).all()
    assert shapely.get_coordinates(line)[:, 0].tolist() == [600000, 600025, 600050, 600075, 600100]
    assert shapely.get_coordinates(point).tolist() == [[600050, 5199950]]
    assert empty.is_empty and found.geometries.ids == ("f0", "f1", "f2", "f3")


def test_a_polygon_too_thin_for_a_point_gives_its_first_coordinate():
    thin = shapely.box(600000, 5199990, 600001, 5200000)
    found = result_of("vector_to_regular_points", data=vectors(thin), distance=30)
    assert len(found.geometries.shapes[0].geoms) == 1
    assert thin.touches(found.geometries.shapes[0])


def test_points_that_are_not_grouped_have_the_values_of_their_geometry():
    given = vectors(SQUARE, EMPTY, POINT, properties=[{"n": n} for n in range(3)], names=("n",))
    call = evaluation_of("vector_to_regular_points", data=given, distance=50, group=False)
    found = call.evaluate()
    assert found.values[:, 0].tolist() == [0, 0, 0, 0, 1, 2]
    assert all(shape.geom_type == "Point" for shape in found.geometries.shapes)
    assert found.geometries.ids == () and found.geometries.shapes[4].is_empty
    assert call.evaluate(range(3, 6)).values[:, 0].tolist() == [0, 1, 2]


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_random_points_lie_within_and_come_again_with_the_seed(seed, count):
    concave = shapely.Polygon([(0, 0), (100, 0), (100, 1), (1, 1), (1, 100), (0, 100)])
    given = vectors(SQUARE.difference(POINT.buffer(40)), concave, LINE, shapely.MultiPoint([(1, 1), (2, 2), (3, 3)]))
    found, again = (
        result_of("vector_to_random_points", data=given, geometry_count=count, seed=seed) for _ in range(2)
    )
    for shape, points in zip(given.geometries.shapes, found.geometries.shapes, strict=True):
        assert shapely.distance(shape, points.geoms).max() < 1e-6
    assert [len(points.geoms) for points in found.geometries.shapes] == [count, count, count, min(count, 3)]
    assert shapely.equals_exact(found.geometries.shapes, again.geometries.shapes).all()


def test_random_points_without_a_seed_are_the_same_in_all_units_of_a_job():
    given = vectors(SQUARE, LINE)
    one, other = (result_of("vector_to_random_points", data=given, geometry_count=5) for _ in range(2))
    assert shapely.equals_exact(one.geometries.shapes, other.geometries.shapes).all()


def test_random_points_are_spread_evenly():
    found = result_of("vector_to_random_points", data=vectors(SQUARE), geometry_count=4000, seed=1)
    x, y = shapely.get_coordinates(found.geometries.shapes[0]).T
    counts, *_ = np.histogram2d(x, y, bins=4)
    assert counts.min() > 180 and counts.max() < 330


@given(st.integers(3, 60), st.one_of(st.none(), st.integers(1, 20)))
def test_a_total_is_shared_by_size(total, each):
    small = shapely.box(0, 0, 10, 10)
    given = vectors(SQUARE, small, FAR.buffer(20), EMPTY)
    found = result_of("vector_to_random_points", data=given, total_count=total, geometry_count=each, seed=3)
    counts = [len(points.geoms) for points in found.geometries.shapes]
    assert sum(counts) <= total and min(counts[:3]) >= 1 and counts[3] == 0
    assert counts[0] >= counts[2] >= counts[1] and max(counts) <= (each or total)
    if each is None:
        assert sum(counts) == total


def test_a_total_below_the_number_of_geometries_is_refused():
    with pytest.raises(GraphError) as caught:
        result_of("vector_to_random_points", data=vectors(SQUARE, FAR), total_count=1)
    assert caught.value.fault == "CountMismatch"


VALUES = np.random.default_rng(2).normal(size=(2, 12, 16)).astype(np.float32)


def windows(values, width, height, boundary, align):
    """By slices: padded or trimmed, mean of each window."""
    rows, columns = values.shape[-2:]
    if boundary == "pad":
        more = (-rows % height, -columns % width)
        before = [more[0] if "lower" in align else 0, more[1] if "right" in align else 0]
        pads = [(0, 0), (before[0], more[0] - before[0]), (before[1], more[1] - before[1])]
        values = np.pad(values, pads, constant_values=np.nan)
    else:
        top, left = (rows % height if "lower" in align else 0), (columns % width if "right" in align else 0)
        values = values[:, top : top + rows // height * height, left : left + columns // width * width]
    found = [
        [
            np.nanmean(values[:, row : row + height, column : column + width], axis=(1, 2))
            for column in range(0, values.shape[2], width)
        ]
        for row in range(0, values.shape[1], height)
    ]
    return np.moveaxis(np.array(found), -1, 0)


@settings(max_examples=60)
@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from(["pad", "trim"]),
    st.sampled_from(["lower-left", "upper-left", "lower-right", "upper-right"]),
    st.data(),
)
def test_windows_are_reduced_whatever_part_is_asked_for(width, height, boundary, align, data):
    cube = raster(VALUES, bands(red="red", nir="nir"))
    call = evaluation_of(
        "aggregate_spatial_window",
        data=cube,
        reducer=calling("mean", "data"),
        size=[width, height],
        boundary=boundary,
        align=align,
    )
    whole = call.evaluate()
    np.testing.assert_allclose(whole.values, windows(VALUES, width, height, boundary, align), rtol=1e-5, atol=1e-6)
    assert whole.grid == call.type().grid and whole.grid.shape == whole.values.shape[1:]
    assert (whole.grid.dx, whole.grid.dy) == (10.0 * width, -10.0 * height)
    rows, columns = whole.grid.shape
    top, bottom = sorted((data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows))))
    left, right = sorted((data.draw(st.integers(0, columns)), data.draw(st.integers(0, columns))))
    part = call.evaluate(Box(top, left, bottom, right))
    if top < bottom and left < right:
        np.testing.assert_array_equal(part.values, whole.values[:, top:bottom, left:right])


def test_windows_lie_at_the_corner_that_is_named():
    cube = raster(VALUES, bands(red="red", nir="nir"))
    given = {"data": cube, "reducer": calling("max", "data"), "size": [5, 5]}
    padded = result_of("aggregate_spatial_window", **given, align="lower-right").grid
    assert (padded.left, padded.top) == (GRID.left - 40, GRID.top + 30)
    trimmed = result_of("aggregate_spatial_window", **given, align="lower-right", boundary="trim").grid
    assert (trimmed.left, trimmed.top) == (GRID.left + 10, GRID.top - 20)


@pytest.mark.parametrize("size", [[0, 1], [1], 3, [1.5, 2], [True, 2]])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(GraphError, match="'size'"):
        result_of("aggregate_spatial_window", data=raster(VALUES[0]), reducer=calling("mean", "data"), size=size)


def test_a_bounding_box_keeps_geometries_that_lie_in_it_completely():
    given = vectors(SQUARE, FAR, POINT, EMPTY, properties=[{"n": n} for n in range(4)], names=("n",))
    box = {"west": 600000, "south": 5199900, "east": 600100, "north": 5200000, "crs": 32632}
    call = evaluation_of("filter_bbox", data=given, extent=box)
    assert call.evaluate().values[:, 0].tolist() == [0, 2] and call.evaluate((1,)).values.tolist() == [[2]]
    smaller = evaluation_of("filter_bbox", data=given, extent=box | {"east": 600099}).evaluate()
    assert smaller.geometries.ids == ("f2",)
    degrees = {"west": 10, "south": 46.8, "east": 10.4, "north": 47.1}
    assert result_of("filter_bbox", data=given, extent=degrees).geometries.ids == ("f0", "f2")


STACK = raster(
    np.stack([VALUES, VALUES + 1, VALUES * 2]),
    times("2024-03-01", "2024-03-06", "2024-04-02"),
    bands(red="red", nir="nir"),
)
ZONES = [shapely.box(600000 + 20 * n, 5199890, 600035 + 20 * n, 5199990) for n in range(6)]


@pytest.mark.parametrize(
    ("process", "arguments", "kept"),
    [
        ("apply", {"process": calling("multiply", "x", y=2)}, ("geometry", "t", "bands")),
        ("reduce_dimension", {"dimension": "t", "reducer": calling("mean", "data")}, ("geometry", "bands")),
        ("reduce_dimension", {"dimension": "bands", "reducer": calling("max", "data")}, ("geometry", "t")),
        ("apply_dimension", {"dimension": "t", "process": calling("cumsum", "data")}, ("geometry", "t", "bands")),
        ("filter_bands", {"bands": ["nir"]}, ("geometry", "t", "bands")),
        ("filter_temporal", {"extent": ["2024-03-02", "2024-05-01"]}, ("geometry", "t", "bands")),
        ("ndvi", {}, ("geometry", "t")),
        ("rename_dimension", {"source": "geometry", "target": "parcel"}, ("parcel", "t", "bands")),
        ("add_dimension", {"name": "new", "label": "l"}, ("new", "geometry", "t", "bands")),
        (
            "aggregate_temporal_period",
            {"period": "month", "reducer": calling("mean", "data")},
            ("geometry", "t", "bands"),
        ),
        ("vector_reproject", {"projection": 3035}, ("geometry", "t", "bands")),
        ("save_result", {"format": "JSON"}, ("geometry", "t", "bands")),
    ],
)
def test_processes_of_cubes_work_on_vector_cubes_and_on_parts_of_them(process, arguments, kept):
    cube = result_of("aggregate_spatial", data=STACK, geometries=geojson(*ZONES), reducer=calling("mean", "data"))
    call = evaluation_of(process, data=cube, **arguments)
    whole = call.evaluate()
    assert whole.names == kept and len(whole.geometries) == 6
    axis = [dim.kind for dim in whole.dims].index("geometry")
    for asked in (range(2, 5), (0, 3), range(0)):
        part = call.evaluate(asked)
        assert part.features == asked
        np.testing.assert_array_equal(part.values, np.take(whole.values, list(asked), axis))
    assert call.type().names == kept and call.type().values.dtype == whole.values.dtype


def test_vector_cubes_of_the_same_geometries_are_merged():
    given = {"geometries": geojson(*ZONES), "reducer": calling("mean", "data")}
    cube = result_of("aggregate_spatial", data=STACK, **given)
    call = evaluation_of("merge_cubes", cube1=cube, cube2=cube, overlap_resolver=calling("add", "x", "y"))
    np.testing.assert_array_equal(call.evaluate((1, 4)).values, 2 * cube.values[[1, 4]])
    other = result_of("rename_labels", data=cube, dimension="bands", source=["red", "nir"], target=["a", "b"])
    merged = result_of("merge_cubes", cube1=cube, cube2=other)
    assert merged.dim("bands").labels == ("red", "nir", "a", "b") and len(merged.geometries) == 6
