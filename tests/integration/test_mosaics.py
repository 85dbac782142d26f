"""Mosaics over tiles that overlap and lie in two UTM zones: against rasterio's merge, GDAL's warper, the ground."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.merge import merge
from rasterio.warp import reproject, transform_bounds

from hpckit.campaign.composite import Mosaic
from hpckit.reduce.composites.geotiff import as_cog
from hpckit.reduce.composites.mosaic import write_mosaic, write_vrts
from hpckit.reduce.composites.products import Layer
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.testing import ground

pytestmark = pytest.mark.integration
EDGE = 700
BANDS = ("B04", "B08", "B11")
S2 = SENTINEL2.bands


@dataclass(frozen=True)
class Square:
    """A tile: as granules of Sentinel-2 overlap by 10 km, these overlap by part of their width."""

    name: str
    epsg: int
    ulx: float
    uly: float

    @property
    def transform(self) -> Affine:
        return Affine(10, 0, self.ulx, 0, -10, self.uly)


# Near 6 degrees east: two overlapping tiles and one below them in zone 31, and one in zone 32 that overlaps both.
TILES = (
    Square("31UGT", 32631, 700020, 5710020),
    Square("31UHT", 32631, 705000, 5710020),
    Square("31UGS", 32631, 700020, 5705040),
    Square("32ULC", 32632, 291000, 5712000),
)
LAYERS = {
    "values": [Layer(f"{b}_median", "median", "values", b, 10, scale=1e-4, offset=-0.1, of=S2[b]) for b in BANDS],
    "count": [Layer("count", "count", "count", "count", 10, nodata=None)],
    "deviations": [Layer("geomad_emad", "geomad", "deviations", "emad", 10, "float32", float("nan"))],
    "date": [Layer("best_date", "best", "date", "date", 10)],
}


def pixels(tile: Square, kind: str) -> np.ndarray:
    """What a tile holds: the ground, a little brighter in each tile, and a swath that ends within it."""
    number = TILES.index(tile)
    place = ground.degrees(tile.epsg, tile.ulx, tile.uly, (EDGE, EDGE), 10)
    rows, columns = np.mgrid[:EDGE, :EDGE]
    empty = (rows + columns * 2 < 500) if number % 2 else (columns * 2 - rows > 1000)
    if kind == "values":
        values = np.array([np.rint(ground.reflectance(b, *place) * 1e4 + 1000 + number) for b in BANDS])
        return np.where(empty, 0, values).astype(np.uint16)
    if kind == "deviations":
        return np.where(empty, np.nan, 0.01 * (number + 1) + rows * 1e-6)[None].astype(np.float32)
    days = 19_800 + number * 10 if kind == "date" else number + 2
    return np.where(empty, 0, days + rows // 50)[None].astype(np.uint16)


@pytest.fixture(scope="module", params=list(LAYERS))
def case(request, tmp_path_factory):
    """Files of all tiles of one kind, in order."""
    folder, layers = tmp_path_factory.mktemp(request.param), LAYERS[request.param]
    paths = []
    for tile in TILES:
        path = folder / tile.name / "2024" / f"{tile.name}.tif"
        profile = {
            "driver": "GTiff", "width": EDGE, "height": EDGE, "count": len(layers), "dtype": layers[0].dtype,
            "crs": f"EPSG:{tile.epsg}", "transform": tile.transform, "nodata": layers[0].nodata,
        }  # fmt: skip
        with as_cog(path, profile, layers, compress="deflate", threads=1) as target:
            target.write(pixels(tile, request.param))
        paths.append(path)
    return folder, request.param, layers, paths


def test_a_vrt_is_what_rasterio_merges(case):
    folder, _, layers, paths = case
    found = write_vrts(folder / "mosaic", "all", paths, layers)
    assert [path.name for path in found] == ["all_EPSG32631.vrt", "all_EPSG32632.vrt"]
    for vrt, mine in zip(found, (paths[:3], paths[3:]), strict=True):
        # To merge a count, zero has to stand for "none": where the first tile has none, the next one may.
        wanted, transform = merge(mine, nodata=layers[0].nodata or 0, method="first")
        with rasterio.open(vrt) as source, rasterio.open(mine[0]) as tile:
            np.testing.assert_array_equal(source.read(), wanted)
            assert source.transform == transform and source.crs == tile.crs
            assert source.colorinterp == tile.colorinterp and source.descriptions == tile.descriptions
            assert source.scales == tile.scales and source.offsets == tile.offsets
            np.testing.assert_equal(source.nodata, layers[0].nodata)
            assert source.dtypes == tile.dtypes
            has = True if layers[0].nodata is None else _there(wanted, layers).any(axis=0)
            np.testing.assert_array_equal(source.dataset_mask() != 0, has)


def test_overviews_of_a_vrt_are_those_of_the_files(case):
    folder, kind, layers, paths = case
    vrt, other = write_vrts(folder / "mosaic", "all", paths, layers)
    for name, tiles in ((vrt, TILES[:3]), (other, TILES[3:])):
        with rasterio.open(name) as source:
            assert source.overviews(1) == [2] if tiles == TILES[3:] else [2, 4]
            left, top = source.bounds.left, source.bounds.top
        with rasterio.open(name, overview_level=0) as source:
            half = source.read()
        # Where the first tile, which is on top, has all pixels.
        with rasterio.open(paths[TILES.index(tiles[0])], overview_level=0) as source:
            assert source.res == (20, 20)
            expected = source.read()
        row, column = round((top - tiles[0].uly) / 20), round((tiles[0].ulx - left) / 20)
        shown = half[:, row : row + EDGE // 2, column : column + EDGE // 2]
        has = _there(pixels(tiles[0], kind), layers).reshape(len(layers), EDGE // 2, 2, EDGE // 2, 2).all((2, 4))
        np.testing.assert_allclose(shown[has], expected[has], rtol=1e-6)


@pytest.mark.parametrize(
    "mosaic", [Mosaic(crs="EPSG:3035", resolution=20), Mosaic(crs="EPSG:32632", resolution=20),
               Mosaic(crs="EPSG:4326", resolution=0.0002)], ids=lambda m: m.crs[5:],
)  # fmt: skip
def test_one_geotiff_is_what_gdal_warps(case, mosaic):
    folder, kind, layers, paths = case
    path = folder / f"{mosaic.crs[5:]}.tif"
    write_mosaic(path, paths, layers, mosaic, "deflate")
    with rasterio.open(path) as source:
        found, transform, mask = source.read(), source.transform, source.dataset_mask() != 0
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.overviews(1) and source.crs.to_string() == mosaic.crs
        assert source.res == (mosaic.resolution, mosaic.resolution)
        np.testing.assert_equal(source.nodata, layers[0].nodata)
        with rasterio.open(paths[0]) as tile:
            assert source.colorinterp == tile.colorinterp and source.descriptions == tile.descriptions
            assert source.scales == tile.scales and source.offsets == tile.offsets
        bounds = source.bounds
    boxes = np.array([transform_bounds(_open_crs(p), mosaic.crs, *_bounds(p)) for p in paths])
    size = mosaic.resolution
    for edge, want in zip(bounds, (*boxes[:, :2].min(0), *boxes[:, 2:].max(0)), strict=True):
        assert abs(edge - want) < size * 1.001 and abs(edge / size - round(edge / size)) < 1e-6
    expected = np.full(found.shape, layers[0].nodata or 0, dtype=found.dtype)
    resampling = Resampling.bilinear if kind in ("values", "deviations") else Resampling.nearest
    nodata = layers[0].nodata or 0
    for tile in TILES:
        part = np.full(found.shape, nodata, dtype=found.dtype)
        reproject(
            pixels(tile, kind), part, src_transform=tile.transform, src_crs=f"EPSG:{tile.epsg}", src_nodata=nodata,
            dst_transform=transform, dst_crs=mosaic.crs, dst_nodata=nodata, resampling=resampling,
            tolerance=0.01,
        )  # fmt: skip
        expected = np.where(_there(expected, layers), expected, part)
    there = _there(expected, layers)
    # GDAL's approximated transformation differs by a hundredth of a pixel with the extent that is warped at once.
    assert (there != _there(found, layers)).mean() < 1e-3
    both = there & _there(found, layers)
    error = np.abs(found.astype(float) - expected)[both]
    if kind == "values":
        # A pixel is up to 21 steep, so that this is a thirtieth of it: from overviews, where the mosaic is coarser.
        assert error.mean() < 0.8 and (error > 4).mean() < 2e-3
    else:
        assert (error > 1e-4).mean() < 0.005
    np.testing.assert_array_equal(mask, _there(found, layers).any(axis=0) if kind != "count" else True)


def test_one_geotiff_shows_the_ground_where_it_is(tmp_path):
    """In every pixel the formula's value at its centre: no shift, no seam at the border of zones, no dark rims."""
    layers, paths = LAYERS["values"], []
    for tile in TILES:
        path = tmp_path / tile.name / f"{tile.name}.tif"
        profile = {
            "driver": "GTiff", "width": EDGE, "height": EDGE, "count": 3, "dtype": "uint16",
            "crs": f"EPSG:{tile.epsg}", "transform": tile.transform, "nodata": 0,
        }  # fmt: skip
        with as_cog(path, profile, layers, compress="zstd", threads=1) as target:
            target.write(pixels(tile, "values"))
        paths.append(path)
    write_mosaic(tmp_path / "m.tif", paths, layers, Mosaic(crs="EPSG:3035", resolution=20), "zstd")
    with rasterio.open(tmp_path / "m.tif") as source:
        assert source.colorinterp[1:] == (ColorInterp.nir, ColorInterp.swir)
        values, transform = source.read(), source.transform
    place = ground.degrees(3035, transform.c, transform.f, values.shape[1:], 20)
    for band, stored in zip(BANDS, values, strict=True):
        wanted = ground.reflectance(band, *place) * 1e4 + 1000
        error = (stored - wanted)[stored != 0]
        assert (stored != 0).mean() > 0.5
        # A tile adds up to 3. At the rim of a tile pixels are those half a pixel away, where the ground rises by 20.
        assert (np.abs(error - 1.5) > 5).mean() < 0.01 and np.abs(error).max() < 30


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("size", [10, 20, 50])
def test_nodata_of_one_band_never_enters_its_neighbours(tmp_path, dtype, size):
    """Each band has gaps of its own in a flat field: files, their overviews, VRT and mosaic hold no other value."""
    nodata = 0 if dtype == "uint16" else float("nan")
    layers = [Layer(f"{b}_median", "median", "values", b, 10, dtype, nodata, 1e-4, -0.1, S2[b]) for b in BANDS]
    tile, path = TILES[0], tmp_path / TILES[0].name / "2024" / "t.tif"
    gaps = np.random.default_rng(3).random((3, 600, 600)) < 0.01
    profile = {
        "driver": "GTiff", "width": 600, "height": 600, "count": 3, "dtype": dtype,
        "crs": f"EPSG:{tile.epsg}", "transform": tile.transform, "nodata": nodata,
    }  # fmt: skip
    with as_cog(path, profile, layers, compress="deflate", threads=1) as target:
        target.write(np.where(gaps, nodata, 5000).astype(dtype))
    (vrt,) = write_vrts(tmp_path, "all", [path], layers)
    write_mosaic(tmp_path / "m.tif", [path], layers, Mosaic(crs="EPSG:3035", resolution=size), "deflate")
    for file, options in (
        (path, {"overview_level": 0}),
        (vrt, {}),
        (vrt, {"overview_level": 0}),
        (tmp_path / "m.tif", {}),
    ):
        with rasterio.open(file, **options) as source:
            values = source.read()
        assert set(np.unique(values[_there(values, layers)])) == {5000}, file


def _there(values: np.ndarray, layers) -> np.ndarray:
    return np.isfinite(values) if layers[0].dtype == "float32" else values != 0


def _open_crs(path: Path):
    with rasterio.open(path) as source:
        return source.crs


def _bounds(path: Path):
    with rasterio.open(path) as source:
        return source.bounds
