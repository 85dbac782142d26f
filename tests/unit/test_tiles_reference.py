"""Tiles of areas, against dense polygons of shapely and pyproj: in many CRSs, along grids, swapped."""

from __future__ import annotations

import math

import pyproj
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.cli import main
from hpckit.errors import AoiError
from hpckit.sensors.native import MGRS
from hpckit.space.aoi import read_aoi
from hpckit.space.grid import parse_tiling

RIM_M = 0.5
"""What the documentation says that an area may reach over a border without taking the next tile."""
SLACK_M = 0.5
"""What the dense polygon itself may err by."""

WORLD = ("EPSG:8857:40000", "EPSG:3857:40000")
PACIFIC = ("EPSG:3832:40000",)
"""A grid that 180 degrees do not cut."""
AREAS = [
    ("EPSG:3035", (4_000_000, 2_600_000), 350_000, WORLD),
    ("EPSG:32601", (300_000, 6_900_000), 200_000, PACIFIC),
    ("EPSG:32631", (200_000, 5_500_000), 300_000, WORLD),
    ("EPSG:32760", (600_000, 7_800_000), 250_000, PACIFIC),
    ("EPSG:8857", (-5_000_000, -2_000_000), 300_000, WORLD),
    ("EPSG:3413", (-400_000, -2_300_000), 300_000, WORLD),
    ("EPSG:3031", (1_000_000, 1_500_000), 300_000, WORLD),
    ("EPSG:3832", (3_200_000, -2_100_000), 300_000, PACIFIC),
    ("EPSG:4807", (0.5, 51.0), 3.5, WORLD),
    ("EPSG:4326", (178.2, -17.9), 3.2, PACIFIC),
]
"""CRS, lower left corner and size in its units (EPSG:4807 has grads east of Paris), grids."""
CELLS = [(3035, 10_000, 432, 310), (8857, 25_000, -160, 80), (32631, 10_240, 45, 540), (3031, 20_000, 60, -70)]
"""CRS, size, and column and row of a cell."""


def _dense(shape: shapely.Geometry, source: str | int, target: int, step: float) -> shapely.Geometry:
    move = pyproj.Transformer.from_crs(source, target, always_xy=True).transform
    return shapely.transform(shapely.segmentize(shape, step), move, interleaved=False)


def _read(shape: shapely.Geometry, crs: str) -> shapely.Geometry:
    return read_aoi(f"SRID={crs.partition(':')[2]};{shapely.to_wkt(shape, rounding_precision=-1)}")


def _squares(local: shapely.Geometry, size: float) -> set[tuple[float, float]]:
    """Lower left corners of all squares of a grid that share area with a polygon."""
    west, south, east, north = local.bounds
    shapely.prepare(local)
    columns = range(math.floor(west / size), math.ceil(east / size))
    rows = range(math.floor(south / size), math.ceil(north / size))
    corners = [(column * size, row * size) for column in columns for row in rows]
    found = shapely.intersects(local, [shapely.box(x, y, x + size, y + size) for x, y in corners])
    return {corner for corner, within in zip(corners, found.tolist(), strict=True) if within}


@pytest.mark.parametrize(("crs", "corner", "size", "grids"), AREAS, ids=[row[0] for row in AREAS])
@pytest.mark.parametrize("turn", [0, 17])
def test_no_tile_lacks_and_none_is_too_many(
    crs: str, corner: tuple[float, float], size: float, grids: tuple[str, ...], turn: float
) -> None:
    """Long straight edges bend: a polygon of four corners has the tiles of its edges as they run in its own CRS."""
    shape = shapely.affinity.rotate(shapely.box(*corner, corner[0] + size, corner[1] + size), turn)
    area = _read(shape, crs)
    for grid in grids:
        epsg, edge = int(grid.split(":")[1]), float(grid.split(":")[2])
        dense = _dense(shape, crs, epsg, size / 600)
        got = {(tile.xmin, tile.ymin) for tile in parse_tiling(grid, MGRS).tiles(area)}
        least = _squares(dense.buffer(-RIM_M - SLACK_M), edge)
        most = _squares(dense.buffer(SLACK_M), edge)
        assert least <= got <= most, f"{grid}: lacking {least - got}, too many {got - most}"


@pytest.mark.parametrize(("epsg", "size", "column", "row"), CELLS, ids=[str(row[0]) for row in CELLS])
@settings(max_examples=5, deadline=None)
@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 4), st.integers(1, 3))
def test_areas_along_a_grid_have_exactly_its_cells(
    epsg: int, size: int, column: int, row: int, east: int, north: int, width: int, height: int
) -> None:
    """One cell and blocks of several, in the grid's CRS and as their outline is in longitude and latitude."""
    utm = epsg == 32631
    x, y = (column + (east % 11 if utm else east)) * size, (row + north) * size
    block = shapely.box(x, y, x + width * size, y + height * size)
    expected = {(x + i * size, y + j * size) for i in range(width) for j in range(height)}
    grid = f"utm:{size}" if utm else f"EPSG:{epsg}:{size}"
    tiles = parse_tiling(grid, MGRS).tiles(_read(block, f"EPSG:{epsg}"))
    assert {(tile.xmin, tile.ymin) for tile in tiles} == expected
    assert all(tile.aoi_fraction == pytest.approx(1, abs=1e-4) for tile in tiles)
    again = parse_tiling(grid, MGRS).tiles(shapely.union_all([tile.footprint() for tile in tiles]))
    assert [tile.tile for tile in again] == [tile.tile for tile in tiles]


@settings(max_examples=30, deadline=None)
@given(st.floats(-179, 178.5), st.floats(-80, 78), st.floats(0.01, 1.4), st.floats(0.01, 1.4), st.sampled_from("xy"))
def test_swapped_boxes_are_refused(west: float, south: float, width: float, height: float, axis: str) -> None:
    east, north = west + width, south + height
    numbers = [east, south, west, north] if axis == "x" else [west, north, east, south]
    with pytest.raises(AoiError, match=r"lies east of east|has no area") as caught:
        read_aoi(",".join(map(repr, numbers)))
    assert caught.value.hint and "west, south, east, north" in caught.value.hint


@pytest.mark.parametrize("box", ["6,51,5,52", "5,52,6,51", "6,52,5,51"])
def test_the_command_refuses_swapped_boxes(box: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["tile", box])
    printed = capsys.readouterr()
    assert not printed.out and "west, south, east, north" in printed.err


def test_boxes_across_the_antimeridian_have_the_tiles_of_both_sides() -> None:
    both = {tile.tile for tile in MGRS.tiles(read_aoi("179.2,-17.5,-179.3,-16.4"))}
    sides = [MGRS.tiles(read_aoi(text)) for text in ("179.2,-17.5,180,-16.4", "-180,-17.5,-179.3,-16.4")]
    assert both == {tile.tile for side in sides for tile in side}
    assert {name[:2] for name in both} == {"60", "01"}
