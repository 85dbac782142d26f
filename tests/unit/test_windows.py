"""Which windows are held: shapely's areas are the reference, over areas and zones of many shapes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.cubes import held
from hpckit.cubes.held import WHOLE, Held
from hpckit.errors import PlanError
from hpckit.reduce.signatures.index import build_index
from hpckit.sensors.registry import SENSORS
from hpckit.space.frame import Frame
from hpckit.space.overlap import RIM_M
from hpckit.space.windows import covering, holding, touched, within

SIZES = (10, 20, 60)
WEST, NORTH, EDGE = 600000.0, 5700000.0, 30000
FRAME = Frame(
    "31UFU",
    32631,
    WEST,
    NORTH,
    {size: (EDGE // size, EDGE // size) for size in SIZES},
    {size: SENSORS[0].grid.edges(size).window for size in SIZES},
)
BORDER = WEST + 10240


@cache
def boxes(size: int, wider_m: float = 0.0) -> np.ndarray:
    """Windows of the granule, one by one."""
    edge = FRAME.edges[size] * size
    rows, columns = FRAME.windows(size)
    found = np.empty((rows, columns), dtype=object)
    for row in range(rows):
        for column in range(columns):
            west, north = WEST + column * edge, NORTH - row * edge
            east, south = min(west + edge, WEST + EDGE), max(north - edge, NORTH - EDGE)
            found[row, column] = shapely.box(west - wider_m, south - wider_m, east + wider_m, north + wider_m)
    return found


def places() -> st.SearchStrategy[float]:
    """Metres from a corner of the granule: anywhere, and on or beside borders of windows."""
    near = st.sampled_from([10240, 11520, 12800, 20480, 23040, 25600, 0, EDGE])
    beside = st.sampled_from([0.0, -0.3, 0.3, -0.5, 0.5, -0.7, 0.7, 5.0, -5.0])
    return st.one_of(st.floats(-3000, EDGE + 3000), st.builds(lambda a, b: a + b, near, beside))


@st.composite
def areas(draw: st.DrawFn) -> shapely.Geometry:
    """Polygons, with holes, in several parts, some smaller than a pixel."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        x, y = WEST + draw(places()), NORTH - draw(places())
        radius = draw(st.sampled_from([0.2, 3.0, 200.0, 2000.0, 11000.0]))
        corners = draw(st.integers(3, 9))
        shape = (
            shapely.Point(x, y).buffer(radius, corners) if corners > 4 else shapely.box(x, y, x + radius, y + radius)
        )
        if radius > 1000 and draw(st.booleans()):
            shape = shape.difference(shapely.Point(x, y).buffer(radius * 0.7))
        parts.append(shape)
    return shapely.union_all(parts)


@settings(max_examples=80, deadline=None)
@given(areas(), st.sampled_from(SIZES), st.sampled_from([0.0, 0.0, 750.0]))
def test_windows_of_an_area_are_those_that_share_area_with_it(area, size, margin):
    found = touched(FRAME, size, area, margin)
    wide = area.buffer(margin, 32) if margin else area
    sure = shapely.area(shapely.intersection(boxes(size, -RIM_M - 0.01), wide)) > 1e-6
    none = shapely.area(shapely.intersection(boxes(size, 0.01), area.buffer(margin + 1, 32) if margin else area)) == 0
    assert found[sure].all()
    assert not found[none].any()
    for part in shapely.get_parts(area):
        if shapely.box(*FRAME.bounds).contains(part):
            assert shapely.intersects(boxes(size)[found], part).any(), "every part of the area is held"


@pytest.mark.parametrize("size", SIZES)
def test_an_area_cut_along_windows_has_these_windows_only(size):
    edge = FRAME.edges[size] * size
    area = shapely.box(WEST + edge, NORTH - 2 * edge, WEST + 2 * edge, NORTH - edge)
    wanted = np.zeros(FRAME.windows(size), bool)
    wanted[1, 1] = True
    for shift in (0.0, 0.4, -0.4):
        np.testing.assert_array_equal(touched(FRAME, size, shapely.affinity.translate(area, shift)), wanted)
    assert touched(FRAME, size, area, 1.0).sum() == min(9, wanted.size)


def test_an_area_in_the_rim_of_two_windows_has_both():
    sliver = shapely.box(BORDER - 0.2, NORTH - 300, BORDER + 0.2, NORTH - 200)
    assert np.argwhere(touched(FRAME, 10, sliver)).tolist() == [[0, 0], [0, 1]]


def test_the_last_windows_reach_to_the_end_of_the_finest_raster():
    """A raster of 60 m may end before that of 10 m does, whose last pixels look up its last ones."""
    frame = replace(FRAME, shapes={10: (1100, 1100), 60: (183, 183)})
    corner = shapely.box(WEST + 10990, NORTH - 11000, WEST + 11000, NORTH - 10990)
    for size in (10, 60):
        assert touched(frame, size, corner)[-1, -1]
        assert holding(frame, size, np.array([corner]))[-1, -1]


@settings(max_examples=25, deadline=None)
@given(st.lists(areas(), min_size=1, max_size=3), st.sampled_from(["centre", "fraction"]))
def test_windows_of_zones_hold_every_pixel_of_them(zones, coverage):
    """Also at other pixel sizes: there, the pixel counts that holds the centre of the index's pixel."""
    shapes = np.array([shapely.MultiPolygon(shapely.get_parts(zone).tolist()) for zone in zones], dtype=object)
    rows = np.arange(len(shapes), dtype=np.int32)
    for index_m in SIZES:
        index = build_index(shapes, rows, FRAME.transform(index_m), FRAME.shapes[index_m], coverage)
        for size in SIZES:
            edge_m = FRAME.edges[size] * size
            windows = holding(FRAME, size, shapes, index_m / 2 if edge_m % index_m else 0.0)
            row, column = np.divmod(index.pixels, index.shape[1])
            needed = np.zeros_like(windows)
            needed[
                ((row + 0.5) * index_m // edge_m).astype(int), ((column + 0.5) * index_m // edge_m).astype(int)
            ] = True
            assert windows[needed].all()
            np.testing.assert_array_equal(index.windows(edge_m / index_m), needed)


@settings(max_examples=30, deadline=None)
@given(st.lists(areas(), min_size=1, max_size=4), st.sampled_from(SIZES))
def test_windows_of_zones_are_no_more_than_they_touch(zones, size):
    found = holding(FRAME, size, np.array(zones, dtype=object))
    union = shapely.union_all(zones)
    np.testing.assert_array_equal(found[~shapely.intersects(boxes(size), union)], False)
    assert found[shapely.area(shapely.intersection(boxes(size), union)) > 1e-3].all()


def test_a_zone_that_ends_at_a_border_needs_no_window_beyond():
    zone = shapely.box(BORDER - 500, NORTH - 500, BORDER, NORTH - 100)
    assert np.argwhere(holding(FRAME, 10, np.array([zone]))).tolist() == [[0, 0]]
    across = shapely.box(BORDER - 500, NORTH - 500, BORDER + 0.001, NORTH - 100)
    assert np.argwhere(holding(FRAME, 10, np.array([across]))).tolist() == [[0, 0], [0, 1]]


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(SIZES),
    st.sampled_from(SIZES),
    st.integers(0, 60),
    st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4),
)
def test_covering_windows_hold_every_pixel_near(size, other, reach, chosen):
    windows = np.zeros(FRAME.windows(size), bool)
    for row, column in chosen:
        windows[min(row, windows.shape[0] - 1), min(column, windows.shape[1] - 1)] = True
    near = shapely.union_all(shapely.buffer(boxes(size)[windows], reach * other, join_style="mitre"))
    wanted = shapely.area(shapely.intersection(boxes(other), near)) > 1e-3
    found = covering(FRAME, windows, size, other, reach)
    assert found[wanted].all()
    # Pixels that a border of windows cuts count whole.
    more = shapely.union_all(shapely.buffer(boxes(size)[windows], (reach + 1) * other, join_style="mitre"))
    assert not found[shapely.area(shapely.intersection(boxes(other), more)) == 0].any()


def test_zones_share_area_with_an_area_or_they_do_not():
    area = shapely.box(8.0, 50.0, 8.1, 50.1)
    field = shapely.box(8.1, 50.02, 8.11, 50.03)
    zones = {
        "within": shapely.box(8.02, 50.02, 8.03, 50.03),
        "across": shapely.box(8.09, 50.02, 8.11, 50.03),
        "neighbour": field,
        "neighbour with rounding": shapely.affinity.translate(field, -1e-6),
        "beyond": shapely.box(8.2, 50.0, 8.3, 50.1),
        "around": shapely.box(7.0, 49.0, 9.0, 51.0),
        "narrow": shapely.box(8.0999999, 50.02, 8.1000001, 50.03),
        "in two parts": shapely.MultiPolygon(
            [shapely.box(8.2, 50, 8.3, 50.1), shapely.box(8.01, 50.01, 8.02, 50.02)]
        ),
        "with the area in its hole": shapely.box(7.0, 49.0, 9.0, 51.0) - shapely.box(7.9, 49.9, 8.2, 50.2),
    }
    found = within(area, np.array(list(zones.values()), dtype=object))
    inside = [name for name, value in zip(zones, found.tolist(), strict=True) if value]
    assert inside == ["within", "across", "around", "narrow", "in two parts"]


def test_what_is_held_is_read_back(tmp_path):
    ref = SENSORS[0].parse("SCL")
    random = np.random.default_rng(1)
    asked = {("31UFU", size): random.random(FRAME.windows(size)) < 0.5 for size in SIZES}
    some = Held(asked).with_around("31UFU", ref, random.random(FRAME.windows(20)) < 0.3)
    for number, one in enumerate((some, WHOLE)):
        held.write(tmp_path / f"{number}", one)
        again = held.read(tmp_path / f"{number}")
        assert again.is_whole is one.is_whole
        for size in SIZES:
            np.testing.assert_array_equal(again.wanted(FRAME, size), one.wanted(FRAME, size))
        np.testing.assert_array_equal(again.windows(FRAME, ref), one.windows(FRAME, ref))
    (tmp_path / "0").write_bytes((tmp_path / "0").read_bytes()[:-200])
    with pytest.raises(PlanError, match="damaged"):
        held.read(tmp_path / "0")
    with pytest.raises(PlanError, match="missing"):
        held.read(tmp_path / "2")


@settings(max_examples=15, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2))))
def test_pixels_held_are_counted_one_by_one(chosen):
    windows, raster = np.zeros((3, 3), bool), np.zeros((3000, 3000), bool)
    for row, column in chosen:
        windows[row, column] = True
        raster[row * 1024 : (row + 1) * 1024, column * 1024 : (column + 1) * 1024] = True
    assert held.pixels(FRAME, windows, 10) == raster.sum()
    assert [held.row_pixels(FRAME, windows, 10, row) for row in range(3)] == [
        raster[row * 1024 : (row + 1) * 1024].sum() for row in range(3)
    ]
