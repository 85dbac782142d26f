"""A hierarchy that lies in no folder: all that writes and reads cubes does it through `Objects`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpckit.base.seen import Seen
from hpckit.cubes import audit, layout, objects, read
from hpckit.cubes.manifest import Manifest
from hpckit.cubes.objects import Folder, get
from hpckit.cubes.region import read_region
from hpckit.cubes.verify import verify
from hpckit.errors import ShardError
from hpckit.look.pixels import read_snapshot
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.box import Box
from tests import products
from tests.products import EDGE, stored
from tests.unit.test_cube import B04, SCL, cube_spec, fill

pytestmark = pytest.mark.slow

TILE, KEY = "31UFU", "31UFU/r10m/B04/c/0/0/0"


@dataclass(frozen=True)
class Memory:
    """Objects in memory, as an object store keeps them: a put replaces, and what is open stays as it was."""

    path: Path
    content: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Key and bytes of each range that was read."""
    clock: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def open(self, key):
        if key not in self.content:
            raise FileNotFoundError(key)
        data = self.content[key][0]

        def part(offset: int, nbytes: int) -> bytes:
            self.asked.append((key, nbytes))
            return data[offset : offset + nbytes]

        yield SimpleNamespace(status=self.status(key), range=part)

    def status(self, key):
        if key not in self.content:
            raise FileNotFoundError(key)
        data, stamp = self.content[key]
        return SimpleNamespace(st_size=len(data), st_mtime_ns=stamp)

    def put(self, key, data):
        self.content[key] = data, next(self.clock)

    def delete(self, key):
        self.content.pop(key, None)

    def list(self, prefix):
        below = [
            key[len(prefix) :].lstrip("/") for key in self.content if key.startswith(f"{prefix}/" if prefix else "")
        ]
        return sorted({key.partition("/")[0] for key in below})


@pytest.fixture
def memory(tmp_path, monkeypatch) -> Memory:
    made = Memory(tmp_path / "cube")
    monkeypatch.setattr(objects, "Folder", lambda path: made)
    return made


@pytest.mark.parametrize("sharding", [True, False])
def test_a_cube_in_memory_is_written_read_checked_and_extended(tmp_path, memory, sharding):
    pixels = [products.arrays(number) for number in range(3)]
    for number in range(2):
        products.write(tmp_path / "s", number, pixels[number])
    spec = cube_spec(memory.path, bands=(B04, SCL), dates_per_block=4, sharding=sharding)
    fill(spec, products.acquisitions(tmp_path / "s"))
    products.write(tmp_path / "s", 2, pixels[2])
    acquisitions = products.acquisitions(tmp_path / "s")
    results = fill(spec, acquisitions)
    assert sum(result.decoded_pixels for result in results) == EDGE**2 + (EDGE // 2) ** 2, "the new date only"
    expected = np.stack([stored(pixels[date]["B04@10m"], -1000) for date in range(3)])
    written = [path for path in memory.path.rglob("*") if path.is_file()]
    assert written and all(".manifest" in path.parts for path in written)

    assert read.tiles(memory.path) == [TILE] and read.bands(memory.path, TILE) == [B04, SCL]
    by_plane = np.stack([read.read_plane(memory.path, TILE, B04, date) for date in range(3)])
    np.testing.assert_array_equal(by_plane, expected)
    box = Box(900, 950, 1100, 1130)
    part = read_region(read.band_array(memory.path, TILE, B04), box, range(1, 3))
    np.testing.assert_array_equal(part, expected[1:, box.top : box.bottom, box.left : box.right])
    found = read.open_tile(memory.path, TILE, 10).B04.values
    np.testing.assert_array_equal(np.where(np.isnan(found), 0, np.rint(found * 1e4 + 1000)), expected)
    seen = read_snapshot(memory.path, TILE, 2, [B04], SENTINEL2).layers["B04"]
    assert np.nanmax(np.abs(seen - (expected[2] * 1e-4 - 0.1))) < 1e-6

    manifest = Manifest.load(memory.path)
    assert verify(spec, {TILE: acquisitions}, manifest) == []
    memory.delete(KEY)
    assert audit.damaged(memory.path, manifest.records(), Seen(None, "t")) == [KEY]
    for reader in (
        lambda: read.read_plane(memory.path, TILE, B04, 0),
        lambda: read.open_tile(memory.path, TILE, 10).load(),
    ):
        with pytest.raises(ShardError, match="the file is gone"):
            reader()


def test_a_date_is_read_by_ranges(tmp_path, memory):
    for number in range(2):
        products.write(tmp_path / "s", number, products.arrays(number))
    spec = cube_spec(memory.path, bands=(B04,))
    fill(spec, products.acquisitions(tmp_path / "s"))
    memory.asked.clear()
    read.read_plane(memory.path, TILE, B04, 0)
    nbytes = sum(count for key, count in memory.asked if key == KEY)
    assert 0 < nbytes < 0.7 * len(memory.content[KEY][0])


def test_metadata_that_are_equal_are_not_written_again(tmp_path, memory):
    products.write(tmp_path / "s", 0, products.arrays(0))
    spec, acquisitions = cube_spec(memory.path), products.acquisitions(tmp_path / "s")
    layout.prepare(spec, TILE, acquisitions)
    before = dict(memory.content)
    layout.prepare(spec, TILE, acquisitions)
    assert memory.content == before


def test_a_folder_answers_as_memory_does(tmp_path):
    folder, memory = Folder(tmp_path / "f"), Memory(tmp_path)
    for files in (folder, memory):
        files.put("a/b/c", b"one")
        files.put("a/d", b"other")
        with files.open("a/b/c") as opened:
            files.put("a/b/c", b"replaced")
            assert opened.range(1, 99) == b"ne" and opened.status.st_size == 3
        assert get(files, "a/b/c") == b"replaced" and files.list("a") == ["b", "d"] and files.list("x") == []
        for key in ("a/x", "a/d/below"):
            with pytest.raises(FileNotFoundError):
                files.status(key)
        files.delete("a/d")
        files.delete("a/d")
        assert files.list("a") == ["b"] and files.list("") == ["a"]
