"""Ingest onto grids: granules of two UTM zones that see one ground, whose reflectance is a formula."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import shapely

from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.tiling import group
from hpckit.cubes import ingest, layout, read
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.errors import CubeError, SceneError
from hpckit.sensors import regrid
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.native import MGRS
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.grid import parse_grid
from hpckit.space.warp import Resampling
from hpckit.testing import ground
from hpckit.testing.safe import ProductSpec, write_product
from tests.products import FIRST

pytestmark = pytest.mark.slow

EDGE = 600
B04, B11, SCL = SENTINEL2.parse("B04@10m"), SENTINEL2.parse("B11").at(10), SENTINEL2.parse("SCL").at(10)
EAST = ground.granule_at(ProductSpec(tile="32ULC", epsg=32632, sensed=FIRST, baseline="03.01"), 6.02, 51.5, EDGE)
WEST = ground.granule_at(ProductSpec(tile="31UGT", epsg=32631, sensed=FIRST), 5.97, 51.5, EDGE)
"""Of one pass; six kilometres wide, they overlap by half, and both reach over the border of the zones."""


def campaign(grid: str, aoi: list[float] | None = None, **cube: object) -> Campaign:
    values = {
        "name": "grids",
        "aoi": aoi or [5.93, 51.48, 6.06, 51.52],
        "period": "2024-01-01/2024-12-31",
        "scenes": {"paths": ["scenes"]},
        "grid": grid,
        "cube": {"bands": ["B04", "B11", "SCL"], **cube},
    }
    return Campaign.model_validate(values)


def tiles_of(folder: Path, made: Campaign) -> dict[str, tuple[Acquisition, ...]]:
    return group(made, catalogue.scan([folder]).scenes)[0]


def fill(path: Path, made: Campaign, by_tile: dict[str, tuple[Acquisition, ...]]) -> list[ingest.IngestResult]:
    spec = replace(CubeSpec.of(made), path=path)
    manifest = Manifest.load(path)
    results = []
    for tile, acquisitions in by_tile.items():
        layout.prepare(spec, tile, acquisitions)
        for unit in ingest.ingest_units(spec, tile, acquisitions):
            results.append(ingest.ingest(spec, unit, acquisitions, manifest, "w"))
    return results


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for spec in (WEST, EAST):
        ground.write_granule(folder, spec, EDGE)
    return folder


def truth(where: read.Geometry, size: int) -> tuple[np.ndarray, np.ndarray]:
    return ground.degrees(where.epsg, where.transform.c, where.transform.f, where.shape, size)


def covered(longitude: np.ndarray, latitude: np.ndarray, specs=(WEST, EAST)) -> np.ndarray:
    """Pixels whose centre lies in a granule, and those well within one."""
    inside = np.zeros(longitude.shape, bool)
    for spec in specs:
        import pyproj

        x, y = pyproj.Transformer.from_crs(4326, spec.epsg, always_xy=True).transform(longitude, latitude)
        inside |= (x >= spec.ulx) & (x < spec.ulx + EDGE * 10) & (y <= spec.uly) & (y > spec.uly - EDGE * 10)
    return inside


@pytest.mark.parametrize("grid", ["utm:5120@10", "EPSG:3035:4000@10", "EPSG:3035:4000@20"])
@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "average"])
def test_pixels_hold_the_ground(scenes: Path, tmp_path: Path, grid: str, resampling: str) -> None:
    """No gap and no seam where granules, zones and baselines meet; 20 m onto 10 m."""
    made = campaign(grid, resampling=resampling)
    by_tile = tiles_of(scenes, made)
    assert not any(result.failures for result in fill(tmp_path, made, by_tile))
    size = parse_grid(grid, MGRS).pixel_m
    codes = set()
    for tile in by_tile:
        where = read.geometry(tmp_path, tile, size)
        codes.add(where.epsg)
        place = truth(where, size)
        inside = covered(*place)
        for name in ("B04", "B11"):
            plane = read.read_plane(tmp_path, tile, SENTINEL2.parse(name, pixel_m=size), 0)
            assert plane.dtype == np.uint16
            assert ((plane > 0) == inside).mean() > 0.9999
            error = (plane / 1e4 - 0.1) - ground.reflectance(name, *place)
            # At the rim of a granule kernels are one-sided.
            limit = (2e-3 if name == "B04" else 6e-3) * size / 10
            assert np.abs(error[plane > 0]).max(initial=0) < limit
        marks = read.read_plane(tmp_path, tile, SENTINEL2.parse("SCL", pixel_m=size), 0)
        assert set(np.unique(marks)) <= {0, 4, 5} and ((marks > 0) == inside).all()
        assert (marks == ground.classes(*place))[inside].mean() > 0.97
    assert codes == ({32631, 32632} if grid.startswith("utm") else {3035})


@pytest.mark.parametrize("resampling", get_args(Resampling))
def test_on_the_products_own_lattice_pixels_are_copied(scenes: Path, tmp_path: Path, resampling: str) -> None:
    made = campaign("utm:2560@10", [5.93, 51.49, 5.96, 51.51], resampling=resampling, bands=["B04", "B11@20m"])
    by_tile = tiles_of(scenes, made)
    fill(tmp_path, made, by_tile)
    native = read_native(scenes, "31UGT")
    for tile in by_tile:
        for ref in made.cube_bands():
            where = read.geometry(tmp_path, tile, ref.resolution_m)
            left = round((where.transform.c - WEST.ulx) / ref.resolution_m)
            top = round((WEST.uly - where.transform.f) / ref.resolution_m)
            count = where.shape[0]
            own = native[ref][max(0, top) : top + count, max(0, left) : left + count]
            plane = read.read_plane(tmp_path, tile, ref, 0)
            mine = plane[max(0, -top) :, max(0, -left) :][: own.shape[0], : own.shape[1]]
            np.testing.assert_array_equal(mine, own)
            assert own.any()


def read_native(scenes: Path, granule: str) -> dict[BandRef, np.ndarray]:
    """Bands of a granule as the other way of ingest stores them."""
    found = [a for a in catalogue.acquisitions(catalogue.scan([scenes]).scenes)[0] if a.tile == granule]
    refs = (SENTINEL2.parse("B04@10m"), SENTINEL2.parse("B11@20m"))
    spec = CubeSpec(
        scenes.parent / f"native-{scenes.name}", refs, 4, True, 3, None, False, SENTINEL2.grid, sensor=SENTINEL2
    )
    layout.prepare(spec, granule, found)
    manifest = Manifest.load(spec.path)
    for unit in ingest.ingest_units(spec, granule, found):
        ingest.ingest(spec, unit, found, manifest, "w")
    return {ref: read.read_plane(spec.path, granule, ref, 0) for ref in refs}


def test_equal_campaigns_give_equal_pixels(scenes: Path, tmp_path: Path) -> None:
    """A tile holds the same bytes, whatever else the area of interest holds."""
    whole, part = campaign("utm:2560@10"), campaign("utm:2560@10", [5.99, 51.495, 6.01, 51.505])
    some = tiles_of(scenes, part)
    fill(tmp_path / "a", whole, tiles_of(scenes, whole))
    fill(tmp_path / "b", part, some)
    shards = sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").glob("*/r*/*/c/*/*/*"))
    assert shards
    for shard in shards:
        assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()


def test_what_is_covered_is_not_decoded_again(scenes: Path, tmp_path: Path) -> None:
    """The pass has two granules here, but the first one fills the tile: its pixels and a rim are decoded."""
    made = campaign("utm:1280@10", bands=["B04"])
    inner = shapely.box(WEST.ulx, WEST.uly - EDGE * 10, WEST.ulx + EDGE * 10, WEST.uly)
    by_tile = {
        tile: acquisitions
        for tile, acquisitions in tiles_of(scenes, made).items()
        if tile.startswith("31N") and inner.contains(shapely.box(*CubeSpec.of(made).frame(tile, acquisitions).bounds))
    }
    assert {len(item.scenes) for items in by_tile.values() for item in items} == {1, 2}
    assert {result.decoded_pixels for result in fill(tmp_path, made, by_tile)} == {128 * 128}


@pytest.mark.parametrize(("overlaps", "winner"), [("newest", "05.10"), ("least_cloudy", "03.01")])
def test_overlaps(tmp_path: Path, overlaps: str, winner: str) -> None:
    """The first granule has the newer baseline and more clouds; which one won is seen by its pixels."""
    ground.write_granule(tmp_path / "s", replace(WEST, cloud_cover=40.0), EDGE, bands=["B04@10m"])
    ground.write_granule(tmp_path / "s", replace(EAST, cloud_cover=10.0), EDGE, bands=["B04@10m"])
    made = campaign("utm:2560@10", [5.985, 51.495, 5.99, 51.5], bands=["B04"], overlaps=overlaps)
    (acquisitions,) = tiles_of(tmp_path / "s", made).values()
    assert acquisitions[0].scenes[0].baseline == winner


def test_gaps_are_filled_from_the_next_granule(tmp_path: Path) -> None:
    """A swath that ends within the first granule goes on in the second."""
    ground.write_granule(tmp_path / "s", WEST, EDGE, bands=["B04@10m"], seen=lambda x, y: x < 5.99)
    ground.write_granule(tmp_path / "s", EAST, EDGE, bands=["B04@10m"], seen=lambda x, y: x < 6.015)
    made = campaign("utm:2560@10", [5.985, 51.495, 5.99, 51.5], bands=["B04"])
    by_tile = tiles_of(tmp_path / "s", made)
    fill(tmp_path / "c", made, by_tile)
    (tile,) = by_tile
    where = read.geometry(tmp_path / "c", tile, 10)
    place = truth(where, 10)
    plane = read.read_plane(tmp_path / "c", tile, B04, 0)
    assert ((plane > 0) == (place[0] < 6.015)).mean() > 0.999 and (place[0] > 5.99).any()
    error = (plane / 1e4 - 0.1 - ground.reflectance("B04", *place))[plane > 0]
    assert np.abs(error).max() < 2e-3


GAPS = {
    "swath edge": lambda row, column: column + 0.2 * row < 150,
    "one pixel": lambda row, column: (row % 37 == 5) & (column % 29 == 7),
    "one row": lambda row, column: row % 50 == 11,
    "diagonal": lambda row, column: (row + column) % 41 == 0,
    "three by three": lambda row, column: (row % 40 < 3) & (column % 40 < 3),
}


def dense(values: np.ndarray, ratio: int, resampling: str) -> np.ndarray:
    """Coarse pixels on the lattice of a raster: kernels as wide as these, with weights of valid pixels only."""
    count = values.shape[0] // ratio
    centres = (np.arange(count) + 0.5) * ratio
    away = np.abs(np.arange(values.shape[0]) + 0.5 - centres[:, None]) / ratio
    kernels = {
        "bilinear": np.clip(1 - away, 0, None),
        "average": (away < 0.5).astype(float),
        "cubic": np.where(
            away < 1,
            (1.5 * away - 2.5) * away**2 + 1,
            np.where(away < 2, ((-0.5 * away + 2.5) * away - 4) * away + 2, 0),
        ),
    }
    kernel = kernels[resampling]
    valid = (values > 0).astype(float)
    centre = valid[ratio // 2 :: ratio, ratio // 2 :: ratio]
    with np.errstate(all="ignore"):
        found = (kernel @ (values * valid) @ kernel.T) / (kernel @ valid @ kernel.T)
    return np.where(centre[:count, :count] > 0, found, 0)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "average"])
@pytest.mark.parametrize("size", [20, 80])
def test_nodata_never_enters_coarse_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gap: str, resampling: str, size: int
) -> None:
    """On a flat field nothing but its value comes out; on a rough one what numpy makes of the valid pixels."""
    monkeypatch.setattr(regrid, "_AT_ONCE", 2**15)
    row, column = np.mgrid[:EDGE, :EDGE]
    hole = GAPS[gap](row, column)
    rough = np.random.default_rng(2).integers(3000, 7000, (EDGE, EDGE))
    spec = ProductSpec(tile="31UFT", epsg=32631, ulx=600000, uly=5700000, sensed=FIRST, level="L1C", baseline="02.09")
    pixels = {"B08@10m": np.where(hole, 0, 5000), "B04@10m": np.where(hole, 0, rough)}
    write_product(tmp_path / "s", spec, {key: values.astype(np.uint16) for key, values in pixels.items()})
    made = campaign(
        f"utm:{size * 64}@{size}", [4.45, 51.40, 4.52, 51.43], resampling=resampling, bands=["B08", "B04"]
    )
    made = made.model_copy(update={"scenes": made.scenes.model_copy(update={"collection": "sentinel-2-l1c"})})
    by_tile = tiles_of(tmp_path / "s", made)
    assert not any(result.failures for result in fill(tmp_path / "c", made, by_tile))
    expected = dense(pixels["B04@10m"], size // 10, resampling)
    seen = 0
    for tile in by_tile:
        where = read.geometry(tmp_path / "c", tile, size)
        flat = read.read_plane(tmp_path / "c", tile, SENTINEL2.parse("B08", pixel_m=size), 0)
        assert set(np.unique(flat)) <= {0, 6000}
        plane = read.read_plane(tmp_path / "c", tile, SENTINEL2.parse("B04", pixel_m=size), 0).astype(int)
        left, top = round((where.transform.c - 600000) / size), round((5700000 - where.transform.f) / size)
        for i, j in np.argwhere(plane > 0):
            seen += 1
            assert abs(plane[i, j] - 1000 - expected[top + i, left + j]) <= 1
    assert seen > 0.7 * (expected > 0).sum()


@pytest.mark.parametrize("size", [40, 80])
def test_coarse_pixels_of_fine_files_lie_where_they_should(tmp_path: Path, size: int) -> None:
    """In place, and not darkened beside the swath's border."""
    spec = replace(WEST, level="L1C")
    ground.write_granule(tmp_path / "s", spec, EDGE, bands=["B04@10m"], seen=lambda x, y: x + y / 5 < 16.3)
    made = campaign(f"EPSG:3035:4000@{size}", [5.95, 51.48, 5.99, 51.52], bands=["B04"])
    made = made.model_copy(update={"scenes": made.scenes.model_copy(update={"collection": "sentinel-2-l1c"})})
    by_tile = tiles_of(tmp_path / "s", made)
    fill(tmp_path / "c", made, by_tile)
    valid = 0
    for tile in by_tile:
        where = read.geometry(tmp_path / "c", tile, size)
        place = truth(where, size)
        plane = read.read_plane(tmp_path / "c", tile, SENTINEL2.parse("B04", pixel_m=size), 0)
        error = (plane / 1e4 - 0.1 - ground.reflectance("B04", *place))[plane > 0]
        assert np.quantile(np.abs(error), 0.99) < 0.005 * size / 40 and abs(error.mean()) < 1e-3
        assert np.abs(error).max(initial=0) < 0.1 * 2 * np.pi / ground.WAVE_M * size  # at the rim, half a pixel
        assert (place[0] + place[1] / 5)[plane > 0].max(initial=0) < 16.3001  # half a fine pixel
        valid += (plane > 0).sum() * size**2
    assert valid > 0.8 * (EDGE * 10) ** 2 * 0.4


@pytest.mark.parametrize(
    ("keys", "wanted", "size", "found"),
    [
        (["B04@10m", "B04@20m", "B04@60m"], "B04", 10, 10),
        (["B04@10m", "B04@20m", "B04@60m"], "B04", 20, 20),
        (["B04@10m", "B04@20m", "B04@60m"], "B04", 50, 20),
        (["B04@10m", "B04@20m", "B04@60m"], "B04", 100, 60),
        (["B11@20m", "B11@60m"], "B11", 10, 20),
    ],
)
def test_the_file_that_suffices(scenes: Path, keys: list[str], wanted: str, size: int, found: int) -> None:
    scene = replace(catalogue.scan([scenes]).scenes[0], assets=dict.fromkeys(keys, "x.jp2"))
    assert regrid.source_band(scene, SENTINEL2.parse(wanted, pixel_m=size)).resolution_m == found
    with pytest.raises(SceneError, match="has no band B09"):
        regrid.source_band(scene, SENTINEL2.parse("B09", pixel_m=size))


def test_cells_without_scenes_make_no_units(scenes: Path) -> None:
    """Only cells that a granule reaches are tiles; the area is a hundred times as large."""
    made = campaign("utm:10240@10", [5.0, 51.0, 7.0, 52.0])
    by_tile, all_cells = tiles_of(scenes, made), made.grid.tiles(shapely.box(5, 51, 7, 52))
    assert 0 < len(by_tile) < len(all_cells) / 10
    assert tiles_of(scenes, campaign("utm:10240@10", [9.0, 51.0, 9.1, 51.1])) == {}


def test_a_broken_file_costs_its_date_only(tmp_path: Path) -> None:
    for number in range(2):
        later = replace(WEST, sensed=FIRST + timedelta(days=5 * number))
        ground.write_granule(tmp_path / "s", later, EDGE, bands=["B04@10m"])
    made = campaign("utm:5120@10", [5.95, 51.49, 5.97, 51.5], bands=["B04"])
    image = next((tmp_path / "s").glob("*20240506*/GRANULE/*/IMG_DATA/R10m/*B04_10m.jp2"))
    sound = image.read_bytes()
    image.write_bytes(sound[: len(sound) // 2])
    by_tile = tiles_of(tmp_path / "s", made)
    results = fill(tmp_path / "c", made, by_tile)
    assert all("truncated" in str(result.failures[0][1]) for result in results)
    for tile in by_tile:
        assert read.read_plane(tmp_path / "c", tile, B04, 0).any()
        assert not read.read_plane(tmp_path / "c", tile, B04, 1).any()
    image.write_bytes(sound)
    assert not any(result.failures for result in fill(tmp_path / "c", made, by_tile))
    assert all(read.read_plane(tmp_path / "c", tile, B04, 1).any() for tile in by_tile)


def test_cloudy_windows_are_not_decoded(scenes: Path, tmp_path: Path) -> None:
    """All patches are vegetation and soil: hidden is only what lies beyond the granules."""
    made = campaign("utm:2560@10", bands=["B04", "SCL"], skip_cloudy=0.5)
    by_tile = tiles_of(scenes, made)
    fill(tmp_path, made, by_tile)
    for tile in by_tile:
        marks = read.read_plane(tmp_path, tile, SCL, 0)
        hidden = (marks == 0).mean()
        if abs(hidden - 0.5) > 0.03:
            assert read.read_plane(tmp_path, tile, B04, 0).any() == (hidden < 0.5)


def test_another_grid_of_the_same_tile_names_is_refused(scenes: Path, tmp_path: Path) -> None:
    made = campaign("EPSG:3035:4000@20")
    by_tile = tiles_of(scenes, made)
    tile = next(iter(by_tile))
    spec = replace(CubeSpec.of(made), path=tmp_path)
    layout.prepare(spec, tile, by_tile[tile])
    with pytest.raises(CubeError, match="another grid"):
        layout.prepare(replace(spec, grid=parse_grid("EPSG:3034:4000@20", MGRS)), tile, by_tile[tile])


def test_changed_resampling_is_ingested_anew(scenes: Path, tmp_path: Path) -> None:
    made = campaign("EPSG:3035:4000@20", bands=["B04"])
    by_tile = tiles_of(scenes, made)
    assert sum(result.shards for result in fill(tmp_path, made, by_tile)) == len(by_tile)
    assert sum(result.shards for result in fill(tmp_path, made, by_tile)) == 0
    changed = campaign("EPSG:3035:4000@20", bands=["B04"], resampling="cubic")
    assert sum(result.shards for result in fill(tmp_path, changed, by_tile)) == len(by_tile)
