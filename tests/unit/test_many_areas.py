"""Areas of very many polygons, as zone layers are: tiles and fractions are those of what they cover together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
import shapely.affinity
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


@given(st.lists(PLACES, min_size=2, max_size=8))
@settings(max_examples=10, deadline=None)
def test_each_polygon_counts_in_its_own_zone(places):
    """Tiles of scattered polygons are those of each by itself: none is lost with those that lie far from a zone."""
    scattered = [shapely.affinity.translate(shape, 6 * n) for n, shape in enumerate(boxes(places, touching=False))]
    far = [shapely.box(179.9, 68, 180, 68.1), shapely.box(-180, 68, -179.9, 68.1)]
    for grid, shapes in ((MGRS, [*scattered, *far]), (parse_grid("utm:10240@10", MGRS), scattered)):
        together = {tile.tile: tile.aoi_fraction for tile in grid.tiles(shapely.MultiPolygon(shapes))}
        alone = [grid.tiles(shapely.MultiPolygon([shape])) for shape in shapes]
        sums: dict[str, float] = {}
        for tile in (tile for tiles in alone for tile in tiles):
            sums[tile.tile] = sums.get(tile.tile, 0.0) + tile.aoi_fraction
        assert together == pytest.approx(sums, rel=1e-9)


def _write(path: Path, shape: shapely.Geometry, crs: str = "EPSG:32631") -> Path:
    wkb = np.array([shapely.to_wkb(shape)], dtype=object)
    pyogrio.raw.write(path, geometry=wkb, field_data=[], fields=[], geometry_type="Polygon", crs=crs)
    return path


@pytest.mark.parametrize("name", ["area.gpkg", "area.geojson", "area.shp", "area.fgb"])
def test_an_area_that_is_written_again_is_read_again(name, tmp_path):
    first, second = shapely.box(600000, 5700000, 601000, 5701000), shapely.box(600000, 5700000, 602000, 5701000)
    crs = "EPSG:4326" if name.endswith("geojson") else "EPSG:32631"
    if crs == "EPSG:4326":
        first, second = shapely.box(5, 51, 5.1, 51.1), shapely.box(5, 51, 5.2, 51.1)
    once = read_aoi(_write(tmp_path / name, first, crs))
    assert read_aoi(tmp_path / name) is once
    (tmp_path / name).unlink()
    assert read_aoi(_write(tmp_path / name, second, crs)).area == pytest.approx(2 * once.area, rel=1e-3)


def test_another_crs_beside_a_shapefile_counts(tmp_path):
    path = _write(tmp_path / "area.shp", shapely.box(600000, 5700000, 601000, 5701000))
    west = read_aoi(path).bounds[0]
    path.with_suffix(".prj").write_text(pyproj.CRS("EPSG:32632").to_wkt("WKT1_ESRI"))
    assert read_aoi(path).bounds[0] == pytest.approx(west + 6, abs=1e-6)


def _area(shape: shapely.Geometry) -> float:
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])
