"""Map tiles: each pixel is that of the cube, by pyproj and zarr-python; what cannot be drawn says why."""

from __future__ import annotations

import io
import math
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from hpckit.campaign.campaign import load_campaign
from hpckit.errors import CubeError, HpckitError
from hpckit.look import mercator, png
from hpckit.look.tiles import Layer, days, draw_tile, layers, render_tile
from hpckit.look.view import CampaignView
from tests.unit import map_samples
from tests.unit.map_samples import DAYS, EAST, WEST

pytestmark = [pytest.mark.halved, pytest.mark.slow]

HALF = math.pi * 6378137.0
RED = Layer("band", ("B04",), DAYS[0], stretch=((0.0, 0.3),))


@pytest.fixture(scope="module")
def view(tmp_path_factory) -> CampaignView:
    return map_samples.make(tmp_path_factory.mktemp("maps"))


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def tile_at(longitude: float, latitude: float, z: int) -> tuple[int, int, int]:
    """The usual formula."""
    n = 2**z
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2
    return z, int((longitude + 180) / 360 * n), int(y * n)


def centres(z: int, x: int, y: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    edge = 2 * HALF / 2**z
    offsets = (np.arange(size) + 0.5) / size * edge
    return np.meshgrid(x * edge - HALF + offsets, HALF - y * edge - offsets)


def nearest(view: CampaignView, x, y, name: str, day: int, size: int = 10):
    """Stored values at places, of the first tile that has data; and where that is certain to the hair."""
    found, certain = np.zeros(x.shape, np.int64), np.ones(x.shape, bool)
    for tile in (WEST, EAST):
        values = map_samples.stored(view.campaign.cube_path, tile, name, size)[day]
        column, row = map_samples.pixel_of(x, y, tile, size)
        certain &= (np.abs(column - np.round(column)) > 0.03) & (np.abs(row - np.round(row)) > 0.03)
        inside = (column >= 0) & (row >= 0) & (column < values.shape[1]) & (row < values.shape[0])
        i, j = np.floor(row[inside]).astype(int), np.floor(column[inside]).astype(int)
        mine = np.zeros(x.shape, np.int64)
        mine[inside] = values[i, j]
        found = np.where(found == 0, mine, found)
    return found, certain


@settings(max_examples=25)
@given(
    st.floats(5.93, 6.19),
    st.floats(52.02, 52.12),
    st.integers(11, 16),
    st.sampled_from([256, 512]),
    st.integers(0, 2),
)
def test_each_pixel_is_that_of_the_cube(view, longitude, latitude, z, size, day):
    place = tile_at(longitude, latitude, z)
    x, y = centres(*place, size)
    expected, certain = nearest(view, x, y, "B04", day)
    shown = picture(draw_tile(view, replace(RED, day=DAYS[day]), *place, size, resampling="nearest").png)
    assert (certain.mean() > 0.7) and ((shown[..., 3] > 0) == (expected > 0))[certain].all()
    share = ((expected - 1000) * 1e-4 / 0.3 * 255).clip(0, 255)
    seen = certain & (expected > 0)
    assert np.abs(shown[..., 0] - share)[seen].max(initial=0) < 1.01


def test_bands_of_several_sizes_meet_in_one_picture(view):
    place = tile_at(6.05, 52.08, 13)
    x, y = centres(*place, 256)
    layer = Layer("rgb", ("B08", "B11", "B04"), DAYS[0], stretch=((0.0, 0.3),) * 3)
    shown = picture(draw_tile(view, layer, *place, resampling="nearest").png)
    whole = np.ones(shown.shape[:2], bool)
    for channel, (name, size) in enumerate((("B08", 10), ("B11", 20), ("B04", 10))):
        expected, certain = nearest(view, x, y, name, 0, size)
        share = (((expected - 1000) * 1e-4 / 0.3).clip(0, 1) ** (1 / 1.35) * 255).round()
        assert np.abs(shown[..., channel] - share)[certain & (shown[..., 3] > 0)].max() < 2.1
        whole &= (expected > 0) | ~certain
    assert (shown[..., 3] > 0)[~whole].sum() == 0 and (shown[..., 3] > 0).mean() > 0.5


def test_an_index_is_computed_from_the_nearest_pixels(view):
    place = tile_at(6.05, 52.08, 14)
    x, y = centres(*place, 256)
    layer = Layer("index", ("NDWI",), DAYS[0], stretch=((-1.0, 1.0),))
    shown = picture(draw_tile(view, layer, *place, resampling="nearest").png)
    green, certain = nearest(view, x, y, "B03", 0)
    infrared, _ = nearest(view, x, y, "B08", 0)
    with np.errstate(all="ignore"):
        expected = (green - infrared) / (green + infrared - 2000.0)
    from matplotlib import colormaps

    known = certain & np.isfinite(expected)
    colours = colormaps["BrBG"]((expected.clip(-1, 1) + 1) / 2, bytes=True)
    assert np.abs(shown[known].astype(int) - colours[known]).max() < 8


def test_classes_are_never_mixed(view):
    from hpckit.look.paint import class_palette

    place = tile_at(6.05, 52.08, 11)
    x, y = centres(*place, 256)
    expected, certain = nearest(view, x, y, "SCL", 2, 20)
    shown = picture(render_tile(view, Layer("classes", ("SCL",), DAYS[2]), *place))
    palette = class_palette(view.campaign.sensor.bands["SCL"])
    np.testing.assert_array_equal(shown[certain], palette[expected][certain])
    assert palette[0, 3] == 0


def test_a_pixel_does_not_depend_on_the_tile_that_shows_it(view):
    z, x, y = tile_at(6.06, 52.07, 12)
    large = picture(draw_tile(view, RED, z, x, y, 512, resampling="nearest").png)
    for down in range(2):
        for along in range(2):
            small = picture(draw_tile(view, RED, z + 1, 2 * x + along, 2 * y + down, resampling="nearest").png)
            part = large[256 * down : 256 * down + 256, 256 * along : 256 * along + 256]
            assert (small == part).all(axis=2).mean() > 0.995  # the rest lies on edges of pixels


def test_far_out_pixels_are_means(view):
    place = tile_at(6.05, 52.08, 9)
    shown = picture(render_tile(view, RED, *place))
    seen = shown[..., 3] > 0
    assert 10 < seen.sum() < 20_000
    # Noise of 0 to 0.3 averages out.
    assert abs(shown[seen][:, 0].mean() - 127) < 8 and shown[seen][:, 0].std() < 25


def test_what_is_not_there_is_transparent(view):
    far = draw_tile(view, RED, *tile_at(20.0, 10.0, 12))
    assert far.is_empty and far.notes == () and picture(far.png)[..., 3].max() == 0
    other = draw_tile(view, replace(RED, day=date(2024, 4, 2)), *tile_at(6.05, 52.08, 12))
    assert other.is_empty and picture(other.png).shape == (256, 256, 4)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((-1, 0, 0, 256), "zoom -1"),
        ((23, 0, 0, 256), "zoom 23"),
        ((3, 8, 0, 256), "x 8 is not within 0 and 7"),
        ((3, 0, -1, 256), "y -1"),
        ((3, 0, 0, 300), "256 or 512"),
    ],
)
def test_map_tiles_out_of_range_are_refused(view, place, text):
    with pytest.raises(HpckitError, match=text):
        draw_tile(view, RED, *place)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Layer("band", ("B12",), DAYS[0]), "no band B12"),
        (Layer("index", ("EVI",), DAYS[0]), "no index 'EVI'"),
        (Layer("band", ("SCL",), DAYS[0]), "of kind band"),
        (Layer("rgb", ("B04", "SCL", "B02"), DAYS[0]), "no colours"),
        (Layer("band", ("B04",)), "names no day"),
        (Layer("band", ("B04",), composite="monthly"), "no composite 'monthly'"),
    ],
)
def test_layers_that_the_campaign_has_not_are_refused(view, layer, text):
    with pytest.raises(CubeError, match=text):
        render_tile(view, layer, 3, 4, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Layer("rgb", ("B04",)),
        lambda: Layer("band", ("B04",), stretch=((0.3, 0.3),)),
        lambda: Layer("band", ("B04",), stretch=((0.0, math.nan),)),
        lambda: Layer("band", ("B04",), stretch=((0.0, 1.0), (0.0, 1.0))),
    ],
)
def test_layers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(HpckitError):
        wrong()


def test_a_campaign_without_a_cube_has_no_days(tmp_path):
    text = map_samples.CAMPAIGN.replace("SCL]}", "SCL], keep: false}")
    (tmp_path / "campaign.yaml").write_text(text)
    none = CampaignView(load_campaign(tmp_path / "campaign.yaml"))
    assert days(none) == [] and layers(none) == []
    with pytest.raises(CubeError, match="keeps no cube"):
        render_tile(none, RED, 3, 4, 2)


def test_layers_and_days_of_a_campaign(view):
    found = {choice.title: choice for choice in layers(view)}
    assert found["True colour"].layer.names == ("B04", "B03", "B02")
    assert found["False colour"].layer.names == ("B08", "B11", "B04")
    assert found["NDVI"].layer.kind == "index" and found["NDVI"].legend[-1][1] == "#0b4a2c"
    assert found["NDWI"].layer.kind == "index"
    assert found["SCL, scene classification"].legend[4][2] == "vegetation"
    assert [day.day for day in days(view)] == DAYS
    assert days(view)[1].tiles == (WEST, EAST) and days(view)[1].cloud == 10.0
    for choice in found.values():
        shown = draw_tile(view, replace(choice.layer, day=DAYS[0]), *tile_at(6.05, 52.08, 13))
        assert not shown.is_empty and not shown.notes


def test_damage_costs_its_window_and_is_named(view, tmp_path):
    shutil.copytree(view.campaign.folder, tmp_path, dirs_exist_ok=True)
    copy = CampaignView(load_campaign(tmp_path / "campaign.yaml"))
    map_samples.record(copy.campaign.cube_path, WEST)
    shard = copy.campaign.cube_path / WEST / "r10m" / "B04" / "c" / "0" / "0" / "0"
    before = picture(render_tile(copy, RED, *tile_at(6.05, 52.08, 10)))
    shard.write_bytes(shard.read_bytes()[:-40] + bytes(40))
    after = draw_tile(copy, RED, *tile_at(6.05, 52.08, 10))
    assert len(after.notes) == 1 and "c/0/0/0" in after.notes[0]
    assert 0 < (picture(after.png)[..., 3] > 0).sum() < (before[..., 3] > 0).sum()
    shard.unlink()
    assert "the file is gone" in draw_tile(copy, RED, *tile_at(6.05, 52.08, 10)).notes[0]


def test_a_cube_that_grows_is_seen_at_once(tmp_path):
    from datetime import datetime

    import zarr

    from hpckit.space.frame import Frame
    from tests.unit.look_samples import acquisition, write_cube

    made = map_samples.make(tmp_path)
    place, late = tile_at(5.98, 52.08, 13), date(2024, 5, 1)
    assert draw_tile(made, replace(RED, day=late), *place).is_empty
    frame = Frame(WEST, *map_samples.CORNERS[WEST], map_samples.SHAPES, {})
    times = [*map_samples.TIMES, datetime.fromisoformat("2024-05-01T10:50:31+00:00")]
    found = [acquisition(time, map_samples.SHAPES, tile=WEST, frame=frame) for time in times]
    grown = {key: np.concatenate([pixels, pixels[:1]]) for key, pixels in map_samples.arrays(0).items()}
    write_cube(made.campaign.cube_path, grown, found)
    assert zarr.open_array(made.campaign.cube_path / WEST / "r10m" / "B04", mode="r").shape[0] == 4
    assert not draw_tile(made, replace(RED, day=late), *place).is_empty


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(4))))
def test_png_holds_the_pixels(pixels):
    np.testing.assert_array_equal(picture(png.encode(pixels)), pixels)
    pixels[:, :, 3] = 255
    np.testing.assert_array_equal(picture(png.encode(pixels)), pixels)
    palette = np.ascontiguousarray(pixels.reshape(-1, 4)[:256])
    places = (np.arange(60).reshape(6, 10) % len(palette)).astype(np.uint8)
    np.testing.assert_array_equal(picture(png.encode(places, palette)), palette[places])


@given(st.integers(0, 22), st.floats(-179.9, 179.9), st.floats(-85, 85))
def test_map_tiles_lie_where_others_say(z, longitude, latitude):
    import pyproj

    place = tile_at(longitude, latitude, z)
    assume(0 <= place[2] < 2**z)
    west, south, east, north = mercator.bounds_of_map_tile(*place)
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(longitude, latitude)
    slack = 1e-6 * (east - west) + 1e-6
    assert west - slack <= x <= east + slack and south - slack <= y <= north + slack


def test_a_raster_across_the_antimeridian_lies_on_both_sides():
    from affine import Affine

    boxes = mercator.bounds_of(32601, Affine(10, 0, 360_000, 0, -10, 7_700_040), (10980, 10980))
    assert len(boxes) == 2 and boxes[0][2] == HALF and boxes[1][0] == -HALF
    assert all(0 < box[2] - box[0] < HALF / 50 for box in boxes)
