"""Areas and tiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.errors import AoiError, GridError
from hpckit.sensors.native import MGRS
from hpckit.space.aoi import read_aoi
from hpckit.space.grid import parse_tiling
from hpckit.space.mgrs import GRANULE_M, mgrs_tile
from hpckit.space.tilefile import to_geojson, write_tiles

boxes = st.builds(
    lambda x, y, w, h: shapely.box(x, y, min(180, x + w), min(83, y + h)),
    st.floats(-180, 179),
    st.floats(-78, 80),
    st.floats(0.05, 1.5),
    st.floats(0.05, 1.5),
)
grids = st.sampled_from(["mgrs", "utm:40000", "EPSG:8857:50000"])


@pytest.mark.slow
@given(boxes, grids)
def test_tiles_cover_the_area_and_each_shares_some_of_it(area, grid):
    tiles = parse_tiling(grid, MGRS).tiles(area)
    assert len({tile.tile for tile in tiles}) == len(tiles)
    assert all(0 < tile.aoi_fraction <= 1 for tile in tiles)
    rest = shapely.difference(area, shapely.union_all([tile.footprint() for tile in tiles]))
    # Edges of tiles are curved in degrees; their footprints have a vertex every ten kilometres.
    assert rest.area < 2e-4 * area.area + 1e-5


@given(boxes, st.sampled_from(["utm:40000", "EPSG:8857:50000"]))
def test_tiles_of_a_regular_grid_do_not_overlap(area, grid):
    tiles = parse_tiling(grid, MGRS).tiles(area)
    for epsg in {tile.epsg for tile in tiles}:
        own = [tile.polygon for tile in tiles if tile.epsg == epsg]
        assert shapely.union_all(own).area == pytest.approx(sum(shape.area for shape in own))


@pytest.mark.slow
@given(boxes, st.floats(0, 30000))
def test_a_buffer_only_adds_tiles(area, buffer_m):
    plain = {tile.tile: tile.aoi_fraction for tile in MGRS.tiles(area)}
    wide = {tile.tile: tile.aoi_fraction for tile in MGRS.tiles(area, buffer_m=buffer_m)}
    assert plain.keys() <= wide.keys()
    assert all(wide[name] >= fraction - 1e-6 for name, fraction in plain.items())


@given(boxes)
def test_fractions_are_those_of_the_areas(area):
    for tile in parse_tiling("EPSG:8857:50000", MGRS).tiles(area):
        transformer = pyproj.Transformer.from_crs(4326, tile.epsg, always_xy=True)
        dense = shapely.segmentize(area, 0.002)
        local = shapely.transform(dense, lambda xy, t=transformer: np.column_stack(t.transform(*xy.T)))
        shared = shapely.make_valid(local).intersection(tile.polygon).area
        assert tile.aoi_fraction == pytest.approx(shared / 50000**2, abs=1e-6)


def test_holes_hemispheres_and_the_antimeridian():
    ring = shapely.difference(shapely.box(5, 45, 12, 50), shapely.box(6.5, 46, 10.5, 49))
    inner = MGRS.tiles(shapely.Point(8.5, 47.5).buffer(0.2))
    assert not {tile.tile for tile in inner} & {tile.tile for tile in MGRS.tiles(ring)}
    both = MGRS.tiles(shapely.box(32, -0.5, 33, 0.5))
    assert {tile.epsg for tile in both} == {32636, 32736}
    fiji = MGRS.tiles(read_aoi("178,-19,-179,-16"))
    assert {tile.epsg for tile in fiji} == {32701, 32760}
    shapes = [shapely.geometry.shape(f["geometry"]) for f in to_geojson(fiji)["features"]]
    assert all(part.bounds[2] - part.bounds[0] < 10 for shape in shapes for part in shapely.get_parts(shape))


@pytest.mark.parametrize(
    ("name", "epsg", "ulx", "uly"),
    [
        ("29UNU", 32629, 499980, 5900040),
        ("T01KAB", 32701, 99960, 8200000),
        ("48LWP", 32748, 499980, 8900020),
        ("1CCV", 32701, 300000, 2000020),
        ("33XWJ", 32633, 499980, 8900040),
    ],
)
def test_granules_lie_where_real_products_say(name, epsg, ulx, uly):
    tile = mgrs_tile(name)
    assert tile.epsg == epsg
    assert tile.bounds == (ulx, uly - GRANULE_M, ulx + GRANULE_M, uly)


@pytest.mark.parametrize("name", ["", "31UF", "61UFU", "31IFU", "31UJU", "31UFW", "FOO"])
def test_names_that_are_no_tiles_are_refused(name):
    with pytest.raises(GridError):
        mgrs_tile(name)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("mgrss", "no grid"),
        ("utm:0", "no sense"),
        ("utm:-5", "no grid"),
        ("EPSG:4326:1", "not projected in metres"),
        ("EPSG:999999:10", "no known CRS"),
        ("utm:1", "more than"),
        ("EPSG:2222:1000", "not projected in metres"),
    ],
)
def test_grids_that_make_no_sense_are_refused(grid, words):
    with pytest.raises(GridError, match=words):
        parse_tiling(grid, MGRS).tiles(shapely.box(5, 50, 6, 51))


def write(path: Path, shapes, crs="EPSG:32631", driver="GPKG") -> Path:
    wkb = np.array([shapely.to_wkb(shape) for shape in shapes], dtype=object)
    pyogrio.raw.write(path, geometry=wkb, field_data=[], fields=[], geometry_type="Unknown", crs=crs, driver=driver)
    return path


def test_an_area_is_the_same_however_it_is_given(tmp_path):
    box = shapely.box(4, 51, 5, 52)
    by_text, by_numbers, by_wkt = read_aoi("4,51,5,52"), read_aoi([4, 51, 5, 52]), read_aoi(box.wkt)
    by_file = read_aoi(write(tmp_path / "a b's.gpkg", [box], "EPSG:4326").name, tmp_path)
    for area in (by_text, by_numbers, by_wkt, by_file):
        assert shapely.equals(area, box)
    utm = pyproj.Transformer.from_crs(4326, 32631, always_xy=True)
    dense = shapely.segmentize(box, 0.01)
    moved = shapely.transform(dense, lambda xy: np.column_stack(utm.transform(*xy.T)))
    projected = read_aoi(write(tmp_path / "p.gpkg", [moved]))
    assert projected.symmetric_difference(box).area < 1e-8


def test_projected_areas_across_the_antimeridian_are_cut_there(tmp_path):
    area = read_aoi(write(tmp_path / "a.gpkg", [shapely.box(150000, 8100000, 260000, 8200000)], "EPSG:32701"))
    assert area.bounds[0] == -180 and area.bounds[2] == 180 and area.area < 3


def test_an_invalid_polygon_is_mended():
    assert read_aoi("POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))").area == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.gpkg", "no such file"),
        ("POLYGON((", "no valid WKT"),
        ("POINT (1 2)", "no such file"),
        ("POLYGON((0 0, 1 0, 2 0, 0 0))", "no polygon with an area"),
        ("1,2,3", "four numbers"),
        ("5,52,6,51", "no area"),
        ("5,52,5,53", "no area"),
        ("6,51,5,52", "lies east of"),
        ("90,51,-90,52", "lies east of"),
        ("500000,5,600000,6", "not degrees"),
        ("1,2,nan,4", "four numbers"),
        ("POLYGON((0 0, 100 0, 100 95, 0 95, 0 0))", "not degrees"),
    ],
)
def test_areas_that_make_no_sense_are_refused(source, words):
    with pytest.raises(AoiError, match=words):
        read_aoi(source)


def test_files_without_an_area_are_refused(tmp_path):
    with pytest.raises(AoiError, match="no polygon"):
        read_aoi(write(tmp_path / "points.gpkg", [shapely.Point(1, 2)]))
    with pytest.raises(AoiError, match="empty"):
        read_aoi(write(tmp_path / "empty.gpkg", []))
    with pytest.raises(AoiError, match="no CRS"):
        read_aoi(write(tmp_path / "crsless.shp", [shapely.box(0, 0, 1, 1)], None, "ESRI Shapefile"))
    (tmp_path / "text.gpkg").write_text("nothing")
    with pytest.raises(AoiError, match="is refused: "):
        read_aoi(tmp_path / "text.gpkg")


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet"])
def test_tiles_are_written_in_every_format(tmp_path, suffix):
    import geopandas

    tiles = MGRS.tiles(shapely.box(5, 50, 6, 51))
    path = tmp_path / f"tiles{suffix}"
    write_tiles(path, tiles)
    frame = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    assert list(frame["tile"]) == [tile.tile for tile in tiles] and frame.crs.name.startswith("WGS 84")
    assert frame["aoi_fraction"].tolist() == pytest.approx([tile.aoi_fraction for tile in tiles], abs=1e-6)
    assert {"epsg", "xmin", "ymin", "xmax", "ymax"} <= set(frame.columns)


def test_the_command_writes_geojson_to_stdout(capsys):
    from hpckit.cli import main

    main(["tile", "-5,42,-4,43", "--grid", "EPSG:3035:20000"])
    out, err = capsys.readouterr()
    assert json.loads(out)["type"] == "FeatureCollection" and "tiles of EPSG:3035:20000" in err
    with pytest.raises(SystemExit) as caught:
        main(["tile", "-5,42,-4,43", "-o", "tiles.xyz"])
    assert caught.value.code == 1
