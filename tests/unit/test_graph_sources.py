"""Campaigns as collections: equal to a plain composition of the arrays that were written, however they are read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.base.files import digest
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.arrays import shard_key
from hpckit.cubes.held import WHOLE, Held
from hpckit.cubes.ingest import inputs_of_dates
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CubeError, GraphError
from hpckit.processgraph.extents import area_of
from hpckit.processgraph.process import Request
from hpckit.processgraph.times import period_of
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.describe import describe
from hpckit.reduce.graphs.source import CollectionSource, open_source
from hpckit.runs.run import Run
from hpckit.sensors.model import Acquisition, Asset
from hpckit.sensors.sentinel2.details import Details
from hpckit.space.box import Box
from hpckit.space.frame import Frame
from tests.unit.look_samples import acquisition, write_cube

pytestmark = pytest.mark.slow

CAMPAIGN = """\
name: sample
aoi: [2.0, 51.0, 7.0, 53.0]
period: 2024-03-01/2024-10-31
scenes: {paths: products}
cube: {bands: [B04, B08, B11, SCL], dates_per_block: 4}
"""
SHAPES = {10: (1140, 1260), 20: (570, 630), 60: (190, 210)}
CORNERS = {"31UFT": (600_000.0, 5_800_020.0), "31UFU": (609_600.0, 5_801_820.0), "31UGT": (615_000.0, 5_796_000.0)}
DAYS = {"31UFT": [1, 11], "31UFU": [1, 6, 11], "31UGT": [6]}
ALL = [1, 6, 11]
LEFT, TOP = 600_000.0, 5_801_820.0
WHOLE_SHAPE = (1722, 2760)
BANDS = {"B04@10m": 10, "B08@10m": 10, "B11@20m": 20, "SCL@20m": 20}

Layers = Mapping[str, np.ndarray]


def pixels(seed: int, dates: int) -> dict[str, np.ndarray]:
    random, found = np.random.default_rng(seed), {}
    for key, size in BANDS.items():
        shape = (dates, *SHAPES[size])
        numbers = random.integers(0, 12, shape) if key.startswith("SCL") else random.integers(1000, 4000, shape)
        numbers[random.random(shape) < 0.2] = 0
        found[key] = numbers.astype(np.uint8 if key.startswith("SCL") else np.uint16)
    return found


def moments(tile: str) -> list[datetime]:
    return [datetime(2024, 4, day, 10, 50, 31, tzinfo=UTC) for day in DAYS.get(tile, ALL)]


def write_tile(cube: Path, tile: str, frame: Frame, seed: int) -> tuple[list[Acquisition], dict[str, np.ndarray]]:
    times = moments(tile)
    assets = {
        key: Asset(
            f"/products/{key}.jp2", f"EPSG:{frame.epsg}", (size, 0, frame.ulx, 0, -size, frame.uly), SHAPES[size]
        )
        for key, size in {**BANDS, "B05@20m": 20}.items()
    }
    covers = [10.0 * number for number in range(len(times))]
    made = [
        acquisition(
            time, SHAPES, tile=tile, frame=frame, cloud_cover=cover, details=Details("L2A", ""), assets=assets
        )
        for time, cover in zip(times, covers, strict=True)
    ]
    layers = pixels(seed, len(times))
    write_cube(cube, layers, made)
    return made, layers


def record(tiles: Tiles) -> None:
    """Write down in the manifest what lies in the cube, as ingest does."""
    spec = tiles.spec
    manifest = Manifest.load(spec.path)
    for tile, acquisitions in tiles.acquisitions.items():
        inputs = inputs_of_dates(spec, acquisitions)
        for ref in spec.bands:
            rows, columns = tiles.frame(tile).windows(ref.resolution_m)
            for row in range(rows):
                for column in range(columns):
                    key = shard_key(tile, ref, 0, row, column)
                    data = (spec.path / key).read_bytes()
                    mtime = (spec.path / key).stat().st_mtime_ns
                    manifest.append([ShardRecord(key, len(data), digest(data), inputs, mtime=mtime)], "test")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collection, Layers]:
    """Three tiles that overlap, and all of them as one array for each band: dates 1, 6 and 11."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    campaign = load_campaign(folder / "campaign.yaml")
    whole = {key: np.zeros((3, *WHOLE_SHAPE), np.uint16) for key in BANDS}
    acquisitions = {}
    for number, (tile, (left, top)) in enumerate(CORNERS.items()):
        frame = Frame(tile, 32631, left, top, SHAPES, {})
        acquisitions[tile], layers = write_tile(campaign.cube_path, tile, frame, number)
        row, column = round((TOP - top) / 10), round((left - LEFT) / 10)
        for key, size in BANDS.items():
            fine = layers[key].repeat(size // 10, 1).repeat(size // 10, 2)
            for place, day in enumerate(DAYS[tile]):
                part = whole[key][ALL.index(day), row : row + 1140, column : column + 1260]
                np.copyto(part, fine[place], where=part == 0)
    tiles = Tiles(
        Run(folder / "sample.run", "", campaign), {name: tuple(items) for name, items in acquisitions.items()}, {}
    )
    record(tiles)
    return Collection("sample", tiles), whole


def physical(numbers: np.ndarray, key: str) -> np.ndarray:
    scaled = numbers.astype(float) if key.startswith("SCL") else numbers * 1e-4 - 0.1
    return np.where(numbers == 0, np.nan, scaled).astype(np.float32)


def opened(collection: Collection, **changes: object) -> CollectionSource:
    return open_source(collection, Request(**changes))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_part_is_the_tiles_composed(sample: tuple[Collection, Layers], data: st.DataObject) -> None:
    collection, whole = sample
    source = opened(collection, bands=("B11", "B04", "SCL"))
    assert source.grid.shape == WHOLE_SHAPE and (source.grid.left, source.grid.top) == (LEFT, TOP)
    top, left = data.draw(st.integers(-20, 1700)), data.draw(st.integers(-20, 2740))
    box = Box(top, left, top + data.draw(st.integers(1, 60)), left + data.draw(st.integers(1, 60)))
    found = source.read(box)
    inside = box.within(WHOLE_SHAPE)
    expected = np.full(found.values.shape, np.nan, np.float32)
    place = inside.moved(-box.top, -box.left)
    for number, key in enumerate(("B11@20m", "B04@10m", "SCL@20m")):
        part = whole[key][:, inside.top : inside.bottom, inside.left : inside.right]
        expected[:, number, place.top : place.bottom, place.left : place.right] = physical(part, key)
    np.testing.assert_array_equal(found.values, expected)


def test_the_type_says_what_values_have(sample: tuple[Collection, Layers]) -> None:
    source = opened(sample[0], bands=("nir", "B11", "SCL"), period=period_of(["2024-04-05", "2024-05-01"], "x"))
    kind = source.type
    assert kind.names == ("t", "bands", "y", "x") and kind.values.shape == (2, 3, 0, 0)
    assert kind.values.dtype == np.float32
    assert kind.dims[0].labels == ("2024-04-06T10:50:31Z", "2024-04-11T10:50:31Z")
    assert kind.dims[1].labels == ("B08", "B11", "SCL")
    assert [band.common_name for band in kind.dims[1].bands] == ["nir", "swir16", ""]
    coarse = opened(sample[0], bands=("B11",))
    assert coarse.grid.dx == 20.0 and coarse.grid.shape == (861, 1380)


def test_an_extent_has_the_pixels_whose_centres_it_holds(sample: tuple[Collection, Layers]) -> None:
    collection, _ = sample
    box = {"west": 610_000, "south": 5_790_004, "east": 611_006, "north": 5_791_000, "crs": 32631}
    grid = opened(collection, bands=("B04",), area=area_of(box, "x")).grid
    assert grid.bounds == (610_000, 5_790_000, 611_010, 5_791_000)
    far = {"west": 10, "south": 40, "east": 11, "north": 41}
    with pytest.raises(GraphError, match="no tile in the area") as caught:
        opened(collection, area=area_of(far, "x"))
    assert caught.value.fault == "NoDataAvailable"
    beyond = {"west": 500_000, "south": 5_000_000, "east": 900_000, "north": 6_000_000, "crs": 32631}
    assert opened(collection, bands=("B04",), area=area_of(beyond, "x")).grid.shape == WHOLE_SHAPE


def test_products_are_chosen_by_their_properties(sample: tuple[Collection, Layers]) -> None:
    def clear(value: float) -> bool:
        return value < 15

    source = opened(sample[0], bands=("B04",), properties={"eo:cloud_cover": clear})
    assert [label[8:10] for label in source.type.dims[0].labels] == ["01", "06", "11"]
    assert source.wanted.dates[1][1] == {"31UFU": 1, "31UGT": 0} and source.wanted.dates[2][1] == {"31UFT": 1}
    with pytest.raises(GraphError, match="no property 'cloud'") as caught:
        opened(sample[0], properties={"cloud": clear})
    assert "eo:cloud_cover" in str(caught.value.hint)
    with pytest.raises(GraphError, match="none fulfils") as caught:
        opened(sample[0], properties={"eo:cloud_cover": lambda value: value is None})
    assert caught.value.fault == "NoDataAvailable"


@pytest.mark.parametrize(
    ("bands", "message"),
    [(("B99",), "no band 'B99'"), (("B04", "B04"), "twice"), (("B04", "red"), "twice"), ((), "empty")],
)
def test_bands_that_cannot_be(sample: tuple[Collection, Layers], bands: tuple[str, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        opened(sample[0], bands=bands)


def test_what_the_cube_lacks_is_no_pixel_without_data(sample: tuple[Collection, Layers]) -> None:
    collection, _ = sample
    with pytest.raises(GraphError, match="none of its products has band B06"):
        opened(collection, bands=("B06",))
    with pytest.raises(CubeError, match=r"the cube lacks band B05 .* cannot be decoded") as caught:
        opened(collection, bands=("B05",)).read(Box(300, 0, 310, 10))
    assert "hpckit run" in str(caught.value.hint)
    manifest = Manifest.load(collection.tiles.spec.path)
    key = shard_key("31UFU", collection.bands[0], 0, 0, 0)
    known = manifest.get(key)
    assert known is not None
    source = opened(collection, bands=("B04",))
    try:
        manifest.append([ShardRecord(key, known.nbytes, known.digest, (known.inputs[0], "", known.inputs[2]))], "x")
        with pytest.raises(CubeError, match="of tile 31UFU at GS2A_20240406"):
            source.read(Box(0, 1000, 10, 1010))
        source.read(Box(1100, 1000, 1110, 1010))
    finally:
        manifest.append([known], "test")


def test_windows_beyond_the_area_of_the_campaign(sample: tuple[Collection, Layers]) -> None:
    """Without an extent they hold nothing; within one they must be decoded, unless another tile holds them."""
    collection, whole = sample
    tiles = collection.tiles
    held = {(tile, size): np.ones(tiles.frame(tile).windows(size), bool) for tile in CORNERS for size in (10, 20)}
    held["31UFT", 10][:, 1] = False
    part = Collection("part", Tiles(tiles.run, tiles.acquisitions, {}, Held(held)))
    source = opened(part, bands=("B04",))
    pixel = source.read(Box(1200, 1100, 1201, 1101)).values[:, 0, 0, 0]
    np.testing.assert_array_equal(pixel, [np.nan] * 3)
    other = {"west": 611_000, "south": 5_789_400, "east": 611_100, "north": 5_789_500, "crs": 32631}
    inside = opened(part, bands=("B04",), area=area_of(other, "x"))
    assert np.isfinite(inside.read(inside.grid.box).values).any(), "the cube has it all the same"
    manifest, key = Manifest.load(tiles.spec.path), shard_key("31UFT", collection.bands[0], 0, 1, 1)
    known = manifest.get(key)
    assert known is not None
    manifest.disown([key], "test")
    try:
        with pytest.raises(CubeError, match="tile 31UFT at"):
            inside.read(inside.grid.box)
    finally:
        manifest.append([known], "test")
    shared = {"west": 611_000, "south": 5_795_000, "east": 611_100, "north": 5_795_100, "crs": 32631}
    inside = opened(part, bands=("B04",), area=area_of(shared, "x"))
    found = inside.read(inside.grid.box).values[1, 0]
    np.testing.assert_array_equal(found, physical(whole["B04@10m"][1, 672:682, 1100:1110], "B04"))


def test_tiles_of_another_zone_are_warped_onto_the_grid(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    campaign = load_campaign(tmp_path / "campaign.yaml")
    places = {"31UGT": (32631, 699_960.0, 5_780_000.0), "32ULC": (32632, 297_000.0, 5_778_000.0)}
    acquisitions, layers = {}, {}
    for number, (tile, place) in enumerate(places.items()):
        frame = Frame(tile, *place, SHAPES, {})
        DAYS[tile] = ALL
        acquisitions[tile], layers[tile] = write_tile(campaign.cube_path, tile, frame, number)
    DAYS["31UGT"] = [6]
    tiles = Tiles(Run(tmp_path / "r.run", "", campaign), {k: tuple(v) for k, v in acquisitions.items()}, {}, WHOLE)
    record(tiles)
    source = opened(Collection("two", tiles), bands=("B04",))
    assert source.grid.crs == "EPSG:32631" and source.grid.columns > 1260
    box = Box(400, 1000, 700, source.grid.columns)
    found = source.read(box).values[:, 0]
    expected = np.full(found.shape, np.nan, np.float32)
    for date in range(3):
        other = np.zeros(box.shape, np.uint16)
        rasterio.warp.reproject(
            layers["32ULC"]["B04@10m"][date],
            other,
            src_transform=tiles.frame("32ULC").transform(10),
            src_crs="EPSG:32632",
            dst_transform=source.grid.geobox(box).transform,
            dst_crs="EPSG:32631",
            resampling=rasterio.warp.Resampling.nearest,
            tolerance=0.0,
        )
        own = np.zeros(box.shape, np.uint16)
        rows = slice(400 - round((source.grid.top - 5_780_000) / 10), 700 - round((source.grid.top - 5_780_000) / 10))
        own[:, :260] = layers["31UGT"]["B04@10m"][date][rows, 1000:1260]
        expected[date] = physical(np.where(own == 0, other, own), "B04")
    same = np.isclose(found, expected, atol=1e-6) | (np.isnan(found) & np.isnan(expected))
    assert same.mean() > 0.98, "centres within a hundredth of a pixel of an edge may fall on either side"


def test_a_collection_describes_itself(sample: tuple[Collection, Layers]) -> None:
    info = describe(sample[0])
    assert [band.name for band in info.bands] == ["B04", "B08", "B11", "SCL"] and info.dates == 3
    assert info.crs == ("EPSG:32631",) and info.resolutions_m == (10, 20) and info.tiles == tuple(sorted(CORNERS))
    west, south, east, north = info.bbox
    assert 4.4 < west < east < 5.0 and 52.1 < south < north < 52.4
    assert info.summaries["eo:cloud_cover"] == {"minimum": 0.0, "maximum": 20.0}
    assert info.bands[3].classes[8] == "cloud medium probability" and "eo:cloud_cover" in info.properties


def test_inputs_change_with_what_is_read(sample: tuple[Collection, Layers]) -> None:
    collection, _ = sample
    known = {
        opened(collection).inputs,
        opened(collection, bands=("B04",)).inputs,
        opened(collection, bands=("B04",), period=period_of(["2024-04-05", None], "x")).inputs,
    }
    assert len(known) == 3 and opened(collection).inputs in known
    items = {tile: list(found) for tile, found in collection.tiles.acquisitions.items()}
    frame = Frame("31UGT", 32631, *CORNERS["31UGT"], SHAPES, {})
    items["31UGT"] = [acquisition(moments("31UGT")[0], SHAPES, tile="31UGT", frame=frame, content="other")]
    other = Collection("sample", Tiles(collection.tiles.run, {k: tuple(v) for k, v in items.items()}, {}))
    assert opened(other).inputs not in known
