"""Cubes: what is read back is what the products hold, by zarr, xarray, rioxarray and our own reader."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 (registers the accessor)
import zarr
from hypothesis import given
from hypothesis import strategies as st

from hpckit.cubes import ingest, layout, read
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.shards import ChunkGrid, assemble, decode, encode_window, read_tail, split, tail_nbytes
from hpckit.cubes.verify import leftovers, verify
from hpckit.errors import CubeError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.source import harmonise
from tests import products
from tests.products import EDGE, stored

pytestmark = pytest.mark.slow

B04, B08, B11, SCL = (
    SENTINEL2.parse("B04@10m"),
    SENTINEL2.parse("B08@10m"),
    SENTINEL2.parse("B11@20m"),
    SENTINEL2.parse("SCL@20m"),
)


def cube_spec(path: Path, **changes) -> CubeSpec:
    defaults = CubeSpec(path, (B04, B11, SCL), 2, True, 3, None, False, SENTINEL2.grid, sensor=SENTINEL2)
    return replace(defaults, **changes)


def fill(spec: CubeSpec, acquisitions) -> list[ingest.IngestResult]:
    layout.prepare(spec, "31UFU", acquisitions)
    manifest = Manifest.load(spec.path)
    units = ingest.ingest_units(spec, "31UFU", acquisitions)
    return [ingest.ingest(spec, unit, acquisitions, manifest, "test") for unit in units]


def plane(spec: CubeSpec, ref: BandRef, date: int) -> np.ndarray:
    return read.read_plane(spec.path, "31UFU", ref, date)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", [True, False])
def test_pixels_read_back_are_those_of_the_products(tmp_path, sharding):
    pixels = [products.arrays(number) for number in range(3)]
    pixels[1]["B04@10m"][:, :50] = 0
    pixels[1]["SCL@20m"][:, :25] = 0
    products.write(tmp_path / "s", 0, pixels[0], baseline="03.01")
    products.write(tmp_path / "s", 1, pixels[1], as_zip=True)
    products.write(tmp_path / "s", 2, pixels[2])
    spec = cube_spec(tmp_path / "cube it's.zarr", sharding=sharding)
    fill(spec, products.acquisitions(tmp_path / "s"))
    for date, (held, offset) in enumerate(zip(pixels, (0, -1000, -1000), strict=True)):
        for ref in spec.bands:
            expected = held[ref.key] if ref is SCL else stored(held[ref.key], offset)
            np.testing.assert_array_equal(plane(spec, ref, date), expected)
            by_zarr = zarr.open_array(spec.array("31UFU", ref), mode="r")[date]
            np.testing.assert_array_equal(by_zarr, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read.open_tile(spec.path, "31UFU", 10)
    reflectance = (pixels[1]["B04@10m"].astype(float) - 1000) * 1e-4
    reflectance[pixels[1]["B04@10m"] == 0] = np.nan
    np.testing.assert_allclose(data.B04.isel(time=1).values, reflectance, atol=1e-9)
    assert data.rio.crs.to_epsg() == 32631 and data.rio.transform()[:6] == (10, 0, 600000, 0, -10, 5700000)
    assert data.processing_baseline.values.tolist() == [301, 510, 510]
    window = spec.chunks(10).window
    assert data.B04.data.chunksize == (3, min(window, EDGE), min(window, EDGE))
    assert str(data.time.values[0]).startswith("2024-05-01T10:53:31")


def test_groups_declare_the_geozarr_conventions(tmp_path):
    products.write(tmp_path / "s", 0, products.arrays(0))
    spec = cube_spec(tmp_path / "c.zarr")
    layout.prepare(spec, "31UFU", products.acquisitions(tmp_path / "s"))
    notes = json.loads((spec.path / "31UFU/r20m/zarr.json").read_text())["attributes"]
    assert {c["uuid"] for c in notes["zarr_conventions"]} == {
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    }
    assert all("/refs/tags/v0.1/" in c["schema_url"] for c in notes["zarr_conventions"])
    assert notes["proj:code"] == "EPSG:32631" and notes["spatial:shape"] == [EDGE // 2, EDGE // 2]
    assert notes["spatial:transform"] == [20, 0, 600000, 0, -20, 5700000]
    assert notes["spatial:bbox"] == [600000, 5700000 - 10 * EDGE, 600000 + 10 * EDGE, 5700000]


@given(st.integers(0, 2**31), st.sampled_from([0, 1000, -1000]), st.sampled_from(["sparse", "full"]))
def test_shards_survive_a_round_trip(seed, shift, kind):
    random = np.random.default_rng(seed)
    grid = ChunkGrid(64, 16)
    windows = [random.integers(0, 65536, random.integers(1, 65, 2)).astype(np.uint16) for _ in range(3)]
    if kind == "sparse":
        windows[1][:] = 0
    chunks = [chunk for window in windows for chunk in encode_window(window, grid, 1)]
    data = assemble(chunks)
    if data is None:
        assert not any(window.any() for window in windows)
        return
    assert split(data, len(chunks)) == chunks
    tail = read_tail(data[-tail_nbytes(len(chunks)) :], len(chunks))
    assert [tail.holds(number) for number in range(len(chunks))] == [chunk is not None for chunk in chunks]
    for number, window in enumerate(windows):
        back = np.zeros((64, 64), np.uint16)
        for place, chunk in enumerate(chunks[number * 16 : (number + 1) * 16]):
            if chunk is not None:
                row, column = divmod(place, 4)
                back[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = decode(chunk, "uint16", 16)
        np.testing.assert_array_equal(back[: window.shape[0], : window.shape[1]], window)
        assert not back[window.shape[0] :].any()


def test_a_damaged_shard_index_is_found():
    data = bytearray(assemble(encode_window(np.ones((64, 64), np.uint16), ChunkGrid(64, 16), 1)))
    data[-10] ^= 1
    with pytest.raises(CubeError, match="damaged"):
        split(bytes(data), 16)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=50), st.sampled_from([0, 1000]))
def test_harmonising_keeps_nodata_saturation_and_never_wraps(values, shift):
    numbers = np.array(values, np.uint16)
    found = harmonise(numbers, shift)
    assert ((found == 0) == (numbers == 0)).all()
    assert (found[numbers == 65535] == 65535).all()
    plain = (numbers > 0) & (numbers <= 65535 - shift)
    assert (found[plain] == numbers[plain] + shift).all()


@pytest.mark.slow
def test_appending_rewrites_only_the_open_block_and_decodes_only_the_new_date(tmp_path):
    pixels = [products.arrays(number) for number in range(4)]
    for number in range(3):
        products.write(tmp_path / "s", number, pixels[number])
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,))
    fill(spec, products.acquisitions(tmp_path / "s"))
    before = {path: path.stat().st_mtime_ns for path in (spec.path / "31UFU/r10m/B04/c").rglob("*") if path.is_file()}
    for path in (tmp_path / "s").rglob("*B04_10m.jp2"):
        path.unlink()  # the earlier products are gone: nothing may need them
    products.write(tmp_path / "s", 3, pixels[3])
    acquisitions = products.acquisitions(tmp_path / "s")
    results = fill(spec, acquisitions)
    assert sum(result.decoded_pixels for result in results) == EDGE * EDGE
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed and all("/c/1/" in str(path) for path in changed)
    for date in range(4):
        np.testing.assert_array_equal(plane(spec, B04, date), stored(pixels[date]["B04@10m"], -1000))


@pytest.mark.slow
def test_a_scene_that_comes_late_takes_its_place_in_time(tmp_path):
    pixels = [products.arrays(number) for number in range(3)]
    products.write(tmp_path / "s", 0, pixels[0])
    products.write(tmp_path / "s", 2, pixels[2])
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,), dates_per_block=8)
    fill(spec, products.acquisitions(tmp_path / "s"))
    products.write(tmp_path / "s", 1, pixels[1])
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    assert sum(result.decoded_pixels for result in results) == EDGE * EDGE
    for date in range(3):
        np.testing.assert_array_equal(plane(spec, B04, date), stored(pixels[date]["B04@10m"], -1000))


def test_two_datastrips_of_a_pass_are_merged_the_fuller_one_first(tmp_path):
    whole = products.arrays(0)
    north, south = ({key: array.copy() for key, array in whole.items()} for _ in range(2))
    for key in whole:
        north[key][whole[key].shape[0] * 2 // 3 :] = 0
        south[key][: whole[key].shape[0] // 3] = 0
        south[key][whole[key].shape[0] // 3 : whole[key].shape[0] // 2] //= 2  # where both see, the first counts
    later = products.FIRST.replace(hour=18)
    products.write(tmp_path / "s", 0, south, strip_offset_s=240, produced=later)
    products.write(tmp_path / "s", 0, north)
    (found,) = products.acquisitions(tmp_path / "s")
    assert len(found.scenes) == 2
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,))
    fill(spec, [found])
    first, second = (dict(zip("ns", (north, south), strict=True))[name] for name in _order(found))
    a, b = stored(first["B04@10m"], -1000), stored(second["B04@10m"], -1000)
    np.testing.assert_array_equal(plane(spec, B04, 0), np.where(a == 0, b, a))


def _order(found) -> str:
    return "sn" if "105431" in found.scenes[0].part else "ns"


@pytest.mark.slow
def test_windows_without_data_or_under_clouds_are_never_decoded(tmp_path):
    pixels = products.arrays(0)
    pixels["B04@10m"][:, 1024:] = 0
    pixels["SCL@20m"][:, 510:] = 0
    pixels["SCL@60m"][:, 168:] = 0
    pixels["SCL@60m"][172:, :168] = 9
    products.write(tmp_path / "s", 0, pixels)
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04, SCL), skip_cloudy=0.8)
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    skipped = [result.skipped_windows for result in results]
    assert skipped[:2] == [1, 2]  # the right window is empty; the lower left one is all cloud
    expected = stored(pixels["B04@10m"], -1000)
    expected[1024:] = 0
    np.testing.assert_array_equal(plane(spec, B04, 0), expected)
    np.testing.assert_array_equal(plane(spec, SCL, 0)[:, :510], pixels["SCL@20m"][:, :510])


def test_a_product_that_is_all_nodata_leaves_no_files(tmp_path):
    empty = {key: np.zeros_like(array) for key, array in products.arrays(0).items()}
    products.write(tmp_path / "s", 0, empty)
    spec = cube_spec(tmp_path / "c.zarr")
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    assert not any(result.failures for result in results)
    assert not [path for path in spec.path.glob("31UFU/*/[BS]*/c/**/*") if path.is_file()]
    assert not plane(spec, B04, 0).any()
    assert verify(spec, {"31UFU": products.acquisitions(tmp_path / "s")}, Manifest.load(spec.path)) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 3, len(data) * 2 // 3, 7):
        data[position] ^= 0xFF
    path.write_bytes(data)


def vanish(path: Path) -> None:
    path.unlink()


def other_size(path: Path) -> None:
    donor = products.write(path.parent / "other", 9, products.arrays(0, 600))
    path.write_bytes(next(donor.rglob("*B04_10m.jp2")).read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "truncated"),
        (cut_a_byte, "truncated"),
        (scramble, "cannot be decoded|digest"),
        (vanish, "missing"),
        (other_size, "600 x 600 pixels"),
    ],
)
def test_a_damaged_file_fails_its_date_only_and_is_made_good_later(tmp_path, damage, words):
    pixels = [products.arrays(number) for number in range(2)]
    for number in range(2):
        products.write(tmp_path / "s", number, pixels[number])
    acquisitions = products.acquisitions(tmp_path / "s")
    image = Path(acquisitions[0].scenes[0].assets["B04@10m"].uri)
    sound = image.read_bytes()
    damage(image)
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,), verify=damage is scramble)
    results = fill(spec, acquisitions)
    reasons = [str(reason) for result in results for _, reason in result.failures]
    assert len(reasons) == 2 and image.name in reasons[0]
    assert __import__("re").search(words, reasons[0]), reasons[0]
    assert not plane(spec, B04, 0).any()
    np.testing.assert_array_equal(plane(spec, B04, 1), stored(pixels[1]["B04@10m"], -1000))
    faults = verify(spec, {"31UFU": acquisitions}, Manifest.load(spec.path))
    assert {fault.kind for fault in faults} == {"stale"} and "1 of 2 dates failed" in faults[0].detail
    image.write_bytes(sound)
    results = fill(spec, acquisitions)
    assert sum(result.decoded_pixels for result in results) == EDGE * EDGE
    np.testing.assert_array_equal(plane(spec, B04, 0), stored(pixels[0]["B04@10m"], -1000))


@pytest.mark.slow
def test_verify_finds_missing_and_corrupt_shards_and_ingest_writes_exactly_those(tmp_path):
    for number in range(2):
        products.write(tmp_path / "s", number, products.arrays(number))
    acquisitions = products.acquisitions(tmp_path / "s")
    spec = cube_spec(tmp_path / "c.zarr")
    fill(spec, acquisitions)
    tiles = {"31UFU": acquisitions}
    assert verify(spec, tiles, Manifest.load(spec.path)) == []
    shards = sorted(path for path in (spec.path / "31UFU").glob("r?0m/[BS]*/c/*/*/*"))
    gone, flipped, short = shards[0], shards[1], shards[2]
    gone.unlink()
    data = bytearray(flipped.read_bytes())
    data[100] ^= 1
    flipped.write_bytes(data)
    cut_a_byte(short)
    (short.parent / ".0.abc.partial").write_bytes(b"left over")
    manifest = Manifest.load(spec.path)
    faults = {fault.key: fault.kind for fault in verify(spec, tiles, manifest)}
    keys = [str(path.relative_to(spec.path)) for path in (gone, flipped, short)]
    assert faults == dict(zip(keys, ("missing", "corrupt", "corrupt"), strict=True))
    assert len(list(leftovers(spec.path))) == 1
    manifest.disown(faults, "verify")
    before = {path: path.stat().st_mtime_ns for path in shards if path not in (gone, flipped, short)}
    results = fill(spec, acquisitions)
    assert sum(result.shards for result in results) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert verify(spec, tiles, Manifest.load(spec.path)) == []


def test_reading_a_damaged_shard_says_so(tmp_path):
    products.write(tmp_path / "s", 0, products.arrays(0))
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,))
    fill(spec, products.acquisitions(tmp_path / "s"))
    cut_a_byte(spec.path / "31UFU/r10m/B04/c/0/0/0")
    with pytest.raises(CubeError, match="c/0/0/0"):
        plane(spec, B04, 0)
    with pytest.raises(CubeError, match="not in the cube"):
        plane(spec, B08, 0)
    with pytest.raises(CubeError, match="no date number 5"):
        plane(spec, B04, 5)


def test_only_the_windows_asked_for_are_read(tmp_path):
    pixels = products.arrays(0)
    products.write(tmp_path / "s", 0, pixels)
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,))
    fill(spec, products.acquisitions(tmp_path / "s"))
    windows = np.array([[False, True], [False, False]])
    found = read.read_plane(spec.path, "31UFU", B04, 0, windows, threads=2)
    expected = stored(pixels["B04@10m"], -1000)
    expected[1024:] = 0
    expected[:, :1024] = 0
    np.testing.assert_array_equal(found, expected)


def test_another_layout_or_grid_is_refused(tmp_path):
    products.write(tmp_path / "s", 0, products.arrays(0))
    acquisitions = products.acquisitions(tmp_path / "s")
    spec = cube_spec(tmp_path / "c.zarr")
    layout.prepare(spec, "31UFU", acquisitions)
    layout.prepare(replace(spec, compression=5), "31UFU", acquisitions)
    for other in (replace(spec, dates_per_block=9), replace(spec, sharding=False)):
        with pytest.raises(CubeError, match="another layout"):
            layout.prepare(other, "31UFU", acquisitions)
    products.write(tmp_path / "s", 1, products.arrays(1), ulx=600060)
    with pytest.raises(CubeError, match="lies on another grid"):
        layout.prepare(spec, "31UFU", products.acquisitions(tmp_path / "s"))


def test_metadata_that_say_the_same_stay_and_others_are_written(tmp_path):
    products.write(tmp_path / "s", 0, products.arrays(0))
    acquisitions, spec = products.acquisitions(tmp_path / "s"), cube_spec(tmp_path / "c.zarr")
    layout.prepare(spec, "31UFU", acquisitions)
    before = {path: path.read_bytes() for path in spec.path.rglob("zarr.json")}
    assert len(before) > 8
    for content in before.values():
        assert content == (json.dumps(json.loads(content), indent=1, ensure_ascii=False) + "\n").encode()
    stamps = {path: path.stat().st_mtime_ns for path in before}
    layout.prepare(spec, "31UFU", acquisitions)
    assert {path: path.stat().st_mtime_ns for path in before} == stamps
    group = spec.path / "31UFU" / "zarr.json"
    for damaged in (b"", b"{", before[group][:-20], b"[]", json.dumps(json.loads(before[group])).encode()):
        group.write_bytes(damaged)
        layout.prepare(spec, "31UFU", acquisitions)
        assert group.read_bytes() == before[group]
    group.write_bytes(before[group].replace(b'"node_type"', b'"note_type"'))
    layout.prepare(spec, "31UFU", acquisitions)
    assert {path: path.read_bytes() for path in spec.path.rglob("zarr.json")} == before


def test_the_manifest_survives_a_cut_line_and_compacts(tmp_path):
    manifest = Manifest.load(tmp_path)
    manifest.append([ShardRecord("t/a", 1, "x", ("1",)), ShardRecord("t/b", 1, "x", ("1",))], "one")
    Manifest.load(tmp_path).append([ShardRecord("t/a", 2, "y", ("2",))], "two")
    path = tmp_path / ".manifest" / "t" / "one.jsonl"
    path.write_bytes(path.read_bytes() + b'{"key": "t/c", "nby')
    loaded = Manifest.load(tmp_path)
    assert loaded.get("t/a").nbytes == 2 and loaded.get("t/b").nbytes == 1 and loaded.get("t/c") is None
    loaded.disown(["t/b"], "three")
    loaded.compact()
    assert len(list((tmp_path / ".manifest" / "t").iterdir())) == 1
    again = Manifest.load(tmp_path, ["t"])
    assert again.get("t/a").digest == "y" and again.get("t/b") is None
    assert len(Manifest.load(tmp_path, ["u"])) == 0
