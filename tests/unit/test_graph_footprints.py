"""Pixels of geometries against shapely, whatever part of a grid is asked for; groups of neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.processgraph.cube import Geometries, Grid
from hpckit.processgraph.footprints import Footprints
from hpckit.processgraph.neighbours import neighbours
from hpckit.space.box import Box
from hpckit.space.lines import trace
from hpckit.space.vector.shapes import clean_shapes

GRID = Grid("EPSG:32632", 600000.0, 5200000.0, 10.0, -10.0, 24, 30)
ROWS, COLUMNS = GRID.shape
CENTRES = np.stack(np.meshgrid(GRID.xs(GRID.box), GRID.ys(GRID.box)), axis=-1).reshape(-1, 2)

positions = st.tuples(st.floats(599950, 600350), st.floats(5199710, 5200050))
"""In and around the grid."""
rings = st.lists(positions, min_size=3, max_size=8).map(shapely.Polygon)
polygons = rings.map(lambda ring: clean_shapes(np.array([ring], dtype=object)).geometries[0]).filter(bool)
boxes = st.tuples(st.integers(0, ROWS), st.integers(0, COLUMNS), st.integers(0, ROWS), st.integers(0, COLUMNS)).map(
    lambda sides: Box(
        min(sides[0], sides[2]), min(sides[1], sides[3]), max(sides[0], sides[2]), max(sides[1], sides[3])
    )
)


def footprints(*shapes, grid=GRID):
    return Footprints(Geometries(np.array(shapes, dtype=object), grid.crs), grid)


def pixels(found: Footprints, box=GRID.box):
    index = found.pixels(np.arange(len(found)), box)
    return [index.pixels[first:last] for first, last in zip(index.offsets, index.offsets[1:], strict=False)]


@given(st.lists(polygons, min_size=1, max_size=4))
def test_pixels_of_polygons_are_those_whose_centres_they_hold(shapes):
    found = footprints(*shapes)
    for shape, got in zip(shapes, pixels(found), strict=True):
        inside = shapely.contains_xy(shape, CENTRES[:, 0], CENTRES[:, 1])
        near = shapely.distance(shapely.boundary(shape), shapely.points(CENTRES)) < 1e-6  # where rounding decides
        burned = np.zeros(len(CENTRES), bool)
        burned[got] = True
        assert ((burned == inside) | near).all()


@given(
    st.lists(
        st.one_of(polygons, st.lists(positions, min_size=2, max_size=5).map(shapely.LineString)),
        min_size=1,
        max_size=4,
    ),
    boxes,
)
def test_a_part_has_the_pixels_of_the_whole(shapes, box):
    found = footprints(*shapes)
    whole = pixels(found)
    for all_of_it, part in zip(whole, pixels(found, box), strict=True):
        mask = np.zeros(GRID.shape, bool)
        mask.reshape(-1)[all_of_it] = True
        cut = mask[box.top : box.bottom, box.left : box.right]
        assert part.tolist() == np.flatnonzero(cut).tolist()


@given(st.lists(polygons, min_size=2, max_size=5), st.data())
def test_geometries_have_the_same_pixels_alone(shapes, data):
    found = footprints(*shapes)
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(shapes) - 1), min_size=1))))
    index = found.pixels(chosen, GRID.box)
    whole = pixels(found)
    for place, number in enumerate(chosen):
        assert index.pixels[index.offsets[place] : index.offsets[place + 1]].tolist() == whole[number].tolist()


@given(
    st.one_of(
        polygons, st.lists(positions, min_size=2, max_size=5).map(shapely.LineString), positions.map(shapely.Point)
    )
)
def test_the_rectangle_around_a_geometry_has_all_its_pixels_and_no_empty_rim(shape):
    found = footprints(shape)
    (got,) = pixels(found)
    box = found.around(np.array([0]))
    rows, columns = got // COLUMNS, got % COLUMNS
    if len(got):
        assert box.top <= rows.min() and rows.max() < box.bottom
        assert box.left <= columns.min() and columns.max() < box.right
    assert found.touching(GRID.box).tolist() == ([0] if not box.is_empty else [])


@given(st.lists(positions, min_size=2, max_size=5))
def test_a_line_has_the_pixels_that_it_runs_through(points):
    line = shapely.LineString(points)
    (got,) = pixels(footprints(line))
    squares = shapely.box(CENTRES[:, 0] - 5, CENTRES[:, 1] - 5, CENTRES[:, 0] + 5, CENTRES[:, 1] + 5)
    length = shapely.length(shapely.intersection(squares, line))
    assert set(np.flatnonzero(length > 1e-5)) <= set(got.tolist())
    assert (shapely.distance(squares[got], line) < 1e-5).all()


def test_a_line_of_no_length_is_a_point():
    edges, rows, columns = trace(np.array([[2.5, 3.5]]), np.array([[2.5, 3.5]]))
    assert (edges.tolist(), rows.tolist(), columns.tolist()) == ([0], [3], [2])


def test_points_have_the_pixel_in_which_they_lie_and_none_outside():
    shapes = shapely.Point(600001, 5199999), shapely.MultiPoint([(600299, 5199761), (600301, 5199761)])
    assert [each.tolist() for each in pixels(footprints(*shapes, shapely.Point(599999, 5199999)))] == [
        [0],
        [ROWS * COLUMNS - 1],
        [],
    ]


def test_what_parts_of_a_collection_share_counts_once():
    square = shapely.box(600000, 5199970, 600030, 5200000)
    mixed = shapely.GeometryCollection([square, shapely.Point(600005, 5199995), shapely.Point(600095, 5199995)])
    assert pixels(footprints(mixed))[0].tolist() == [0, 1, 2, 9, 30, 31, 32, 60, 61, 62]


def test_empty_and_far_geometries_have_no_pixels():
    found = footprints(shapely.Polygon(), shapely.GeometryCollection(), shapely.box(0, 0, 1, 1))
    assert [len(each) for each in pixels(found)] == [0, 0, 0]
    assert found.reached.tolist() == [] and found.around(np.arange(3)).is_empty


def test_a_polygon_that_crosses_itself_is_repaired():
    bow = shapely.Polygon([(600000, 5200000), (600100, 5199900), (600100, 5200000), (600000, 5199900)])
    (got,) = pixels(footprints(bow))
    inside = shapely.contains_xy(shapely.make_valid(bow), CENTRES[:, 0], CENTRES[:, 1])
    assert abs(len(got) - inside.sum()) <= 10  # centres on the diagonals


@pytest.mark.parametrize(("dx", "dy", "left", "top"), [(10, 10, 600000, 5199760), (-10, -10, 600300, 5200000)])
def test_grids_may_run_the_other_way(dx, dy, left, top):
    grid = replace(GRID, dx=float(dx), dy=float(dy), left=float(left), top=float(top))
    shape = shapely.Point(600123.4, 5199876.5).buffer(57.3)
    (got,) = pixels(footprints(shape, grid=grid))
    xs, ys = grid.xs(grid.box), grid.ys(grid.box)
    x, y = np.meshgrid(xs, ys)
    assert got.tolist() == np.flatnonzero(shapely.contains_xy(shape, x, y)).tolist()


def test_geojson_comes_to_the_crs_of_the_grid():
    degrees = Geometries(np.array([shapely.box(10.3, 46.9, 10.4, 47.0)], dtype=object), "EPSG:4326")
    x, y = pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(10.35, 46.95)
    grid = Grid("EPSG:32632", x - 5000.0, y + 5000.0, 100.0, -100.0, 100, 100)
    index = Footprints(degrees, grid).pixels(np.array([0]), grid.box)
    xs, ys = np.meshgrid(grid.xs(grid.box), grid.ys(grid.box))
    back = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(xs, ys)
    inside = (back[0] > 10.3) & (back[0] < 10.4) & (back[1] > 46.9) & (back[1] < 47.0)
    assert index.pixels.tolist() == np.flatnonzero(inside).tolist()


@given(st.lists(positions, min_size=0, max_size=60), st.integers(1, 200))
def test_neighbours_are_each_geometry_once_within_the_limit(points, most):
    shapes = np.array([shapely.Point(point).buffer(12) for point in points], dtype=object)
    geometries = Geometries(shapes, GRID.crs)
    groups = neighbours(geometries, GRID, most)
    assert sorted(np.concatenate([np.empty(0, int), *groups]).tolist()) == list(range(len(points)))
    found = Footprints(geometries, GRID)
    for group in groups:
        assert (np.diff(group) > 0).all()
        rows, columns = found.around(group).shape
        assert rows * columns <= most or len(found.boxes[group]) == 1


def test_neighbours_read_little_more_than_once():
    generator = np.random.default_rng(3)
    grid = Grid("EPSG:32632", 0.0, 50000.0, 10.0, -10.0, 5000, 5000)
    shapes = shapely.buffer(shapely.points(generator.uniform(0, 50000, (20000, 2))), 40)
    groups = neighbours(Geometries(shapes, grid.crs), grid, 250_000)
    found = Footprints(Geometries(shapes, grid.crs), grid)
    read = sum(int(np.prod(found.around(group).shape)) for group in groups)
    assert read < 2 * 5000 * 5000
