"""Chips of parcels: pixels of the cube, cut out by zarr-python and numpy, with the parcel where pyproj puts it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.campaign.campaign import load_campaign
from hpckit.errors import CubeError, HpckitError, ShardError
from hpckit.look.chips import Sprite, calendar, read_chip, svg_path, write_geotiff
from hpckit.look.tiles import Layer
from hpckit.look.view import CampaignView
from tests.unit import map_samples
from tests.unit.map_samples import CORNERS, DAYS, EAST, TIMES, WEST
from tests.unit.test_map_tiles import nearest, picture

pytestmark = [pytest.mark.halved, pytest.mark.slow]

RED = Layer("band", ("B04",), stretch=((0.0, 0.3),))
_, LEFT, TOP = CORNERS[WEST]


@pytest.fixture(scope="module")
def view(tmp_path_factory) -> CampaignView:
    return map_samples.make(tmp_path_factory.mktemp("chips"))


def cells(sprite: Sprite) -> list[np.ndarray]:
    sheet = picture(sprite.png)
    return [sheet[cell.y : cell.y + sprite.height, cell.x : cell.x + sprite.width] for cell in sprite.cells]


def window(sprite: Sprite, pixels: np.ndarray, size: int) -> np.ndarray:
    """Pixels of an array within a chip, by the chip's transform alone; 0 beyond its edges."""
    a, _, left, _, e, top = sprite.transform
    columns = np.floor((left + a * (np.arange(sprite.width) + 0.5) - LEFT) / size).astype(int)
    rows = np.floor((TOP - (top + e * (np.arange(sprite.height) + 0.5))) / size).astype(int)
    inside = np.outer((rows >= 0) & (rows < pixels.shape[-2]), (columns >= 0) & (columns < pixels.shape[-1]))
    cut = pixels[..., rows.clip(0, pixels.shape[-2] - 1)[:, None], columns.clip(0, pixels.shape[-1] - 1)]
    return np.where(inside, cut, 0)


@settings(max_examples=25)
@given(st.floats(0, 6000), st.floats(0, 9000), st.floats(5, 900), st.floats(5, 900), st.floats(0, 200))
def test_each_chip_shows_the_pixels_of_its_date(view, east, south, width, height, margin):
    zone = shapely.box(LEFT + east, TOP - south - height, LEFT + east + width, TOP - south)
    sprite = calendar(view, zone, RED, crs=CORNERS[WEST][0], margin_m=margin)
    assert sprite.tile == WEST and sprite.epsg == CORNERS[WEST][0] and not sprite.notes
    expected = window(sprite, map_samples.stored(view.campaign.cube_path, WEST, "B04"), 10)
    a, _, left, _, e, top = sprite.transform
    assert left <= LEFT + east - margin and left + a * sprite.width >= LEFT + east + width + margin
    assert top >= TOP - south + margin and top + e * sprite.height <= TOP - south - height - margin
    assert [cell.time for cell in sprite.cells] == [time.isoformat() for time in TIMES]
    for shown, pixels in zip(cells(sprite), expected, strict=True):
        assert ((shown[..., 3] > 0) == (pixels > 0)).all()
        grey = ((pixels - 1000.0) * 1e-4 / 0.3 * 255).clip(0, 255)
        assert np.abs(shown[..., 0] - grey)[pixels > 0].max(initial=0) < 1.01


def test_shares_of_cloud_and_data_are_those_of_the_parcel(view):
    zone = shapely.Point(LEFT + 4250, TOP - 2000).buffer(170)
    sprite = calendar(view, zone, RED, crs=CORNERS[WEST][0])
    mine = window(sprite, map_samples.stored(view.campaign.cube_path, WEST, "B04"), 10)
    classes = window(sprite, map_samples.stored(view.campaign.cube_path, WEST, "SCL", 20), 20)
    a, _, left, _, e, top = sprite.transform
    x, y = np.meshgrid(left + a * (np.arange(sprite.width) + 0.5), top + e * (np.arange(sprite.height) + 0.5))
    inside = shapely.contains_xy(zone, x, y)
    for cell, pixels, codes in zip(sprite.cells, mine, classes, strict=True):
        known = inside & (pixels > 0)
        assert cell.valid == pytest.approx(known.sum() / inside.sum(), abs=1e-4)
        assert cell.cloud == pytest.approx(np.isin(codes[known], (8, 9, 10)).mean(), abs=1e-4)
    assert sprite.cells[1].valid < 1  # a gap


def test_a_period_has_its_dates_only(view):
    zone = shapely.box(LEFT + 500, TOP - 900, LEFT + 700, TOP - 700)
    within = calendar(view, zone, RED, DAYS[1], DAYS[1], crs=CORNERS[WEST][0])
    assert [cell.id for cell in within.cells] == [f"GS2A_{TIMES[1]:%Y%m%dT%H%M%S}_012345"]
    none = calendar(view, zone, RED, date(2023, 1, 1), date(2023, 2, 1), crs=CORNERS[WEST][0])
    assert none.cells == () and picture(none.png)[..., 3].max() == 0
    whole = calendar(view, zone, RED, None, DAYS[1], crs=CORNERS[WEST][0])
    assert len(whole.cells) == 2


def test_colours_classes_and_indices(view):
    zone = shapely.box(LEFT + 5500, TOP - 900, LEFT + 5700, TOP - 700)
    for layer in (
        Layer("rgb", ("B04", "B03", "B02")),
        Layer("rgb", ("B08", "B11", "B04")),
        Layer("index", ("NDVI",)),
        Layer("index", ("NDWI",)),
        Layer("classes", ("SCL",)),
    ):
        sprite = calendar(view, zone, layer, crs=CORNERS[WEST][0])
        assert len(sprite.cells) == 3 and all((shown[..., 3] > 0).any() for shown in cells(sprite))
    rgb = cells(calendar(view, zone, Layer("rgb", ("B11", "B11", "B11")), crs=CORNERS[WEST][0]))
    assert (rgb[0][..., 0] == rgb[0][..., 1]).all()


def test_the_outline_is_the_parcel(view):
    ring = shapely.Point(6.0, 52.08).buffer(0.004, 8)
    hole = shapely.Point(6.0, 52.08).buffer(0.001, 8)
    zone = shapely.MultiPolygon([ring.difference(hole), shapely.box(6.006, 52.08, 6.007, 52.081)])
    sprite = calendar(view, zone, RED)
    parts = sprite.outline.rstrip("Z").split("Z")
    assert len(parts) == 3 and all(part.startswith("M") for part in parts)
    x, y = np.array([[float(n) for n in pair.split()] for part in parts for pair in part[1:].split("L")]).T
    a, _, left, _, e, top = sprite.transform
    to_degrees = pyproj.Transformer.from_crs(sprite.epsg, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(left + a * x, top + e * y)
    moved = shapely.points(longitude, latitude)
    assert shapely.distance(zone.boundary, moved).max() < 2e-6
    assert x.min() >= 0 and y.min() >= 0 and x.max() <= sprite.width and y.max() <= sprite.height


def test_a_parcel_at_the_edge_of_a_tile_is_completed_from_the_next_one(view):
    right = LEFT + 1260 * 10
    zone = shapely.box(right - 400, TOP - 6300, right - 60, TOP - 6000)
    sprite = calendar(view, zone, RED, crs=CORNERS[WEST][0], margin_m=300)
    assert sprite.tile == WEST
    a, _, left, _, e, top = sprite.transform
    x, y = np.meshgrid(left + a * (np.arange(sprite.width) + 0.5), top + e * (np.arange(sprite.height) + 0.5))
    beyond = x > right
    assert beyond.any() and not beyond.all()
    to_mercator = pyproj.Transformer.from_crs(CORNERS[WEST][0], 3857, always_xy=True)
    for day, shown in enumerate(cells(sprite)):
        expected, certain = nearest(view, *to_mercator.transform(x, y), "B04", day)
        # Pixel centres of the tile itself are certain; others where they lie clear of edges.
        certain |= ~beyond
        assert ((shown[..., 3] > 0) == (expected > 0))[certain].all() and (shown[..., 3] > 0)[beyond].any()
        grey = ((expected - 1000.0) * 1e-4 / 0.3 * 255).clip(0, 255)
        assert np.abs(shown[..., 0] - grey)[certain & (expected > 0)].max() < 1.01


def test_a_large_parcel_is_shown_with_fewer_pixels(view):
    zone = shapely.box(LEFT + 100, TOP - 8000, LEFT + 9000, TOP - 100)
    sprite = calendar(view, zone, RED, crs=CORNERS[WEST][0], margin_m=0)
    assert max(sprite.width, sprite.height) <= 256 and sprite.transform[0] == 40


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        (shapely.Polygon(), "empty"),
        (shapely.box(20, 10, 20.1, 10.1), "no tile holds"),
        (shapely.Polygon([(0, 0), (np.nan, 1), (1, 1)]), "empty"),
    ],
)
def test_parcels_that_cannot_be_shown_are_refused(view, zone, text):
    with pytest.raises(HpckitError, match=text):
        calendar(view, zone, RED)


def test_damage_costs_the_chips_that_it_touches(view, tmp_path):
    shutil.copytree(view.campaign.folder, tmp_path, dirs_exist_ok=True)
    copy = CampaignView(load_campaign(tmp_path / "campaign.yaml"))
    map_samples.record(copy.campaign.cube_path, WEST)
    shard = copy.campaign.cube_path / WEST / "r10m" / "B04" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-40] + bytes(40))
    sprite = calendar(copy, shapely.box(LEFT + 500, TOP - 900, LEFT + 700, TOP - 700), RED, crs=CORNERS[WEST][0])
    assert len(sprite.notes) == 1 and all(cell.valid == 0 and cell.cloud is None for cell in sprite.cells)
    with pytest.raises(ShardError):
        read_chip(
            copy, shapely.box(LEFT + 500, TOP - 900, LEFT + 700, TOP - 700), "B04", DAYS[0], crs=CORNERS[WEST][0]
        )


@settings(max_examples=15)
@given(st.floats(0, 9000), st.floats(0, 9000), st.floats(1, 900), st.sampled_from(["B04", "B11", "SCL"]))
def test_chips_are_windows_of_the_cube(view, east, south, width, band):
    size = 10 if band == "B04" else 20
    zone = shapely.box(LEFT + east, TOP - south - width, LEFT + east + width, TOP - south)
    chip = read_chip(view, zone, band, DAYS[1], crs=CORNERS[WEST][0])
    with rasterio.MemoryFile(write_geotiff(chip)) as memory, memory.open() as source:
        assert source.crs.to_epsg() == CORNERS[WEST][0] and source.transform.a == size
        assert source.bounds.left <= LEFT + east < source.bounds.left + size
        assert source.bounds.bottom - 1e-6 <= TOP - south - width < source.bounds.bottom + size + 1e-6
        row, column = round((TOP - source.transform.f) / size), round((source.transform.c - LEFT) / size)
        native = map_samples.stored(view.campaign.cube_path, WEST, band, size)[1]
        expected = native[row : row + source.height, column : column + source.width]
        np.testing.assert_array_equal(source.read(1)[: expected.shape[0], : expected.shape[1]], expected)
        assert source.tags()["ACQUISITION"] == chip.acquisition["id"]
        if band != "SCL":
            assert source.nodata == 0 and source.scales == (1e-4,) and source.offsets == (-0.1,)


def test_a_chip_is_found_by_acquisition_and_product(view):
    zone = shapely.box(LEFT + 500, TOP - 900, LEFT + 700, TOP - 700)
    found = read_chip(view, zone, "B04", DAYS[2], crs=CORNERS[WEST][0])
    for name in (found.acquisition["id"], found.acquisition["products"][0]):
        again = read_chip(view, zone, "B04", name, crs=CORNERS[WEST][0])
        assert again.acquisition == found.acquisition and np.array_equal(again.pixels, found.pixels)
    for wrong, text in ((date(2020, 1, 1), "no acquisition 2020-01-01"), ("nothing", "no acquisition nothing")):
        with pytest.raises(CubeError, match=text):
            read_chip(view, zone, "B04", wrong, crs=CORNERS[WEST][0])
    with pytest.raises(CubeError, match="no band B12"):
        read_chip(view, zone, "B12", DAYS[0], crs=CORNERS[WEST][0])
    with pytest.raises(HpckitError, match="at most 4096"):
        read_chip(view, zone.buffer(60_000), "B04", DAYS[0], crs=CORNERS[WEST][0])


def test_paths_have_no_exponents():
    from affine import Affine

    zone = shapely.MultiPolygon([shapely.box(0, 0, 1e-9, 12_345_678)])
    path = svg_path(zone, Affine(1, 0, 0, 0, -1, 0))
    assert re.fullmatch(r"(M-?\d+\.\d\d -?\d+\.\d\d(L-?\d+\.\d\d -?\d+\.\d\d)+Z)+", path)


def test_layers_with_days_serve_calendars_too(view):
    zone = shapely.box(LEFT + 500, TOP - 900, LEFT + 700, TOP - 700)
    with_day = calendar(view, zone, replace(RED, day=DAYS[0]), crs=CORNERS[WEST][0])
    assert with_day == calendar(view, zone, RED, crs=CORNERS[WEST][0])
    assert calendar(view, shapely.box(6.02, 52.05, 6.025, 52.052), RED).tile in (WEST, EAST)
