"""Grids of a campaign: names, alignment, coverage, refusals."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpckit.errors import GridError
from hpckit.sensors.native import MGRS
from hpckit.space.grid import parse_grid, parse_tiling
from hpckit.space.squares import MOST_WINDOW, Squares

GRIDS = [
    "utm:10240@10",
    "utm:9600@60",
    "utm:100000@20",
    "EPSG:3035:10000@20",
    "EPSG:3035:10000@100",
    "EPSG:2154:7680@30",
    "utm:10000+3330+2230@10",
    "EPSG:2154:7680+0+120@30",
]
PLACES = st.tuples(st.floats(-4.5, 9.5), st.floats(42.0, 50.5))


@pytest.mark.parametrize("text", GRIDS)
def test_read_as_written(text: str) -> None:
    assert str(parse_grid(text, MGRS)) == text
    assert parse_grid(f" {text.lower()}m ", MGRS) == parse_grid(text, MGRS)


@settings(max_examples=25)
@given(grid=st.sampled_from(GRIDS), place=PLACES, size=st.floats(0.01, 0.4))
def test_frames_are_those_of_the_tiles(grid: str, place: tuple[float, float], size: float) -> None:
    """A tile's name alone gives the square that the tiling gave the name to, on the lattice of the CRS."""
    spec = parse_grid(grid, MGRS)
    for tile in spec.tiles(shapely.box(*place, place[0] + size, place[1] + size)):
        frame = spec.frame(tile.tile, [spec.pixel_m])
        assert (frame.epsg, frame.bounds) == (tile.epsg, tile.bounds)
        box = frame.geobox(spec.pixel_m)
        assert tuple(box.extent.boundingbox) == tile.bounds and box.crs.to_epsg() == tile.epsg
        left, bottom = spec.corner
        assert (frame.ulx - left) % spec.size_m == 0 and (frame.uly - bottom) % spec.size_m == 0


@pytest.mark.slow
@settings(max_examples=25)
@given(grid=st.sampled_from(GRIDS), place=PLACES, size=st.floats(0.05, 0.3), data=st.data())
def test_every_point_lies_in_a_tile(grid: str, place: tuple[float, float], size: float, data: st.DataObject) -> None:
    """Gap-free, also where UTM zones meet; and once only, but for cells of two zones."""
    west, south = place
    spec = parse_grid(grid, MGRS)
    tiles = spec.tiles(shapely.box(west, south, west + size, south + size))
    # What reaches less than 0.5 m over the border of a tile does not count.
    rim = 3e-5
    x, y = data.draw(st.tuples(st.floats(west + rim, west + size - rim), st.floats(south + rim, south + size - rim)))
    held = []
    for tile in tiles:
        east, north = pyproj.Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(x, y)
        if tile.xmin <= east < tile.xmax and tile.ymin <= north < tile.ymax:
            held.append(tile)
    assert held
    assert len({tile.epsg for tile in held}) == len(held)


@pytest.mark.slow
@given(west=st.floats(5.5, 5.99), south=st.floats(-30, 60))
def test_gap_free_across_zones(west: float, south: float) -> None:
    area = shapely.box(west, south, west + 1.0, south + 0.3)
    tiles = parse_tiling("utm:20480", MGRS).tiles(area)
    assert {tile.epsg % 100 for tile in tiles} == {31, 32}
    # The equator and the border of zones 31 and 32 are borders too: 0.5 m over them do not count.
    counted = shapely.box(*area.buffer(-1e-5).bounds)
    rest = shapely.difference(counted, shapely.union_all([tile.footprint() for tile in tiles]))
    assert rest.area < 1e-9


@given(size=st.integers(1, 4000), pixel=st.sampled_from([10, 20, 60, 100]))
def test_windows_cover_the_tile(size: int, pixel: int) -> None:
    spec = Squares(3035, size * pixel, pixel)
    frame = spec.frame("E0400N0300", [pixel])
    (rows, columns), edge = frame.windows(pixel), spec.edges(pixel).window
    assert rows == columns and edge * rows >= size > edge * (rows - 1)
    assert edge % spec.edges(pixel).chunk == 0 and edge < MOST_WINDOW + 16
    assert edge * rows - size < 16 * rows, "hardly any padding"


@given(place=PLACES)
def test_equal_campaigns_have_equal_pixels(place: tuple[float, float]) -> None:
    """Areas that overlap agree on the tiles that both touch."""
    x, y = place
    grid = parse_tiling("utm:10240", MGRS)
    one = {t.tile: t.bounds for t in grid.tiles(shapely.box(x, y, x + 0.3, y + 0.3))}
    other = {t.tile: t.bounds for t in grid.tiles(shapely.box(x + 0.1, y + 0.1, x + 0.5, y + 0.5))}
    assume(one.keys() & other.keys())
    assert all(one[name] == other[name] for name in one.keys() & other.keys())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("utm:10240@30", "no whole number of pixels"),
        ("EPSG:3035:10000@60", "no whole number of pixels"),
        ("EPSG:4326:10000@10", "not projected in metres"),
        ("EPSG:2225:10000@10", "not projected in metres"),
        ("EPSG:99999:10000@10", "no known CRS"),
        ("utm:10240", "is no grid"),
        ("utm:10240@0", "no whole number"),
        ("utm:0@10", "no whole number"),
        ("utm:-10@10", "is no grid"),
        ("wgs84:1@1", "is no grid"),
        ("EPSG:3035:10000000@10", "too large"),
        ("utm:10000+5+0@10", "begin between pixels of 10 m"),
        ("utm:0+5+5@10", "no whole number"),
        ("utm:10000+5@10", "is no grid"),
    ],
)
def test_grids_that_make_no_sense(text: str, why: str) -> None:
    with pytest.raises(GridError, match=why):
        parse_grid(text, MGRS)


@pytest.mark.parametrize(
    ("grid", "tile"),
    [("utm:10240@10", "E0400N0300"), ("EPSG:3035:10000@20", "31N_E0040N0500"), ("EPSG:3035:10000@20", "31UFU")],
)
def test_names_of_other_grids(grid: str, tile: str) -> None:
    with pytest.raises(GridError, match="is no tile of grid"):
        parse_grid(grid, MGRS).frame(tile, [10])


def test_cells_south_and_west_of_the_origin() -> None:
    spec = parse_grid("EPSG:3577:50000@100", MGRS)  # Australia: northings are negative
    tiles = spec.tiles(shapely.box(148.5, -35.6, 149.3, -35.0))
    assert tiles and all(spec.frame(t.tile, [100]).bounds == t.bounds and t.ymin < 0 for t in tiles)
    assert np.allclose([t.xmin % 50000 for t in tiles], 0)
