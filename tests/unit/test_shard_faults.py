"""Shards that are gone, damaged, or not the ones that were written: told from good ones on every path that reads."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from hpckit.base.seen import Seen
from hpckit.cubes import audit, ingest, layout, read, records
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.region import read_region
from hpckit.cubes.shards import split, tail_nbytes
from hpckit.errors import CubeError, ShardError
from hpckit.look.pixels import read_snapshot
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.box import Box
from tests import products
from tests.products import EDGE, stored
from tests.unit.test_cube import B04, SCL, cube_spec, fill

pytestmark = pytest.mark.slow

TILE = "31UFU"
KEY = f"{TILE}/r10m/B04/c/0/0/0"
NEIGHBOUR = f"{TILE}/r10m/B04/c/0/1/0"
EMPTY = f"{TILE}/r10m/B04/c/0/1/1"


@dataclass
class Made:
    folder: Path
    acquisitions: list
    values: np.ndarray


@pytest.fixture(scope="module", params=[True, False], ids=["sharded", "plain"])
def made(request, tmp_path_factory) -> Made:
    """A cube of two dates; one of its windows holds nothing. `older` is the same cube with other pixels."""
    folder = tmp_path_factory.mktemp("cube")
    for name, seeds in (("older", (7, 8)), ("now", (0, 1))):
        for number, seed in enumerate(seeds):
            pixels = products.arrays(seed)
            pixels["B04@10m"][1024:, 1024:] = 0
            products.write(folder / name, number, pixels)
        acquisitions = products.acquisitions(folder / name)
        fill(cube_spec(folder / f"{name}.zarr", bands=(B04, SCL), sharding=request.param), acquisitions)
        values = np.stack([np.zeros((EDGE, EDGE), np.uint16)] * 2)
        for number, seed in enumerate(seeds):
            values[number] = stored(products.arrays(seed)["B04@10m"], -1000)
        values[:, 1024:, 1024:] = 0
    return Made(folder, acquisitions, values)


@pytest.fixture
def spec(made, request, tmp_path):
    shutil.copytree(made.folder / "now.zarr", tmp_path / "c.zarr")
    sharding = len(list((tmp_path / "c.zarr" / TILE / "r10m/B04/c").iterdir())) == 1
    return cube_spec(tmp_path / "c.zarr", bands=(B04, SCL), sharding=sharding)


def by_plane(spec):
    return np.stack([read.read_plane(spec.path, TILE, B04, date) for date in range(2)])


def by_region(spec):
    return read_region(read.band_array(spec.path, TILE, B04), Box(0, 0, EDGE, EDGE))


def by_xarray(spec):
    found = read.open_tile(spec.path, TILE, 10).B04.values
    return np.where(np.isnan(found), 0, np.rint(found * 10000 + 1000)).astype(np.uint16)


def by_rows(spec):
    """Rows that xarray asks for one by one, which zarr-python reads."""
    found = read.open_tile(spec.path, TILE, 10, decode=False).B04.isel(y=np.arange(EDGE)[::-1])
    return found.values[:, ::-1]


def by_picture(spec):
    found = [read_snapshot(spec.path, TILE, date, [B04], SENTINEL2).layers["B04"] for date in range(2)]
    return np.stack([np.where(np.isnan(one), 0, np.rint(one * 10000 + 1000)).astype(np.uint16) for one in found])


READERS = [by_plane, by_region, by_xarray, by_rows, by_picture]


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def gone(spec, made):
    (spec.path / KEY).unlink()


def emptied(spec, made):
    (spec.path / KEY).write_bytes(b"")


def cut(spec, made):
    (spec.path / KEY).write_bytes((spec.path / KEY).read_bytes()[:-1000])


def flipped_pixels(spec, made):
    data = (spec.path / KEY).read_bytes()
    (spec.path / KEY).write_bytes(flip(data, len(data) // 3))


def flipped_end(spec, made):
    data = (spec.path / KEY).read_bytes()
    (spec.path / KEY).write_bytes(flip(data, len(data) - 20))


def of_another_window(spec, made):
    shutil.copyfile(spec.path / NEIGHBOUR, spec.path / KEY)


def from_an_old_backup(spec, made):
    shutil.copy2(made.folder / "older.zarr" / KEY, spec.path / KEY)


def where_nothing_was_written(spec, made):
    (spec.path / EMPTY).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(spec.path / NEIGHBOUR, spec.path / EMPTY)


def rotten(spec, made):
    """A bit that fell over on the disk: the file's time stamp stays."""
    path = spec.path / KEY
    status = path.stat()
    flipped_pixels(spec, made)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES = [
    *(gone, emptied, cut, flipped_pixels, flipped_end, of_another_window, from_an_old_backup),
    *(where_nothing_was_written, rotten),
]


@pytest.mark.parametrize("reader", READERS)
def test_a_sound_cube_is_read_and_a_window_without_data_is_no_fault(made, spec, reader):
    assert not (spec.path / EMPTY).exists()
    np.testing.assert_array_equal(reader(spec), made.values)
    assert audit.damaged(spec.path, Manifest.load(spec.path).records(), Seen(None, "t")) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_never_becomes_a_number_and_is_repaired(made, spec, damage):
    damage(spec, made)
    key = EMPTY if damage is where_nothing_was_written else KEY
    for reader in READERS:
        with pytest.raises((ShardError, ValueError)) as raised:  # zarr's own codec has an error of its own
            reader(spec)
        assert reader is by_rows or (raised.value.key == key and str(spec.path / key) in str(raised.value))
    if damage is rotten:
        records.disown(raised.value, "reader")
    else:
        assert audit.damaged(spec.path, Manifest.load(spec.path).records(), Seen(None, "t")) == [key]
    manifest = Manifest.load(spec.path)
    units = ingest.ingest_units(spec, TILE, made.acquisitions)
    written = [ingest.ingest(spec, unit, made.acquisitions, manifest, "again").shards for unit in units]
    assert sum(written) == 1
    for reader in READERS:
        np.testing.assert_array_equal(reader(spec), made.values)


def test_a_copied_cube_with_other_time_stamps_is_looked_at_once(made, spec, tmp_path, monkeypatch):
    for path in spec.path.rglob("c/*/*/*"):
        os.utime(path)
    looked = []
    monkeypatch.setattr(audit, "damage", lambda path, record: looked.append(path) or None)
    known = Manifest.load(spec.path).records()
    present = [record for record in known if record.nbytes]
    assert audit.damaged(spec.path, known, Seen(tmp_path / "seen", "a")) == []
    assert len(looked) == len(present)
    assert audit.damaged(spec.path, known, Seen(tmp_path / "seen", "b")) == []
    assert len(looked) == len(present)


def test_other_readers_find_flipped_bits_and_read_past_the_table(made, spec):
    if not spec.sharding:
        pytest.skip("a file that is a single chunk is left readable for GDAL before 3.13")
    inner = json.loads((spec.array(TILE, B04) / "zarr.json").read_text())["codecs"][0]["configuration"]["codecs"]
    assert [codec["name"] for codec in inner] == ["bytes", "blosc", "crc32c"]
    array = zarr.open_array(spec.array(TILE, B04), mode="r")
    np.testing.assert_array_equal(array[:], made.values)
    flipped_pixels(spec, made)
    with pytest.raises(ValueError, match="checksum"):
        array[:]


def test_a_cube_that_is_written_while_it_is_read(made, spec, tmp_path):
    np.testing.assert_array_equal(by_plane(spec), made.values)  # the records are in memory now
    older = cube_spec(made.folder / "older.zarr", bands=(B04, SCL), sharding=spec.sharding)
    shutil.copy2(older.path / KEY, spec.path / KEY)
    record = Manifest.load(older.path).get(KEY)
    Manifest.load(spec.path).append([record], "another")
    assert not np.array_equal(by_plane(spec), made.values)
    assert by_plane(spec).any()


def test_a_shard_of_an_earlier_hpckit_is_read_rightly_and_never_added_to(made, spec):
    """Without checksums of chunks, and with records that have neither seal nor time stamp."""
    if not spec.sharding:
        pytest.skip("its files are as they were")
    _as_before(spec)
    np.testing.assert_array_equal(by_plane(spec), made.values)
    np.testing.assert_array_equal(by_region(spec), made.values)
    np.testing.assert_array_equal(by_xarray(spec), made.values)
    with pytest.raises(CubeError, match="another layout"):
        layout.prepare(spec, TILE, made.acquisitions)
    flipped_pixels(spec, made)
    for reader in (by_plane, by_region, by_xarray):
        with pytest.raises(ShardError):
            reader(spec)


def _as_before(spec):
    """Write the cube as hpckit wrote cubes before chunks had checksums."""
    path = spec.array(TILE, B04)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["codecs"][0]["configuration"]["codecs"].pop()
    (path / "zarr.json").write_text(json.dumps(metadata))
    group = json.loads((path.parent / "zarr.json").read_text())
    group["consolidated_metadata"]["metadata"]["B04"] = metadata
    (path.parent / "zarr.json").write_text(json.dumps(group))
    manifest = Manifest.load(spec.path)
    changed = []
    for record in manifest.records():
        if "/B04/" in record.key and record.nbytes:
            file = spec.path / record.key
            data = _old_shard(file.read_bytes(), 2 * spec.chunks(10).per_date)
            file.write_bytes(data)
            changed.append(replace(record, nbytes=len(data), digest=audit.digest(data), seal="", mtime=0))
    manifest.append(changed, "before")


def _old_shard(data: bytes, count: int) -> bytes:
    from google_crc32c import value as crc32c

    assert len(data) > tail_nbytes(count)
    index, position, parts = np.full((count, 2), 2**64 - 1, "<u8"), 0, []
    for number, chunk in enumerate(split(data, count)):
        if chunk is not None:
            index[number] = position, len(chunk)
            position += len(chunk)
            parts.append(chunk)
    raw = index.tobytes()
    return b"".join([*parts, raw, crc32c(raw).to_bytes(4, "little")])
