"""Whole campaigns on grids, from granules of two UTM zones to signatures and pictures; and a real product."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import Resampling as Gdal
from rasterio.merge import merge
from rasterio.vrt import WarpedVRT

import hpckit
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.tiling import group
from hpckit.cubes import ingest, layout, read
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.production.driver import run_campaign, verify_campaign
from hpckit.sensors.native import MGRS
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.footprint import geojson
from hpckit.space.grid import parse_grid
from hpckit.testing import ground
from hpckit.testing.safe import ProductSpec
from tests.products import FIRST
from tests.small_campaign import results, same, write_zones

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
EDGE = 480
WEST = ground.granule_at(ProductSpec(tile="31UGT", epsg=32631, sensed=FIRST), 5.985, 51.5, EDGE)
EAST = ground.granule_at(ProductSpec(tile="32ULC", epsg=32632, sensed=FIRST), 6.015, 51.5, EDGE)
GRIDS = ["utm:2560@10", "EPSG:3035:2000@20"]


def zones() -> list[shapely.Geometry]:
    """Fields of 300 m around 6 degrees east, on both sides of it: some lie across cells, some across zones."""
    random = np.random.default_rng(5)
    middles = zip(random.uniform(5.965, 6.035, 40), random.uniform(51.487, 51.513, 40), strict=True)
    return [shapely.box(x - 0.002, y - 0.0014, x + 0.002, y + 0.0014) for x, y in middles]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    for number, baseline in enumerate(("03.01", "05.10")):
        for spec in (WEST, EAST):
            later = replace(spec, sensed=FIRST + timedelta(days=5 * number), baseline=baseline)
            ground.write_granule(folder, later, EDGE)
    return folder


def write_campaign(folder: Path, scenes: Path, grid: str, extra: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    write_zones(folder / "zones.gpkg", zones(), crs="EPSG:4326")
    path = folder / "campaign.yaml"
    path.write_text(
        f"""\
name: grids
aoi: [5.96, 51.485, 6.04, 51.515]
period: 2024-04-01/2024-12-31
scenes: {{paths: [{scenes}]}}
grid: {grid}
cube: {{bands: [B04, B08, B11, SCL], resampling: cubic}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04, B11, SCL]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    mask: null
  - name: year
    kind: composite
    bands: [B04, B11]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    methods: [max, max_ndvi, geomad]
    mask: null
{extra}"""
    )
    return path


def expected(zone: shapely.Geometry) -> dict[str, float]:
    """Mean over a zone, from the formula, on a fine lattice of its own."""
    west, south, east, north = zone.bounds
    place = np.meshgrid(np.linspace(west, east, 200), np.linspace(south, north, 200))
    band = {name: ground.reflectance(name, *place) for name in ("B04", "B08", "B11")}
    ndvi = (band["B08"] - band["B04"]) / (band["B08"] + band["B04"])
    return {"B04": band["B04"].mean(), "B11": band["B11"].mean(), "NDVI": ndvi.mean()}


@pytest.fixture(scope="module", params=GRIDS)
def done(request, scenes: Path, tmp_path_factory) -> Path:
    path = write_campaign(tmp_path_factory.mktemp("campaign"), scenes, request.param)
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    return path


def test_signatures_are_those_of_the_ground(done: Path) -> None:
    """Every zone is answered for once per date, whole, wherever cells and UTM zones cut it."""
    found = results(load_campaign(done))
    shapes = zones()
    assert not found.duplicated(["zone", "time", "band"]).any()
    assert len(found) == len(shapes) * 2 * 3
    assert found.tile.str.contains(r"\+").any(), "some zones lie across cells"
    size = load_campaign(done).grid.pixel_m
    for number, shape in enumerate(shapes):
        mine = found[found.zone == f"z{number}"]
        assert (mine.valid == mine.total).all()
        area = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])
        assert (mine.valid * size**2).to_numpy() == pytest.approx(area, rel=0.16)
        for band, wanted in expected(shape).items():
            assert mine[mine.band == band]["mean"].to_numpy() == pytest.approx(wanted, abs=0.006)


def test_baselines_give_equal_values(done: Path) -> None:
    """Two passes over one ground, one before and one after baseline 04.00."""
    found = results(load_campaign(done))
    first, second = (part.reset_index(drop=True) for _, part in found.groupby("time"))
    np.testing.assert_allclose(first["mean"], second["mean"], atol=2e-4)


def test_running_again_does_nothing_and_the_cube_is_sound(done: Path) -> None:
    campaign = load_campaign(done)
    before, stamp = results(campaign), {p: p.stat().st_mtime_ns for p in campaign.cube_path.rglob("c/*/*/*")}
    assert verify_campaign(campaign, QUIET) == []
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    same(results(campaign), before)
    assert {p: p.stat().st_mtime_ns for p in campaign.cube_path.rglob("c/*/*/*")} == stamp
    shard = next(iter(stamp))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert [fault.kind for fault in verify_campaign(campaign, QUIET)] == ["corrupt"]
    assert run_campaign(campaign, QUIET, workers=2).exit_code == 0
    assert verify_campaign(campaign, QUIET) == []


def test_readers_find_their_way(done: Path) -> None:
    """xarray with CRS and coordinates, series, pictures: as for granules."""
    pytest.importorskip("rioxarray")
    view = hpckit.open_campaign(done)
    size = view.campaign.grid.pixel_m
    assert len(view.tiles) > 4
    for tile in view.tiles:
        data = view.cube(tile)
        frame = view.campaign.grid.frame(tile, [size])
        assert data.rio.crs.to_epsg() == frame.epsg
        assert data.rio.transform() == frame.transform(size) and data.rio.bounds() == frame.bounds
        place = ground.degrees(frame.epsg, frame.ulx, frame.uly, frame.shapes[size], size)
        plane = data.B11.isel(time=0).values
        error = (plane - ground.reflectance("B11", *place))[np.isfinite(plane)]
        assert np.abs(error).max(initial=0) < 0.01
    series = view.series("z0", "B11")
    assert isinstance(series, pd.DataFrame) and len(series) == 2
    picture = view.quicklook(view.tiles[0], when=0, index="NDVI")
    assert picture.png[:4] == b"\x89PNG"


def test_composites_have_the_pixels_of_the_grid(done: Path) -> None:
    """Also bands of unlike native pixels together, in files that GDAL places right."""
    view = hpckit.open_campaign(done)
    size = view.campaign.grid.pixel_m
    for tile in view.tiles:
        frame = view.campaign.grid.frame(tile, [size])
        cube = view.cube(tile)
        (path,) = (done.parent / "composites/year" / tile).glob("*/*_max_r*.tif")
        with rasterio.open(path) as file:
            assert file.transform == frame.transform(size) and file.crs.to_epsg() == frame.epsg
            found = dict(zip(file.descriptions, file.read(masked=True), strict=True))
        for band in ("B04", "B11"):
            wanted = cube[band].max("time", skipna=True).values
            stored = np.rint(wanted * 1e4 + 1000)
            np.testing.assert_array_equal(found[band].filled(0), np.nan_to_num(stored, nan=0))
        (geomad,) = (done.parent / "composites/year" / tile).glob("*/*_geomad_r*.tif")
        with rasterio.open(geomad) as file:
            assert file.count == 2
    items = list((done.parent / "composites/year").glob("*/*/*.json"))
    assert len(items) == len(view.tiles)


def test_mosaics_span_cells_and_zones(done: Path) -> None:
    """A VRT for each zone, as rasterio merges its files, and one GeoTIFF across zones that shows the ground."""
    folder, campaign = done.parent / "composites/year", load_campaign(done)
    vrts = sorted((folder / "mosaic").glob("*_max_r*m_EPSG*.vrt"))
    assert len(vrts) == (2 if str(campaign.grid).startswith("utm") else 1)
    for vrt in vrts:
        with rasterio.open(vrt) as shown:
            paths = []
            for path in sorted(folder.glob("*/*/*_max_r*.tif")):
                with rasterio.open(path) as file:
                    paths += [path] if file.crs == shown.crs else []
            assert len(paths) > 1
            values, transform = merge(paths)
            assert shown.transform == transform and np.isnan(shown.nodata)  # NDVI is among them
            np.testing.assert_array_equal(shown.read(), values)
    text = done.read_text()
    done.write_text(text.replace("geomad]\n", 'geomad]\n    outputs: {mosaic: {crs: "EPSG:3035", resolution: 20}}\n'))
    try:
        assert run_campaign(load_campaign(done), QUIET, workers=2).done == {}
    finally:
        done.write_text(text)
    (path,) = (folder / "mosaic").glob("*_max_r*m.tif")
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 3035 and file.res == (20, 20) and np.isnan(file.nodata)
        values = np.nan_to_num(file.read(file.descriptions.index("B04") + 1))
        place = ground.degrees(3035, file.transform.c, file.transform.f, values.shape, 20)
    assert place[0][values > 0].min() < 5.99 and place[0][values > 0].max() > 6.01
    error = (values * 1e-4 - 0.1 - ground.reflectance("B04", *place))[values > 0]
    assert np.abs(error).max() < 0.006
    inside = (np.abs(place[0] - 6) < 0.03) & (np.abs(place[1] - 51.5) < 0.01)
    assert (values[inside] > 0).all(), "no gap where zones meet"


def test_a_later_pass_is_appended(scenes: Path, tmp_path: Path) -> None:
    """And a campaign over part of the area has the same pixels in the tiles that both have."""
    links = tmp_path / "some"
    links.mkdir()
    for product in sorted(scenes.glob("*.SAFE")):
        if "20240501" in product.name:
            (links / product.name).symlink_to(product)
    path = write_campaign(tmp_path / "c", links, GRIDS[0])
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    first = results(load_campaign(path))
    for product in scenes.glob("*20240506*.SAFE"):
        (links / product.name).symlink_to(product)
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    both = results(load_campaign(path))
    assert len(both) == 2 * len(first)
    same(both[both.time == first.time.iloc[0]].reset_index(drop=True), first)


@pytest.fixture(scope="module")
def product(shared_data: Path):
    (scene,) = catalogue.scan([shared_data / "s2-l2a-safe-t29unu-2022"]).scenes
    return scene


@pytest.mark.realdata
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_a_real_product_as_gdal_warps_it(product, tmp_path: Path, method: str) -> None:
    """B04 of 60 m of a real granule on EPSG:3035, against GDAL's warper without approximations."""
    pixels, box = _real(product, tmp_path, "EPSG:3035:61440@60", ("B04", "SCL"), method)
    for name, how in (("B04", method), ("SCL", "nearest")):
        with (
            rasterio.open(product.assets[f"{name}@60m"].uri) as file,
            WarpedVRT(
                file,
                crs="EPSG:3035",
                transform=box.transform,
                width=box.shape[1],
                height=box.shape[0],
                resampling=Gdal[how],
                tolerance=1e-4,
                src_nodata=0,
                nodata=0,
                XSCALE="1",
                YSCALE="1",
            ) as view,
        ):
            wanted = view.read(1).astype(int)
        ours = pixels[name].astype(int)
        assert (ours > 0).mean() > 0.5 and ((ours > 0) == (wanted > 0)).mean() > 0.9999
        difference = np.abs(ours - wanted)[(ours > 0) & (wanted > 0)]
        if how == "nearest":
            assert (difference != 0).mean() < 2e-3
        else:
            assert np.quantile(difference, 0.999) <= 1 and (difference > 1).mean() < 1e-3


@pytest.mark.realdata
def test_a_real_product_as_odc_stac_loads_it(product, tmp_path: Path) -> None:
    """Equal pixels on the granule's own lattice; elsewhere its coordinates err by up to an eighth of a pixel."""
    odc_stac = pytest.importorskip("odc.stac", reason="odc-stac is among the extras of benchmarks")
    import pystac

    item = pystac.Item(
        product.id, geojson(product.footprint), None, product.sensed, {"proj:code": f"EPSG:{product.frame.epsg}"}
    )
    asset = pystac.Asset(product.assets["B04@60m"].uri, media_type="image/jp2", roles=["data"])
    asset.extra_fields = {"raster:bands": [{"nodata": 0, "data_type": "uint16"}]}
    item.add_asset("B04", asset)
    for grid, least in (("utm:61440@60", 1.0), ("EPSG:3035:61440@60", 0.9)):
        pixels, box = _real(product, tmp_path / grid[:4], grid, ("B04",), "nearest")
        theirs = odc_stac.load([item], bands=["B04"], geobox=box, resampling="nearest")["B04"].values[0]
        assert (pixels["B04"] == theirs).mean() >= least and (theirs > 0).mean() > 0.2


def _real(scene, folder: Path, grid: str, bands: tuple[str, ...], resampling: str):
    """Bands of one tile in the middle of a real granule, and its geobox."""
    spec = parse_grid(grid, MGRS)
    refs = tuple(SENTINEL2.parse(name, pixel_m=spec.pixel_m) for name in bands)
    x, y = scene.frame.ulx + 54900, scene.frame.uly - 54900
    lon, lat = pyproj.Transformer.from_crs(scene.frame.epsg, 4326, always_xy=True).transform(x, y)
    tile = spec.tiles(shapely.box(lon, lat, lon + 1e-4, lat + 1e-4))[0].tile
    (acquisition,) = catalogue.acquisitions([scene])[0]
    acquisitions = [replace(acquisition, tile=tile)]
    cube = CubeSpec(folder, refs, 1, True, 1, None, False, spec, resampling, sensor=SENTINEL2)  # type: ignore[arg-type]
    layout.prepare(cube, tile, acquisitions)
    manifest = Manifest.load(folder)
    for unit in ingest.ingest_units(cube, tile, acquisitions):
        assert not ingest.ingest(cube, unit, acquisitions, manifest, "w").failures
    planes = {ref.name: read.read_plane(folder, tile, ref, 0) for ref in refs}
    box = cube.frame(tile, acquisitions).geobox(spec.pixel_m)
    for ref in refs:
        offsets = {scene.assets[ref.at(size).key].offset for size in scene.sizes(ref.name)}
        if ref.band.kind == "reflectance" and offsets != {-0.1}:
            pytest.fail("the product's offset is that of baseline 04.00, so values are those of the file")
    return planes, box


def test_a_grid_that_touches_no_scene_is_an_error(scenes: Path, tmp_path: Path) -> None:
    path = write_campaign(tmp_path / "c", scenes, GRIDS[0])
    path.write_text(path.read_text().replace("[5.96, 51.485, 6.04, 51.515]", "[7.96, 51.485, 8.04, 51.515]"))
    with pytest.raises(hpckit.errors.CatalogueError, match="of 4 products found none fits"):
        run_campaign(load_campaign(path), QUIET, workers=1)


def test_across_the_antimeridian(tmp_path: Path) -> None:
    """Granules of zones 60 and 1 that meet at 180 degrees, in cells of both."""
    for tile, epsg, longitude in (("60UXC", 32660, 179.98), ("01UBT", 32601, -179.98)):
        spec = ground.granule_at(ProductSpec(tile=tile, epsg=epsg, sensed=FIRST), longitude, 51.5, EDGE)
        ground.write_granule(tmp_path / "s", spec, EDGE, bands=["B04@10m"])
    path = tmp_path / "campaign.yaml"
    path.write_text(
        "name: edge\naoi: [179.96, 51.49, -179.96, 51.51]\nperiod: 2024-04-01/2024-12-31\n"
        "scenes: {paths: [s]}\ngrid: utm:2560@10\ncube: {bands: [B04]}\n"
    )
    campaign = load_campaign(path)
    by_tile, _ = group(campaign, catalogue.scan([tmp_path / "s"]).scenes)
    assert {tile[:3] for tile in by_tile} == {"60N", "01N"}
    assert run_campaign(campaign, QUIET, workers=1).exit_code == 0
    both = 0
    for tile, acquisitions in by_tile.items():
        where = read.geometry(campaign.cube_path, tile, 10)
        plane = read.read_plane(campaign.cube_path, tile, SENTINEL2.parse("B04@10m"), 0)
        longitude, latitude = ground.degrees(where.epsg, where.transform.c, where.transform.f, where.shape, 10)
        both += len(acquisitions[0].scenes) == 2
        seam = (np.abs(np.abs(longitude) - 180) < 0.01) & (np.abs(latitude - 51.5) < 0.012)
        assert (plane[seam] > 0).all(), "no gap where the zones meet"
    assert both


def test_affine_is_square() -> None:
    assert parse_grid("utm:2560@10", MGRS).frame("31N_E0260N2220", [10]).transform(10) == Affine(
        10, 0, 665600, 0, -10, 5685760
    )
