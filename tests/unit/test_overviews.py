"""Overviews: means of valid pixels as numpy has them, made once for what shards hold, and used for maps far out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpckit.base.claims import hold
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes import blocks, levels, overviews
from hpckit.cubes.multiscales import CONVENTION
from hpckit.cubes.read import read_group
from hpckit.errors import BusyError
from hpckit.look.tiles import draw_tile
from hpckit.look.view import CampaignView
from tests.unit import map_samples
from tests.unit.map_samples import EAST, WEST
from tests.unit.test_map_tiles import RED, picture, tile_at

pytestmark = [pytest.mark.halved, pytest.mark.slow]

SMALL = st.tuples(st.integers(1, 40), st.integers(1, 40))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> CampaignView:
    view = map_samples.make(tmp_path_factory.mktemp("overviews"))
    for tile in (WEST, EAST):
        map_samples.record(view.campaign.cube_path, tile)
    built = overviews.build(view.campaign.cube_path)
    assert built.planes == 2 * 6 * 3 and built.kept == 0 and not built.faults.shards
    return view


@pytest.fixture
def copy(made, tmp_path) -> CampaignView:
    shutil.copytree(made.campaign.folder, tmp_path, dirs_exist_ok=True)
    return CampaignView(load_campaign(tmp_path / "campaign.yaml"))


def mean_of_valid(values: np.ndarray, factor: int) -> np.ndarray:
    """Masked means of numpy, rounded half up; 0 for none."""
    rows, columns = (-(-size // factor) for size in values.shape)
    padded = np.zeros((rows * factor, columns * factor))
    padded[: values.shape[0], : values.shape[1]] = values
    cut = padded.reshape(rows, factor, columns, factor)
    counts = (cut > 0).sum(axis=(1, 3))
    means = np.divide(cut.sum(axis=(1, 3)), counts, out=np.zeros((rows, columns)), where=counts > 0)
    return np.floor(means + 0.5)


@given(arrays.arrays(np.uint16, SMALL, elements=st.sampled_from([0, 0, 1, 2, 1000, 1001, 65535])), st.integers(1, 9))
def test_a_block_is_the_mean_of_its_valid_pixels(values, factor):
    totals, counts = blocks.sums(values, factor, 0)
    found = blocks.means(totals, counts, "uint16", 0, 0)
    np.testing.assert_array_equal(found, mean_of_valid(values, factor))


@given(arrays.arrays(np.uint16, SMALL), st.integers(1, 5), st.integers(1, 4))
def test_blocks_of_blocks_are_blocks(values, first, second):
    fine = blocks.sums(values, first, 0)
    coarse = blocks.sums(values, first * second, 0)
    for one, other in zip(fine, coarse, strict=True):
        np.testing.assert_array_equal(blocks.joined(one, second), other)


@given(arrays.arrays(np.uint8, SMALL, elements=st.integers(98, 102)), st.integers(1, 6))
def test_a_mean_is_never_nodata(values, factor):
    found = blocks.means(*blocks.sums(values, factor, 100), "uint8", 100, 100)
    counts = blocks.sums(values, factor, 100)[1]
    np.testing.assert_array_equal(found == 100, counts == 0)


@given(arrays.arrays(np.float32, SMALL, elements=st.sampled_from([np.nan, -1.5, 0.0, 2.0])), st.integers(1, 6))
def test_nan_is_never_valid(values, factor):
    found = blocks.means(*blocks.sums(values, factor, None), "float32", None, np.nan)
    for row, column in np.ndindex(found.shape):
        part = values[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        known = part[np.isfinite(part)]
        expected = known.mean(dtype=float) if known.size else np.nan
        np.testing.assert_allclose(found[row, column], expected, rtol=1e-6)


@given(arrays.arrays(np.uint8, SMALL, elements=st.integers(0, 5)), st.integers(1, 9))
def test_of_classes_the_most_frequent_counts(codes, factor):
    found = blocks.modes(codes, factor)
    for row, column in np.ndindex(found.shape):
        part = codes[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        counts = np.bincount(part.ravel(), minlength=6)
        counts[0] = 0
        assert found[row, column] == (counts.argmax() if counts.any() else 0)


@given(st.integers(1, 4096))
def test_factors_divide_windows_and_each_other(window):
    found = levels.factors(window)
    assert all(window % factor == 0 for factor in found) and len(found) <= 2
    assert all(later % earlier == 0 and later > earlier for earlier, later in pairwise(found))


def test_windows_of_sentinel_2_have_8_and_64():
    assert all(levels.factors(window) == [8, 64] for window in (1024, 640, 192))


def test_overviews_are_means_of_the_cube(made):
    cube = made.campaign.cube_path
    for tile in (WEST, EAST):
        for name, size in (("B04", 10), ("B11", 20)):
            native = map_samples.stored(cube, tile, name, size)
            for factor in (8, 64):
                path = cube / tile / "overviews" / f"r{size}m" / f"r{size * factor}m"
                coarse = zarr.open_array(path / name, mode="r")[:]
                for date in range(3):
                    np.testing.assert_array_equal(coarse[date], mean_of_valid(native[date], factor))


def test_other_readers_find_the_pyramid(made):
    cube = made.campaign.cube_path
    data = xarray.open_zarr(cube / WEST / "overviews" / "r10m" / "r80m", decode_coords="all")
    native = xarray.open_zarr(cube / WEST / "r10m", decode_coords="all")
    assert data.B04.attrs["long_name"] == native.B04.attrs["long_name"] and (data.time == native.time).all()
    assert float(data.x[0]) == 699_960 + 40 and float(data.y[0]) == 5_780_000 - 40
    assert abs(float(data.B04[0].mean()) - float(native.B04[0].mean())) < 1e-3
    notes = json.loads((cube / WEST / "zarr.json").read_text())["attributes"]
    assert CONVENTION in notes["zarr_conventions"] and notes["proj:code"] == "EPSG:32631"
    layout = {entry["asset"]: entry for entry in notes["multiscales"]["layout"]}
    for path, entry in layout.items():
        own = json.loads((cube / WEST / path / "zarr.json").read_text())["attributes"]
        assert (
            entry["spatial:transform"] == own["spatial:transform"] and entry["spatial:shape"] == own["spatial:shape"]
        )
        if "derived_from" in entry:
            before = layout[entry["derived_from"]]["spatial:transform"][0]
            assert entry["transform"]["scale"] == [own["spatial:transform"][0] / before] * 2
    assert set(layout) == {"r10m", "r20m"} | {
        f"overviews/r{size}m/r{size * factor}m" for size in (10, 20) for factor in (8, 64)
    }


def test_the_pyramid_stays_named_when_the_cube_is_prepared_again(copy):
    path = copy.campaign.cube_path / WEST / "zarr.json"
    before = path.read_bytes()
    assert b"multiscales" in before
    # As ingest does before it writes shards.
    from hpckit.cubes.layout import CubeSpec, prepare
    from hpckit.sensors.sentinel2.sensor import SENTINEL2
    from hpckit.space.frame import Frame
    from tests.unit.look_samples import acquisition

    frame = Frame(WEST, *map_samples.CORNERS[WEST], map_samples.SHAPES, {})
    found = [acquisition(time, map_samples.SHAPES, tile=WEST, frame=frame) for time in map_samples.TIMES]
    refs = tuple(SENTINEL2.parse(key) for key in map_samples.arrays(0))
    spec = CubeSpec(copy.campaign.cube_path, refs, 4, True, 3, None, False, SENTINEL2.grid, sensor=SENTINEL2)
    prepare(spec, WEST, found)
    assert path.read_bytes() == before


def test_nothing_is_made_twice(copy):
    cube = copy.campaign.cube_path
    before = {path: path.stat().st_mtime_ns for path in cube.rglob("overviews/**/c/*") if path.is_file()}
    built = overviews.build(cube)
    assert built.planes == 0 and built.kept == 2 * 6 * 3
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_only_dates_that_changed_are_made_again(copy):
    cube = copy.campaign.cube_path
    array = zarr.open_array(cube / WEST / "r10m" / "B04", mode="r+")
    array[1, :8, :8] = 4000
    map_samples.record(cube, WEST, {1: "another scene"})
    group = read_group(cube, WEST, 10)
    assert levels.state(cube, cube, group, "B04", 0, -1) == "current"
    assert levels.state(cube, cube, group, "B04", 1, -1) == "older"
    assert levels.state(cube, cube, group, "B04", 2, -1) == "current"
    built = overviews.build(cube, [WEST])
    assert built.planes == 6 and built.kept == 12  # the date of all bands has a new record
    coarse = zarr.open_array(cube / WEST / "overviews" / "r10m" / "r80m" / "B04", mode="r")[:]
    assert coarse[1, 0, 0] == 4000
    native = map_samples.stored(cube, WEST, "B04")
    for date in range(3):
        np.testing.assert_array_equal(coarse[date], mean_of_valid(native[date], 8))
    assert levels.state(cube, cube, group, "B04", 1, -2) == "current"


def test_damage_in_a_shard_is_told_and_tried_again(copy):
    cube = copy.campaign.cube_path
    shard = cube / EAST / "r10m" / "B08" / "c" / "0" / "0" / "1"
    content = shard.read_bytes()
    shard.write_bytes(content[:-30] + bytes(30))
    map_samples.record(cube, EAST, {0: "another scene"})
    shard.write_bytes(content[:-40] + bytes(40))
    first = overviews.build(cube, [EAST])
    assert first.planes == 6 and {fault.key for fault in first.faults.shards} == {f"{EAST}/r10m/B08/c/0/0/1"}
    group = read_group(cube, EAST, 10)
    assert levels.state(cube, cube, group, "B08", 0, -3) == "older"
    shard.write_bytes(content)
    map_samples.record(cube, EAST, {0: "another scene"})
    second = overviews.build(cube, [EAST])
    assert second.planes == 1 and not second.faults.shards
    native = map_samples.stored(cube, EAST, "B08")
    coarse = zarr.open_array(cube / EAST / "overviews" / "r10m" / "r80m" / "B08", mode="r")[:]
    np.testing.assert_array_equal(coarse[0], mean_of_valid(native[0], 8))


def test_a_damaged_overview_is_made_again(copy):
    cube = copy.campaign.cube_path
    path = cube / WEST / "overviews" / "r10m" / "r640m" / "B04" / "c" / "0" / "0" / "0"
    path.write_bytes(path.read_bytes()[:-9])
    assert overviews.build(cube, [WEST]).planes == 3
    (cube / WEST / "overviews" / "r10m" / ".made-B08.json").write_text("{")
    assert overviews.build(cube, [WEST]).planes == 3
    assert overviews.build(cube, [WEST]).planes == 0


def test_two_do_not_build_one_tile(copy):
    cube = copy.campaign.cube_path
    with hold(cube / WEST / "overviews" / ".building", "a test"), pytest.raises(BusyError):
        overviews.build(cube, [WEST])


def test_a_cache_serves_a_cube_that_is_only_read(tmp_path):
    view = map_samples.make(tmp_path)
    cube, cache = view.campaign.cube_path, tmp_path / "cache"
    before = sorted(path for path in cube.rglob("*"))
    overviews.build(cube, [WEST], cache=cache)
    assert before == sorted(cube.rglob("*"))
    place = tile_at(6.0, 52.08, 8)
    with_cache, without = draw_tile(view, RED, *place, cache=cache), draw_tile(view, RED, *place)
    assert (picture(with_cache.png)[..., 3] > 0).any() and with_cache.png != without.png
    assert abs(int((picture(with_cache.png)[..., 3] > 0).sum()) - int((picture(without.png)[..., 3] > 0).sum())) < 40


def test_maps_far_out_are_drawn_from_overviews_of_the_shards_that_are_there(copy, monkeypatch):
    from hpckit.look import planes

    cube, place = copy.campaign.cube_path, tile_at(6.0, 52.08, 9)
    read = []
    original = planes.warped
    monkeypatch.setattr(planes, "warped", lambda array, *rest: read.append(array.key) or original(array, *rest))
    current = draw_tile(copy, RED, *place)
    assert not current.notes and read and all("overviews/r10m/r80m" in key for key in read)
    # A shard that changed: full resolution as long as that is not too much, then the older overview and a note.
    map_samples.record(cube, WEST, {0: "another scene"})
    monkeypatch.setattr(planes, "_LOOK_AGAIN_S", 1e-9)
    read.clear()
    assert not draw_tile(copy, RED, *place).notes
    assert f"{WEST}/r10m/B04" in read
    monkeypatch.setattr(planes.Drawing, "__init__", _with_no_pixels(planes.Drawing.__init__))
    older = draw_tile(copy, RED, *place)
    assert older.png == current.png and len(older.notes) == 1 and "older than the shards" in older.notes[0]
    shutil.rmtree(cube / WEST / "overviews")
    shutil.rmtree(cube / EAST / "overviews")
    nothing = draw_tile(copy, RED, *place)
    assert nothing.is_empty and "zoom in" in nothing.notes[0]


def _with_no_pixels(original):
    def made(self, *rest, **named):
        original(self, *rest, **{**named, "pixels": 0})

    return made


def test_colours_of_overviews_are_those_of_the_cube(made):
    layer = replace(RED, stretch=((0.1, 0.2),))
    place = tile_at(6.0, 52.08, 10)
    shown = picture(draw_tile(made, layer, *place).png)
    seen = shown[..., 3] > 0
    assert abs(shown[seen][:, 0].mean() - 127) < 8


def test_the_command_makes_them_of_the_whole_campaign(tmp_path, capsys):
    from hpckit.cli import main

    view = map_samples.make(tmp_path)
    for expected in ("36 dates of bands made, 0 had not changed", "0 dates of bands made, 36 had not changed"):
        main(["overviews", str(view.campaign.path)])
        out, told = capsys.readouterr()
        assert out.strip() == expected
        assert (f"{WEST}/r10m/B04: 3 of 3" in told) == expected.startswith("36")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "campaign.yaml").write_text(map_samples.CAMPAIGN)
    with pytest.raises(SystemExit) as left:
        main(["overviews", str(tmp_path / "none" / "campaign.yaml")])
    assert left.value.code == 1 and "there is no cube" in capsys.readouterr().err
