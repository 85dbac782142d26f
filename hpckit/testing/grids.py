"""What each grid must hold: inherit from `GridTests`, and pytest tests a grid of yours."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar

import pyproj
import pytest
import shapely
import shapely.geometry
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hpckit.errors import GridError
from hpckit.space.frame import Extent, Frame
from hpckit.space.granules import Granules
from hpckit.space.grid import Grid, parse_grid
from hpckit.space.tile import Tile

_RIM_DEGREES = 3e-4
"""More than the 0.5 m at the border of a tile that do not count."""
_FEW = 12
"""Tiles of which all pairs are compared."""
# A test that several classes inherit is run by several of hypothesis's executors.
_some = settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])


class GridTests(ABC):
    """Contract of `hpckit.space.grid.Grid`.

    A subclass names the grid, the sizes of pixels to test it with, and areas that it can tile.
    """

    grid: ClassVar[Grid]
    native: ClassVar[Granules]
    """Tiles of the products, with which the text of the grid is read."""
    resolutions_m: ClassVar[Sequence[int]]

    @abstractmethod
    def areas(self) -> st.SearchStrategy[shapely.Geometry]:
        """Areas in longitude and latitude, each a box that touches a few tiles."""

    def own(self, tile: Tile) -> Frame:
        """Frame of a product that fills a tile."""
        height, width = tile.ymax - tile.ymin, tile.xmax - tile.xmin
        shapes = {size: (round(height / size), round(width / size)) for size in self.resolutions_m}
        return Frame(tile.tile, tile.epsg, tile.xmin, tile.ymax, shapes, {})

    def frame(self, tile: Tile) -> Frame:
        """Frame that the grid gives a tile."""
        return self.grid.frame(tile.tile, self.resolutions_m, self.own(tile))

    def test_the_text_is_read_as_written(self) -> None:
        """Text of a campaign file becomes a grid, and the grid that text."""
        text = str(self.grid)
        for written in (text, f" {text} ", text.upper(), text.lower()):
            assert parse_grid(written, self.native) == self.grid

    def test_pixels_are_resampled_or_those_of_the_products(self) -> None:
        """Digests depend on the resampling where there is one, and only there."""
        treatments = {how: self.grid.treatment(how) for how in ("nearest", "cubic")}
        assert all(json.loads(json.dumps(values)) == values for values in treatments.values())
        assert bool(treatments["nearest"]) == self.grid.resampled == (self.grid.pixel_m is not None)
        assert (treatments["nearest"] != treatments["cubic"]) == self.grid.resampled
        for size in self.resolutions_m:
            self.grid.require_pixels(size)

    @_some
    @given(data=st.data())
    def test_tiles_cover_the_area(self, data: st.DataObject) -> None:
        """Each point of an area lies in a tile, and names are unique."""
        area = data.draw(self.areas())
        tiles = self.grid.tiles(area)
        names = [tile.tile for tile in tiles]
        assert names == sorted(set(names))
        assert all(0 < tile.aoi_fraction <= 1 for tile in tiles)
        west, south, east, north = area.buffer(-_RIM_DEGREES).bounds
        x, y = data.draw(st.tuples(st.floats(west, east), st.floats(south, north)))
        assert any(_holds(tile, x, y) for tile in tiles)

    @_some
    @given(data=st.data())
    def test_areas_agree_on_the_tiles_that_both_touch(self, data: st.DataObject) -> None:
        """A name means one square, whatever area was asked for, and a buffer only adds tiles."""
        area = data.draw(self.areas())
        west, south, east, north = area.bounds
        part = shapely.box(west, south, (west + east) / 2, (south + north) / 2)
        whole = {tile.tile: tile.bounds for tile in self.grid.tiles(area)}
        some = {tile.tile: tile.bounds for tile in self.grid.tiles(part)}
        wide = {tile.tile: tile.bounds for tile in self.grid.tiles(part, 100.0)}
        assert some.items() <= whole.items() and some.items() <= wide.items()

    @_some
    @given(data=st.data())
    def test_frames_are_those_of_the_tiles(self, data: st.DataObject) -> None:
        """Rasters of all pixel sizes fill the tile, and windows fill the rasters."""
        for tile in self.grid.tiles(data.draw(self.areas())):
            frame = self.frame(tile)
            assert (frame.tile, frame.epsg, frame.bounds) == (tile.tile, tile.epsg, tile.bounds)
            for size in self.resolutions_m:
                (rows, columns), edges = frame.shapes[size], self.grid.edges(size)
                assert (rows * size, columns * size) == (tile.ymax - tile.ymin, tile.xmax - tile.xmin)
                down, along = frame.windows(size)
                assert edges.window == frame.edges[size] and edges.window % edges.chunk == 0
                assert (down - 1) * edges.window < rows <= down * edges.window
                assert (along - 1) * edges.window < columns <= along * edges.window

    @_some
    @given(data=st.data())
    def test_neighbours_share_a_lattice(self, data: st.DataObject) -> None:
        """In one CRS; and where products are resampled, no pixel lies in two tiles."""
        frames = [self.frame(tile) for tile in self.grid.tiles(data.draw(self.areas()))]
        for one, other in combinations(frames[:_FEW], 2):
            if one.epsg != other.epsg:
                continue
            for size in self.resolutions_m:
                assert (one.ulx - other.ulx) % size == 0 and (one.uly - other.uly) % size == 0
            shared = shapely.intersection(shapely.box(*one.bounds), shapely.box(*other.bounds)).area
            assert shared == 0 or not self.grid.resampled

    @_some
    @given(data=st.data())
    def test_products_are_assigned_to_the_tiles_that_they_lie_on(self, data: st.DataObject) -> None:
        """With a raster of their own, or by their footprint alone."""
        area = data.draw(self.areas())
        tiles = self.grid.tiles(area)
        tile = data.draw(st.sampled_from(tiles))
        on_it = Extent(tile.tile, self.own(tile), tile.footprint())
        across = Extent("", None, on_it.footprint)
        assigned = self.grid.assign(area, [on_it, across, on_it])
        names = {tile.tile for tile in tiles}
        assert len(assigned) == 3 and assigned[0] == assigned[2]
        assert all(tile.tile in found and names.issuperset(found) for found in assigned)
        assert len(set(assigned[0])) == len(assigned[0])
        if not self.grid.resampled:
            assert assigned[0] == [tile.tile]

    @_some
    @given(data=st.data())
    def test_products_far_away_have_no_tile(self, data: st.DataObject) -> None:
        """The area of interest is made from what reaches into it."""
        area = data.draw(self.areas())
        west, south, *_ = area.bounds
        assume(west > -178 and south > -78)
        beside = shapely.box(west - 1.5, south - 1.5, west - 1.2, south - 1.2)
        assume(not self._share_a_tile(area, beside))
        assert self.grid.assign(area, [Extent("", None, beside)]) == [[]]

    def _share_a_tile(self, area: shapely.Geometry, beside: shapely.Geometry) -> bool:
        near = beside.buffer(0.1)
        return any(shapely.intersects(tile.footprint(), near) for tile in self.grid.tiles(area))

    def test_names_of_no_tile_are_refused(self) -> None:
        """Without a product that would say where a tile lies."""
        for name in ("", "nowhere", "../x"):
            with pytest.raises(GridError):
                self.grid.frame(name, self.resolutions_m)

    def test_metadata_name_the_grid(self) -> None:
        """Values are those of JSON."""
        for pixels in (False, True):
            notes = self.grid.attributes("NAME", pixels=pixels)
            assert notes and json.loads(json.dumps(notes)) == notes


def _holds(tile: Tile, x: float, y: float) -> bool:
    east, north = pyproj.Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(x, y)
    return bool(tile.xmin <= east <= tile.xmax and tile.ymin <= north <= tile.ymax)
