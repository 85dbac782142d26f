"""Each zone is answered for exactly once, wherever tiles overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.reduce.signatures.assignment import Assignment, TileBox, assign, project

WEST = TileBox("31UFU", 32631, (600000.0, 5590200.0, 709800.0, 5700000.0))
EAST = TileBox("31UGU", 32631, (699960.0, 5590200.0, 809760.0, 5700000.0))
NEXT = TileBox("32ULB", 32632, (300000.0, 5590200.0, 409800.0, 5700000.0))
TILES = (WEST, EAST, NEXT)
UTM31 = pyproj.CRS.from_epsg(32631)

squares = st.builds(
    lambda x, y, size: shapely.box(x, y, x + size, y + size),
    st.floats(590000, 820000),
    st.floats(5580000, 5710000),
    st.floats(10, 30000),
)


@given(st.lists(squares, min_size=1, max_size=20), st.sets(st.sampled_from([t.tile for t in TILES]), min_size=1))
def test_no_zone_is_answered_for_twice_and_none_that_a_present_tile_holds_is_lost(zones, present):
    result = assign(np.array(zones), UTM31, TILES)
    answered = np.concatenate([result.zones_of(tile, frozenset(present)) for tile in sorted(present)])
    assert len(answered) == len(set(answered.tolist()))
    held = {
        row
        for tile in TILES
        if tile.tile in present
        for row, zone in enumerate(project(np.array(zones), UTM31, tile.epsg))
        if shapely.box(*tile.bounds).contains_properly(zone)
    }
    assert held <= set(answered.tolist())


@given(st.lists(squares, min_size=1, max_size=10))
def test_every_zone_is_held_in_pieces_or_outside(zones):
    result = assign(np.array(zones), UTM31, TILES)
    whole, cut, outside = set(result.zone.tolist()), {p.zone for p in result.pieces}, set(result.outside.tolist())
    assert whole | cut | outside == set(range(len(zones)))
    assert not (whole & cut or whole & outside or cut & outside)


@given(squares)
def test_pieces_of_one_utm_zone_partition_what_the_tiles_cover(zone):
    result = assign(np.array([zone]), UTM31, (WEST, EAST))
    covered = shapely.intersection(zone, shapely.union_all([shapely.box(*WEST.bounds), shapely.box(*EAST.bounds)]))
    if result.pieces:
        assert sum(piece.geometry.area for piece in result.pieces) == pytest.approx(covered.area, rel=1e-9)
        union = shapely.union_all([piece.geometry for piece in result.pieces])
        assert union.area == pytest.approx(covered.area, rel=1e-9)


def test_a_zone_in_the_overlap_of_two_utm_zones_prefers_its_own():
    zone = shapely.box(760000, 5640000, 760100, 5640100)  # 6.9 degrees east
    zone32 = project(np.array([zone]), UTM31, 32632)
    result = assign(zone32, pyproj.CRS.from_epsg(32632), TILES)
    assert result.zones_of("32ULB", frozenset({"31UGU", "32ULB"})).tolist() == [0]
    assert result.zones_of("31UGU", frozenset({"31UGU"})).tolist() == [0]
    assert result.zones_of("31UGU", frozenset({"31UGU", "32ULB"})).tolist() == []


def test_the_order_of_the_tiles_does_not_matter():
    zones = np.array([shapely.box(x, 5640000, x + 3000, 5643000) for x in range(600000, 800000, 2500)])
    one, other = assign(zones, UTM31, TILES), assign(zones, UTM31, TILES[::-1])
    everywhere = frozenset(tile.tile for tile in TILES)
    for tile in TILES:
        assert one.zones_of(tile.tile, everywhere).tolist() == other.zones_of(tile.tile, everywhere).tolist()


def test_a_zone_across_the_antimeridian_is_found():
    fiji = TileBox("01KAB", 32701, (99960.0, 8090220.0, 209760.0, 8200020.0))
    zone = shapely.box(150000, 8100000, 150500, 8100500)
    degrees = project(np.array([zone]), pyproj.CRS.from_epsg(32701), 4326)
    assert assign(degrees, pyproj.CRS.from_epsg(4326), [fiji]).zone.tolist() == [0]


def test_saving_and_loading_changes_nothing(tmp_path: Path):
    zones = np.array([shapely.box(x, 5640000, x + 12000, 5643000) for x in range(600000, 800000, 9000)])
    saved = assign(zones, UTM31, TILES)
    saved.save(tmp_path / "a.npz")
    loaded = Assignment.load(tmp_path / "a.npz")
    assert loaded.tiles == saved.tiles and loaded.pieces == saved.pieces and len(saved.pieces) > 0
    for name in ("zone", "candidate", "outside"):
        assert np.array_equal(getattr(loaded, name), getattr(saved, name))


def test_no_zones_at_all_inside():
    result = assign(np.array([shapely.box(0, 0, 1, 1)]), UTM31, TILES)
    assert result.outside.tolist() == [0] and len(result.zone) == 0 and result.groups() == {}
