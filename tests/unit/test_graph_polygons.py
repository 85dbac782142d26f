"""Masks, crops and processes of polygons, whatever part is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.errors import GraphError
from hpckit.processgraph.graph import FromParameter
from hpckit.space.box import Box
from hpckit.testing.graphs import GRID, bands, calling, child, evaluation_of, raster, result_of, step

VALUES = np.arange(2 * 12 * 16, dtype=np.float32).reshape(2, 12, 16)
VALUES[0, 3, 4] = np.nan
CUBE = raster(VALUES, bands(red="red", nir="nir"))
X, Y = np.meshgrid(GRID.xs(GRID.box), GRID.ys(GRID.box))
LEFT = shapely.box(600000, 5199880, 600050, 5200000)
MIDDLE = shapely.Point(600090, 5199940).buffer(33)

boxes = st.tuples(st.integers(0, 12), st.integers(0, 16), st.integers(0, 12), st.integers(0, 16)).map(
    lambda sides: Box(
        min(sides[0], sides[2]), min(sides[1], sides[3]), max(sides[0], sides[2]), max(sides[1], sides[3])
    )
)


def geojson(*shapes):
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in shapes
    ]
    return {"type": "FeatureCollection", "features": features, "crs": crs}


def inside(*shapes):
    return np.any([shapely.contains_xy(shape, X, Y) for shape in shapes], axis=0)


def test_pixels_outside_are_null_or_those_inside():
    mask = inside(LEFT, MIDDLE)
    found = result_of("mask_polygon", data=CUBE, mask=geojson(LEFT, MIDDLE))
    np.testing.assert_array_equal(found.values, np.where(mask, VALUES, np.nan))
    found = result_of("mask_polygon", data=CUBE, mask=geojson(LEFT, MIDDLE), inside=True)
    np.testing.assert_array_equal(found.values, np.where(mask, np.nan, VALUES))
    assert found.values.dtype == np.float32 and found.grid == CUBE.grid and found.dims == CUBE.dims


@pytest.mark.parametrize(
    ("values", "replacement", "expected"),
    [
        (np.ones((12, 16), np.uint8), None, np.float32),
        (np.ones((12, 16), np.uint8), 255, np.uint8),
        (np.ones((12, 16), np.uint8), 256, np.float64),
        (np.ones((12, 16), np.int32), None, np.float64),
        (np.ones((12, 16), bool), False, np.bool_),
        (np.ones((12, 16), bool), None, np.float32),
        (np.ones((12, 16), np.float32), -9999, np.float32),
        (np.ones((12, 16), np.float32), "x", np.object_),
    ],
)
def test_the_replacement_and_the_type_decide_about_the_type(values, replacement, expected):
    call = evaluation_of("mask_polygon", data=raster(values), mask=geojson(LEFT), replacement=replacement)
    found = call.evaluate()
    assert found.values.dtype == expected == call.type().values.dtype
    outside = found.values[~inside(LEFT)]
    assert np.isnan(outside).all() if replacement is None else (outside == replacement).all()
    assert (found.values[inside(LEFT)] == values[inside(LEFT)]).all()


def test_empty_masks_hold_nothing_and_points_are_refused():
    assert np.isnan(result_of("mask_polygon", data=CUBE, mask=geojson(shapely.Polygon())).values).all()
    with pytest.raises(GraphError, match="geometry 2 is a Point"):
        result_of("mask_polygon", data=CUBE, mask=geojson(LEFT, shapely.Point(600000, 5200000)))


def test_a_vector_cube_is_a_mask():
    vectors = result_of("load_geojson", data=geojson(MIDDLE))
    found = result_of("mask_polygon", data=CUBE, mask=vectors)
    np.testing.assert_array_equal(found.values, np.where(inside(MIDDLE), VALUES, np.nan))


def test_a_filter_crops_and_masks():
    call = evaluation_of("filter_spatial", data=CUBE, geometries=geojson(MIDDLE))
    found = call.evaluate()
    mask = inside(MIDDLE)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(found.values, np.where(mask, VALUES, np.nan)[:, *window])
    assert found.grid == GRID.part(Box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)) == call.type().grid


def test_a_filter_by_points_and_lines_keeps_the_pixels_that_they_touch():
    line = shapely.LineString([(600005, 5199995), (600035, 5199995)])
    found = result_of("filter_spatial", data=CUBE, geometries=geojson(line, shapely.Point(600025, 5199975)))
    assert found.grid.shape == (3, 4)
    assert np.argwhere(~np.isnan(found.values[1])).tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [2, 2]]


def test_a_filter_far_away_leaves_no_pixel():
    found = result_of("filter_spatial", data=CUBE, geometries=geojson(shapely.box(0, 0, 1, 1)))
    assert found.values.shape == (2, 0, 0) and found.grid.shape == (0, 0)


@settings(max_examples=40)
@given(boxes, st.sampled_from(["mask_polygon", "filter_spatial"]), st.booleans())
def test_a_part_has_the_pixels_of_the_whole(box, process, turned):
    cube = CUBE.moved("x", 0) if turned else CUBE
    name = "mask" if process == "mask_polygon" else "geometries"
    call = evaluation_of(process, data=cube, **{name: geojson(LEFT, MIDDLE)})
    whole = call.evaluate()
    part = box.within(whole.grid.shape)
    found = call.evaluate(part)
    place = {dim.axis: number for number, dim in enumerate(whole.dims)}
    cut = [slice(None)] * 3
    cut[place["y"]], cut[place["x"]] = slice(part.top, part.bottom), slice(part.left, part.right)
    if not part.is_empty:
        np.testing.assert_array_equal(found.values, whole.values[tuple(cut)])
    assert found.names == cube.names


# A process of sub-cubes: the mean of a polygon, put into all its pixels.
def spread_mean(*, data, context):
    if not data.values.size:
        return data
    values = np.broadcast_to(np.nanmean(data.values, axis=(-2, -1), keepdims=True), data.values.shape)
    return data.with_values(values + (context or 0))


class Process:
    """A callback that notes what it gets."""

    def __init__(self, run):
        self.run, self.extents = run, []

    def __call__(self, **parameters):
        self.extents.append(parameters["data"].grid)
        return self.run(**parameters)


def applied(run, cube=CUBE, *shapes, **arguments):
    call = evaluation_of(
        "apply_polygon", data=cube, geometries=geojson(*shapes), process=FromParameter("callback"), **arguments
    )
    call.parameters = {**call.parameters, "callback": run}
    return call


def test_a_process_gets_each_polygon_by_itself():
    process = Process(spread_mean)
    found = applied(process, CUBE, LEFT, MIDDLE, context=1).evaluate()
    expected = np.full(VALUES.shape, np.nan)
    for shape in (LEFT, MIDDLE):
        mask = inside(shape)
        expected[:, mask] = np.nanmean(VALUES[:, mask], axis=1)[:, None] + 1
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert found.values.dtype == np.float32 and found.grid == CUBE.grid
    assert GRID.part(Box(0, 0, 12, 5)) in process.extents  # the smallest rectangle around the first polygon


def test_pixels_around_a_polygon_have_the_mask_value():
    seen = []

    def look(*, data, context):
        seen.append(data.values)
        return data

    applied(look, CUBE, MIDDLE, mask_value=-1).evaluate()
    box = next(each for each in seen if each.size)
    mask = inside(MIDDLE)
    assert (box == -1).sum() == 2 * (box[0].size - mask.sum())


@settings(max_examples=40)
@given(boxes)
def test_a_part_of_processed_polygons_is_that_of_the_whole(box):
    call = applied(spread_mean, CUBE, LEFT, MIDDLE)
    whole = call.evaluate().values
    if not box.is_empty:
        np.testing.assert_array_equal(call.evaluate(box).values, whole[:, box.top : box.bottom, box.left : box.right])


def test_polygons_that_share_a_pixel_are_refused_before_anything_is_computed():
    with pytest.raises(GraphError, match="overlap") as caught:
        applied(spread_mean, CUBE, LEFT, shapely.box(600040, 5199880, 600060, 5200000)).type()
    assert caught.value.fault == "GeometriesOverlap"
    # An edge in common is none.
    applied(spread_mean, CUBE, LEFT, shapely.box(600050, 5199880, 600060, 5200000)).evaluate()


def test_a_process_that_gives_another_cube_is_refused():
    with pytest.raises(GraphError, match="does not give a cube with the dimensions"):
        applied(lambda **_: 3, CUBE, LEFT).type()
    with pytest.raises(GraphError, match="another size"):
        applied(lambda *, data, context: data.at("bands", [0]), CUBE, LEFT).type()


def test_a_graph_is_a_process_of_polygons():
    process = child(
        all=step("apply", data=FromParameter("data"), process=calling("multiply", "x", y=2)),
    )
    found = result_of("apply_polygon", data=CUBE, geometries=geojson(LEFT), process=process)
    np.testing.assert_array_equal(found.values, np.where(inside(LEFT), VALUES * 2, np.nan))
