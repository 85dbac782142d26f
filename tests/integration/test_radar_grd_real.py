"""Raw GRD with the annotation of a real product: positions against its own geolocation grid, and the whole way."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from lxml import etree
from odc.geo.geobox import GeoBox

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import CrateError, SceneError
from hpckit.production.check import check_campaign
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from hpckit.sensors.native import MGRS
from hpckit.sensors.sentinel1.placing import place, place_all
from hpckit.sensors.sentinel1.raw import grd_on_target
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel1.terrain import locate_pixels, read_geometry
from hpckit.space.tile import Tile
from hpckit.store import open_store
from hpckit.testing.radar_grd import write_tables
from tests.products import read_product
from tests.small_campaign import write_zones

pytestmark = [pytest.mark.integration, pytest.mark.realdata]

NAME = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8.SAFE"
STEM = "s1b-iw-grd-vv-20210401t052623-20210401t052648-026269-032297-001"
SHAPE = (700, 4000)
LEVEL = 500.0
TO_SPACE = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
TO_UTM = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Path:
    return shared_data / "s1-grd-safe-xarray-sentinel" / "data" / NAME


@pytest.fixture(scope="module")
def safe(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first lines and samples of the real product, with pixels that tell where they are."""
    folder = tmp_path_factory.mktemp("grd") / NAME
    (folder / "annotation").mkdir(parents=True)
    (folder / "measurement").mkdir()
    shutil.copy(real / "manifest.safe", folder)
    annotation = (real / "annotation" / f"{STEM}.xml").read_text()
    annotation = annotation.replace("<numberOfLines>16685<", f"<numberOfLines>{SHAPE[0]}<")
    annotation = annotation.replace("<numberOfSamples>25788<", f"<numberOfSamples>{SHAPE[1]}<")
    (folder / "annotation" / f"{STEM}.xml").write_text(annotation)
    return folder


def write_pixels(safe: Path, dn: np.ndarray) -> None:
    with rasterio.open(
        safe / "measurement" / f"{STEM}.tiff", "w", "GTiff", *reversed(SHAPE), 1, dtype="uint16", compress="deflate"
    ) as target:
        target.write(dn, 1)


def write_flat_tables(safe: Path, noise: float = 0.0) -> None:
    def level(line: float, pixels: np.ndarray) -> np.ndarray:
        return np.full(len(pixels), LEVEL)

    write_tables(
        safe,
        f"measurement/{STEM}.tiff",
        SHAPE,
        sigma=level,
        gamma=level,
        noise=lambda line, pixels: np.full(len(pixels), noise),
        azimuth=lambda lines: np.ones(len(lines)),
    )


def write_dem(path: Path, height: float, box: tuple[float, float, float, float] = (8.0, 45.0, 13.5, 48.0)) -> Path:
    west, south, east, north = box
    rows, columns = round((north - south) / 0.01), round((east - west) / 0.01)
    with rasterio.open(
        path,
        "w",
        "GTiff",
        columns,
        rows,
        1,
        crs="EPSG:4326",
        transform=Affine(0.01, 0, west, 0, -0.01, north),
        dtype="float32",
        nodata=-9999,
    ) as dem:
        dem.write(np.full((rows, columns), height, np.float32), 1)
    return path


def test_the_geolocation_grid_is_met(real: Path):
    """210 points whose place on the ground, slant range and place in the image the processor itself tells.

    The grid takes the slant-to-ground-range polynomial that is nearest in time, images are interpolated between two.
    """
    data = (real / "annotation" / f"{STEM}.xml").read_bytes()
    geometry = read_geometry(STEM, data)
    tags = ("longitude", "latitude", "height", "line", "pixel", "slantRangeTime")
    points = np.array(
        [[float(p.findtext(tag)) for tag in tags] for p in etree.fromstring(data).iter("geolocationGridPoint")]
    ).T
    ground = np.stack(TO_SPACE.transform(*points[:3]), axis=-1)
    lines, samples = geometry.locate(ground)
    assert len(lines) == 210
    # Lines differ by the bistatic delay, which the grid has and images do not: a fifth of a line at the rims.
    assert np.abs(lines - points[3]).max() < 0.25
    slant = np.linalg.norm(ground - geometry.orbit.at(lines * geometry.line_s), axis=-1)
    np.testing.assert_allclose(slant, points[5] * 299_792_458 / 2, atol=0.01)
    nearest = np.abs(geometry.grid_s - (points[3] * geometry.line_s)[:, None]).argmin(axis=1)
    own = [
        np.polynomial.Polynomial(geometry.grid_coefficients[k])(r - geometry.grid_sr0[k])
        for k, r in zip(nearest, slant, strict=True)
    ]
    assert np.abs(np.array(own) / geometry.pixel_m - points[4]).max() < 0.02
    assert np.abs(samples - points[4]).max() < 2


def corner(geometry, height: float) -> tuple[float, float]:
    """Easting and northing in zone 33 of a point near the middle of the cropped image, by search."""
    x, y = TO_UTM.transform(12.25, 47.1)
    xs, ys = np.arange(x - 40_000, x + 40_000, 500.0), np.arange(y + 40_000, y - 40_000, -500.0)
    heights = np.full((len(ys), len(xs)), height, np.float32)
    lines, samples = locate_pixels(geometry, xs, ys, 32633, heights)
    at = np.hypot(lines - SHAPE[0] / 2, samples - SHAPE[1] / 2)
    row, column = np.unravel_index(np.argmin(at), at.shape)
    return float(xs[column]), float(ys[row])


def test_interpolated_positions_are_exact_to_a_hundredth(real: Path):
    """Heights vary by 2000 m from pixel to pixel: worse than any mountain."""
    geometry = read_geometry(STEM, (real / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = 300_000 + 10.0 * np.arange(200), 5_180_000 - 10.0 * np.arange(150)
    heights = np.random.default_rng(1).uniform(200, 2200, (150, 200)).astype(np.float32)
    lines, samples = locate_pixels(geometry, x, y, 32633, heights)
    longitude, latitude = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    exact = geometry.locate(np.stack(TO_SPACE.transform(longitude, latitude, heights), axis=-1))
    assert np.abs(lines - exact[0]).max() < 0.01
    assert np.abs(samples - exact[1]).max() < 0.02


@pytest.mark.parametrize("resolution_m", [10, 20])
@pytest.mark.parametrize("axis", ["line", "sample"])
def test_the_whole_way_from_digital_numbers_to_the_tile(safe: Path, tmp_path: Path, axis: str, resolution_m: int):
    """Pixels hold their own line or sample: after calibration and correction each tells where it came from."""
    line, sample = np.mgrid[: SHAPE[0], : SHAPE[1]]
    write_pixels(safe, (1000 + (line if axis == "line" else sample)).astype(np.uint16))
    write_flat_tables(safe)
    height = 800.0
    dem = write_dem(tmp_path / "dem.tif", height - 45)
    geometry = read_geometry(STEM, (safe / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, height)
    edge = 60
    target = GeoBox((edge, edge), Affine(resolution_m, 0, x, 0, -resolution_m, y), "EPSG:32633")
    tile = Tile("33TUN", 32633, x, y - edge * resolution_m, x + edge * resolution_m, y)
    scene = place(read_product(safe), tile)
    reading = RadarReading(dem=str(dem), geoid=45.0, radiometry="gamma0")
    power = grd_on_target(reading, scene, SENTINEL1.parse("VV", pixel_m=resolution_m), target)
    assert (power > 0).all()
    found = np.sqrt(power.astype(np.float64)) * LEVEL - 1000
    centres = np.meshgrid(x + resolution_m * (np.arange(edge) + 0.5), y - resolution_m * (np.arange(edge) + 0.5))
    longitude, latitude = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(*centres)
    lines, samples = geometry.locate(
        np.stack(TO_SPACE.transform(longitude, latitude, np.full_like(longitude, height)), axis=-1)
    )
    assert np.abs(found - (lines if axis == "line" else samples)).max() < 0.05


def test_noise_is_taken_off(safe: Path, tmp_path: Path):
    write_pixels(safe, np.full(SHAPE, 100, np.uint16))
    write_flat_tables(safe, noise=3600.0)
    scene = read_product(safe)
    geometry = read_geometry(STEM, (safe / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, geometry.mean_height_m)
    target = GeoBox((20, 20), Affine(10, 0, x, 0, -10, y), "EPSG:32633")
    scene = place(scene, Tile("33TUN", 32633, x, y - 200, x + 200, y))
    reading = RadarReading(ellipsoid=True)
    ref = SENTINEL1.parse("VV@10m")
    from hpckit.sensors.sentinel1 import raw as grd

    grd._noise.cache_clear()
    np.testing.assert_allclose(grd_on_target(reading, scene, ref, target), (100**2 - 3600) / LEVEL**2, rtol=1e-5)
    without = grd_on_target(replace(reading, noise=False), scene, ref, target)
    np.testing.assert_allclose(without, 100**2 / LEVEL**2, rtol=1e-5)


def test_a_dem_that_does_not_cover_the_scene(safe: Path, tmp_path: Path):
    write_pixels(safe, np.full(SHAPE, 100, np.uint16))
    write_flat_tables(safe)
    geometry = read_geometry(STEM, (safe / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, 0.0)
    target = GeoBox((50, 50), Affine(10, 0, x, 0, -10, y), "EPSG:32633")
    scene = place(read_product(safe), Tile("33TUN", 32633, x, y - 500, x + 500, y))
    dem = write_dem(tmp_path / "small.tif", 0.0, (8.0, 45.0, 9.0, 46.0))
    with pytest.raises(SceneError, match=r"small.tif does not cover the scene"):
        grd_on_target(RadarReading(dem=str(dem)), scene, SENTINEL1.parse("VV@10m"), target)


def test_a_swath_across_the_antimeridian(safe: Path, tmp_path: Path):
    """The footprint has two parts, and tiles lie on both sides."""
    folder = tmp_path / NAME
    shutil.copytree(safe, folder)
    manifest = (folder / "manifest.safe").read_text()
    corners = "45.614502,12.040968 46.011879,8.772268 47.512238,9.086069 47.115250,12.446052"
    moved = "45.614502,-178.5 46.011879,178.2 47.512238,178.5 47.115250,-178.1"
    assert corners in manifest
    (folder / "manifest.safe").write_text(manifest.replace(corners, moved))
    (folder / "measurement").mkdir(exist_ok=True)
    write_pixels(folder, np.ones(SHAPE, np.uint16))
    scene = read_product(folder)
    assert scene.footprint.geom_type == "MultiPolygon"
    zones = {placed.tile[:2] for placed in place_all([scene], MGRS, None, None)[0]}
    assert zones == {"60", "01"}


def test_the_real_product_lacks_its_calibration(real: Path):
    """It is catalogued as incomplete, and the error names the file."""
    scene = read_product(real)
    assert any(name.startswith("calibration-") for name in scene.missing)
    geometry = read_geometry(STEM, (real / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, geometry.mean_height_m)
    target = GeoBox((20, 20), Affine(10, 0, x, 0, -10, y), "EPSG:32633")
    scene = place(scene, Tile("33TUN", 32633, x, y - 200, x + 200, y))
    with pytest.raises(SceneError, match=r"calibration-s1b.*is missing"):
        grd_on_target(RadarReading(ellipsoid=True), scene, SENTINEL1.parse("VV@10m"), target)


def test_a_campaign_of_raw_grd(safe: Path, tmp_path: Path):
    """From a SAFE folder to the store; a DEM that ends within the scene costs its date and says so."""
    write_pixels(safe, np.full(SHAPE, 100, np.uint16))
    write_flat_tables(safe)
    geometry = read_geometry(STEM, (safe / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, 800.0)
    shapes = [shapely.box(x + 300 * n, y - 400, x + 300 * n + 210, y - 200) for n in range(3)]
    write_zones(tmp_path / "zones.gpkg", shapes, crs="EPSG:32633")
    write_dem(tmp_path / "dem.tif", 800.0)
    text = CAMPAIGN.format(scenes=safe.parent)
    (tmp_path / "c.yaml").write_text(text)
    campaign = load_campaign(tmp_path / "c.yaml")
    result = run_campaign(campaign, Console(quiet=True), workers=1)
    assert result.exit_code == 0
    store = open_store(campaign)
    try:
        for zone in ("z0", "z1", "z2"):
            frame = store.series("fields", zone, "VV@20m")
            assert frame["acquisition"].tolist() == ["S1B_DES_032297"]
            assert frame["valid"].tolist() == frame["total"].tolist() and frame["total"][0] > 90
            np.testing.assert_allclose(frame["mean"], 0.04, atol=5e-5)
            assert frame["level"].tolist() == ["GRD"] and frame["relative_orbit"].tolist() == [168]
    finally:
        store.close()
    crate = api.crate(tmp_path / "c.yaml", tmp_path / "grd.zip").path
    assert api.reproduce(crate, tmp_path / "again", workers=1).is_equal
    (tmp_path / "dem.tif").rename(tmp_path / "moved.tif")
    with pytest.raises(CrateError, match=r"scenes\.radar\.dem: no file dem\.tif"):
        api.reproduce(crate, tmp_path / "gone")
    (tmp_path / "c.yaml").write_text(text.replace("dem.tif", "moved.tif"))
    done = len(read_journal(campaign.run_dir))
    assert run_campaign(load_campaign(tmp_path / "c.yaml"), Console(quiet=True), workers=1).exit_code == 0
    assert len(read_journal(campaign.run_dir)) == done, "the same heights under another name change nothing"
    write_dem(tmp_path / "moved.tif", 800.0, (8.0, 45.0, 9.0, 46.0))
    with pytest.raises(CrateError, match=r"scenes\.radar\.dem is another file"):
        api.reproduce(crate, tmp_path / "other", at={"scenes.radar.dem": tmp_path / "moved.tif"})
    lacking = run_campaign(load_campaign(tmp_path / "c.yaml"), Console(quiet=True), workers=1)
    assert lacking.exit_code != 0 and any("does not cover" in reason for reason in map(str, lacking.failed))
    [finding] = [f for f in check_campaign(load_campaign(tmp_path / "c.yaml")) if f.what == "scenes.radar.dem"]
    assert finding.verdict == "warning" and "does not reach over the whole area" in finding.text


CAMPAIGN = """\
name: grd
aoi: zones.gpkg
grid: utm:5120@20
period: 2021-04-01/2021-04-01
scenes:
  paths: ["{scenes}"]
  collection: sentinel-1-grd
  verify: false  # the pixels are not those of the manifest
  radar: {{dem: dem.tif, geoid: 0}}
cube: {{bands: [VV@20m]}}
reductions:
  - {{name: fields, zones: zones.gpkg, id: name, bands: [VV@20m]}}
"""
