"""Grids that hpckit has, and one that a foreign sensor might bring, hold what is asked of a grid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import shapely
from hypothesis import strategies as st

from hpckit.sensors.native import MGRS
from hpckit.space.frame import Edges
from hpckit.space.granules import Granules
from hpckit.space.grid import parse_grid
from hpckit.space.lattice import squares
from hpckit.space.overlap import Candidates, in_crs
from hpckit.testing.grids import GridTests


def boxes(west: float, south: float, east: float, north: float, most: float) -> st.SearchStrategy[shapely.Geometry]:
    return st.builds(
        lambda x, y, width, height: shapely.box(x, y, x + width, y + height),
        st.floats(west, east),
        st.floats(south, north),
        st.floats(0.02, most),
        st.floats(0.02, most),
    )


class TestMgrs(GridTests):
    grid = native = MGRS
    resolutions_m = (10, 20, 60)

    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        return boxes(-180, -78, 179, 82, 1.0)


class TestUtmSquares(GridTests):
    """Also where zones and hemispheres meet."""

    grid, native = parse_grid("utm:10240@10", MGRS), MGRS
    resolutions_m = (10, 20, 40)

    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        return boxes(5.8, -60, 6.1, 60, 0.3) | boxes(-20, -0.2, 20, 0.1, 0.3)


@pytest.mark.slow
class TestSquaresFromACorner(GridTests):
    grid, native = parse_grid("utm:10000+633330+5642230@10", MGRS), MGRS
    resolutions_m = (10,)

    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        return boxes(5.8, -60, 6.1, 60, 0.3)

    def test_a_tile_has_the_corner(self) -> None:
        found = {tile.tile: tile.bounds for tile in self.grid.tiles(shapely.box(4.9, 50.8, 5.2, 51.1))}
        assert found["31N_E0063N0564"] == (633330, 5642230, 643330, 5652230)
        assert str(self.grid) == "utm:10000+3330+2230@10"


@pytest.mark.slow
class TestSquaresOfOneCrs(GridTests):
    grid, native = parse_grid("EPSG:3035:10000@20", MGRS), MGRS
    resolutions_m = (20, 50, 100)

    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        return boxes(-4.5, 42, 9.5, 50.5, 0.3)


@pytest.mark.slow
class TestSquaresSouthAndWestOfTheOrigin(GridTests):
    """Australia, where northings are negative."""

    grid, native = parse_grid("EPSG:3577:50000@100", MGRS), MGRS
    resolutions_m = (100,)

    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        return boxes(120, -36, 148, -20, 0.8)


def numbered(area: shapely.Geometry, buffer_m: float) -> Candidates:
    """Tiles of 120 km with the names of MODIS."""
    local = in_crs(area, 3035)
    tiles = squares(local, 3035, 120_000.0, buffer_m)
    yield local, [replace(tile, tile=f"h{tile.xmin / 12e4:02.0f}v{tile.ymin / 12e4:02.0f}") for tile in tiles]


@pytest.mark.slow
class TestForeignGranules(GridTests):
    grid = native = Granules("made-up", {30: Edges(1000, 250), 60: Edges(500, 250)}, numbered)
    resolutions_m = (30, 60)

    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        return boxes(-4.5, 42, 9.5, 50.5, 0.8)

    def test_tiles_have_the_names_of_the_sensor(self) -> None:
        assert [tile.tile for tile in self.grid.tiles(shapely.box(5.0, 50.3, 5.1, 50.4))] == ["h33v25"]
