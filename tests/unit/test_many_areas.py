"""Areas of very many polygons, as zone layers are: tiles and fractions are those of what they cover together."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.sensors.native import MGRS
from hpckit.space.aoi import read_aoi
from hpckit.space.grid import parse_grid
from hpckit.space.overlap import RIM_M
from hpckit.space.vector.project import united

PLACES = st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0.001, 0.1), st.floats(0.001, 0.1))
"""West, south, width and height of a box, degrees; around 6 degrees east, where two UTM zones meet."""


def boxes(places: list[tuple[float, float, float, float]], touching: bool) -> list[shapely.Geometry]:
    shapes = [shapely.box(6 + x, 51 + y, 6 + x + w, 51 + y + h) for x, y, w, h in places]
    if touching:  # beside each there is one that shares an edge with it, and one that shares a corner
        shapes += [shapely.box(s.bounds[2], s.bounds[1], s.bounds[2] + 0.01, s.bounds[3]) for s in shapes]
        shapes += [shapely.box(s.bounds[2], s.bounds[3], s.bounds[2] + 0.01, s.bounds[3] + 0.01) for s in shapes]
    return shapes


@given(st.lists(PLACES, min_size=1, max_size=12), st.booleans())
def test_what_polygons_cover_together(places, touching):
    shapes = np.array(boxes(places, touching), dtype=object)
    found, expected = united(shapes), shapely.union_all(shapes)
    assert found.is_valid and found.symmetric_difference(expected).area < 1e-15


@pytest.mark.parametrize("grid", ["mgrs", "utm:10240@10", "EPSG:3035:20000@20"])
@given(places=st.lists(PLACES, min_size=1, max_size=6), touching=st.booleans())
@settings(max_examples=5, deadline=None)
def test_tiles_of_many_polygons(grid, places, touching):
    shapes = boxes(places, touching)
    tiles = {tile.tile: tile for tile in parse_grid(grid, MGRS).tiles(read_aoi(shapely.MultiPolygon(shapes).wkt))}
    whole = shapely.segmentize(shapely.union_all(shapes), 1e-3)
    for tile in tiles.values():
        move = pyproj.Transformer.from_crs(4326, tile.epsg, always_xy=True)
        there = shapely.transform(whole, lambda xy, move=move: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))
        share = shapely.make_valid(there).intersection(tile.polygon).area / tile.polygon.area
        assert tile.aoi_fraction == pytest.approx(share, rel=1e-3, abs=RIM_M * 4 / 10_000)
        assert share > 0
    assert sum(tile.polygon.area * tile.aoi_fraction for tile in tiles.values()) >= 0.99 * _area(whole)


def _area(shape: shapely.Geometry) -> float:
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])
