"""Windows of JPEG 2000 files on servers: the pixels of the file, by few requests, whatever its tiles look like."""

from __future__ import annotations

import json
import multiprocessing
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpckit.base.reading import may_pass
from hpckit.errors import SceneError
from hpckit.inputs import codestream, httpfiles, partnotes, remote, tileraster, web
from hpckit.inputs.codestream import EOC, Layout, Part, find_start, parse, read_start
from hpckit.inputs.partnotes import PartNotes
from hpckit.inputs.tileparts import TileParts
from hpckit.inputs.tileraster import open_tiles
from hpckit.inputs.transfer import ReplacedError, TransferError
from tests.servers import files
from tests.servers.files import FileServer, serve
from tests.stac_samples import write_raster

pytestmark = pytest.mark.slow
EDGE, TILE = 700, 64
ACROSS = -(-EDGE // TILE)
JP2 = {"driver": "JP2OpenJPEG", "compress": None, "tiled": None, "QUALITY": "100", "REVERSIBLE": "YES"}


@pytest.fixture(autouse=True)
def _here(monkeypatch) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    fresh(monkeypatch)


def fresh(monkeypatch, notes: PartNotes | None = None) -> None:
    """As a process that has just begun."""
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setattr(tileraster._notes, "parts", notes or PartNotes())


def relief(seed: int, *, gaps: bool = False) -> np.ndarray:
    """Pixels whose tiles take similar numbers of bytes; with gaps, some take next to none."""
    random = np.random.default_rng(seed)
    pixels = random.integers(1000, 5000, (EDGE, EDGE)) * (1 + np.arange(EDGE) % 40 // 20)
    if gaps:
        pixels[:, : random.integers(50, 600)] = 0
        pixels[random.integers(50, 600) :] = 0
    return pixels.astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("jp2")
    for name, pixels, more in (
        ("even", relief(1), {}),
        ("gaps", relief(2, gaps=True), {}),
        ("listed", relief(1), {"TLM": "YES"}),
        ("empty", np.zeros((EDGE, EDGE), np.uint16), {}),
    ):
        write_raster(path / f"{name}.jp2", pixels, 10, **JP2, **more, blockxsize=TILE, blockysize=TILE)
        np.save(path / f"{name}.npy", pixels)
    content = (path / "gaps.jp2").read_bytes()
    for name, made in (
        ("parts", in_parts(content)),
        ("mixed", mixed(content)),
        ("open", without_last_length(content)),
    ):
        (path / f"{name}.jp2").write_bytes(made)
        np.save(path / f"{name}.npy", relief(2, gaps=True))
    return path


NAMES = ["even", "gaps", "listed", "empty", "parts", "mixed", "open"]


def parsed(content: bytes) -> tuple[Layout, list[bytes]]:
    """Layout of a file, and its tile parts."""
    layout = parse(lambda start, stop: content[start:stop], len(content))
    assert layout is not None
    parts, position = [], layout.first
    while position < layout.end:
        start = read_start(content[position:])
        assert start is not None
        parts.append(content[position : position + start.length])
        position += start.length
    return layout, parts


def joined(layout: Layout, parts: list[bytes]) -> bytes:
    return layout.file([(Part(0, len(part)), part) for part in parts])


def in_parts(content: bytes) -> bytes:
    """The same file, each tile in two parts; the second ones stand at the end."""
    layout, parts = parsed(content)
    first, second = [], []
    for part in parts:
        begin = part.index(b"\xff\x93") + 2
        half = begin + (len(part) - begin) // 2
        one, other = part[:half], b"\xff\x93" + part[half:]
        first.append(one[:10] + bytes([0, 2]) + one[12:])
        second.append(part[:6] + struct.pack(">IBB", len(other) + 12, 1, 2) + other)
    return joined(layout, first + second)


def mixed(content: bytes) -> bytes:
    """The same file, its tiles in another order."""
    layout, parts = parsed(content)
    return joined(layout, [parts[number] for number in np.random.default_rng(3).permutation(len(parts))])


def without_last_length(content: bytes) -> bytes:
    """The same file, whose last tile goes on to the end."""
    _, parts = parsed(content)
    last = len(content) - len(parts[-1]) - len(EOC)
    return content[: last + 6] + bytes(4) + content[last + 10 :]


@pytest.fixture
def server(folder) -> Iterator[FileServer]:
    with serve(FileServer(folder)) as running:
        yield running


def window(server: FileServer, name: str, rows: slice, columns: slice) -> np.ndarray:
    tiles = open_tiles(f"{server.url}/{name}.jp2?sig=x", None, "")
    assert tiles is not None and tiles.shape == (EDGE, EDGE)
    return tiles.read(rows, columns, np.uint16)


WINDOWS = st.tuples(*2 * [st.tuples(st.integers(0, EDGE - 1), st.integers(1, EDGE))]).map(
    lambda pairs: [slice(start, min(start + length, EDGE)) for start, length in pairs]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(name=st.sampled_from(NAMES), windows=st.lists(WINDOWS, min_size=1, max_size=3))
def test_any_windows_are_those_of_the_file(folder, monkeypatch, name, windows):
    fresh(monkeypatch)
    pixels = np.load(folder / f"{name}.npy")
    with serve(FileServer(folder)) as running:
        for rows, columns in windows:
            np.testing.assert_array_equal(window(running, name, rows, columns), pixels[rows, columns])


@pytest.mark.parametrize("name", NAMES)
def test_each_tile_alone(server, folder, name):
    pixels = np.load(folder / f"{name}.npy")
    for place in range(0, ACROSS**2, 7):
        row, column = (TILE * number for number in divmod(place, ACROSS))
        rows, columns = slice(row, min(row + TILE, EDGE)), slice(column, min(column + TILE, EDGE))
        np.testing.assert_array_equal(window(server, name, rows, columns), pixels[rows, columns])


def test_requests_of_a_window(server, folder, monkeypatch):
    rows = columns = slice(5 * TILE, 7 * TILE)
    window(server, "listed", rows, columns)
    assert len(server.requests) == 3, "the head with the list, and a range for each of two rows of tiles"
    server.requests.clear()
    window(server, "even", rows, columns)
    assert len(server.requests) <= 12, "72 tiles are not walked over one by one"
    server.requests.clear()
    window(server, "even", rows, columns)
    assert len(server.requests) == 2, "what was found is known"
    part = (folder / "even.jp2").stat().st_size / ACROSS**2
    assert server.nbytes < 5 * part, "four tiles, and nothing else"


def test_notes_are_for_all_processes_and_later_runs(server, folder, monkeypatch, tmp_path):
    pixels, rows, columns = np.load(folder / "even.npy"), slice(5 * TILE, 6 * TILE), slice(320, 384)
    uri, size = f"{server.url}/even.jp2", (folder / "even.jp2").stat().st_size
    fresh(monkeypatch, PartNotes(tmp_path / "notes", "one"))
    window(server, "even", rows, columns)
    server.requests.clear()
    for writer in ("two", "three"):
        fresh(monkeypatch, PartNotes(tmp_path / "notes", writer))
        tiles = open_tiles(f"{uri}?sig=y", size, "")
        assert tiles is not None
        np.testing.assert_array_equal(tiles.read(rows, columns, np.uint16), pixels[rows, columns])
        tiles.read(slice(0, 64), slice(0, 64), np.uint16)
        partnotes.compact(tmp_path / "notes")
    assert len(server.requests) == 3 + 2, "one for each window, and one to find the first tile"
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["0-compacted.jsonl"]
    assert "sig" not in (tmp_path / "notes" / "0-compacted.jsonl").read_text()


def test_damaged_notes_cost_another_look(server, folder, monkeypatch, tmp_path):
    pixels, part = np.load(folder / "even.npy"), slice(320, 384)
    size = (folder / "even.jp2").stat().st_size
    fresh(monkeypatch, PartNotes(tmp_path, "one"))
    window(server, "even", part, part)
    (path,) = tmp_path.iterdir()
    for text in ("", "{", "[]\n", '{"file": []}\n', path.read_text()[:-30] + "\n"):
        path.write_text(text)
        fresh(monkeypatch, PartNotes(tmp_path, "two"))
        tiles = open_tiles(f"{server.url}/even.jp2", size, "")
        assert tiles is not None
        np.testing.assert_array_equal(tiles.read(part, part, np.uint16), pixels[part, part])
        (tmp_path / "two.jsonl").unlink()


def test_notes_that_lead_elsewhere_never_become_pixels(server, folder, monkeypatch, tmp_path):
    part, size = slice(320, 384), (folder / "even.jp2").stat().st_size
    fresh(monkeypatch, PartNotes(tmp_path, "one"))
    window(server, "even", part, part)
    (path,) = tmp_path.iterdir()
    (line,) = path.read_text().splitlines()
    told = json.loads(line)
    for shift, longer in ((1, 0), (-3, 0), (0, 5), (0, -5), (10**9, 0)):
        moved = [[tile, offset + shift, length + longer] for tile, offset, length in told["parts"]]
        path.write_text(json.dumps({**told, "parts": moved}) + "\n")
        fresh(monkeypatch, PartNotes(tmp_path, "two"))
        tiles = open_tiles(f"{server.url}/even.jp2", size, "")
        assert tiles is not None
        with pytest.raises(SceneError, match="truncated or damaged"):
            tiles.read(part, part, np.uint16)


def _read(uri: str, folder: Path, number: int) -> bytes:
    tileraster.keep_notes(folder, f"w{number}")
    tiles = open_tiles(uri, None, "")
    assert tiles is not None
    return b"".join(tiles.read(slice(64 * k, 64 * k + 64), slice(64, 128), np.uint16).tobytes() for k in range(10))


def test_processes_at_once(server, folder, tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(_read, [(f"{server.url}/gaps.jp2", tmp_path, number) for number in range(4)])
    pixels = np.load(folder / "gaps.npy")
    assert set(found) == {pixels[:640, 64:128].tobytes()}


def test_a_file_that_is_replaced(folder, tmp_path, monkeypatch):
    part = slice(320, 384)
    with serve(FileServer(tmp_path)) as running:
        path = tmp_path / "a.jp2"
        path.write_bytes((folder / "even.jp2").read_bytes())
        size = path.stat().st_size
        tiles = open_tiles(f"{running.url}/a.jp2", size, "")
        assert tiles is not None
        first = tiles.read(part, part, np.uint16)
        tag = remote.opened(f"{running.url}/a.jp2").tag
        path.unlink()
        path.write_bytes((folder / "even.jp2").read_bytes())
        with pytest.raises(ReplacedError):
            tiles.read(slice(0, 640), part, np.uint16)  # it was opened before
        again = open_tiles(f"{running.url}/a.jp2", size, "")
        assert again is not None, "one that was noted, and lies there anew"
        np.testing.assert_array_equal(again.read(part, part, np.uint16), first)
        with pytest.raises(ReplacedError):
            open_tiles(f"{running.url}/a.jp2", size, tag)
        path.unlink()
        path.write_bytes((folder / "gaps.jp2").read_bytes())
        monkeypatch.setattr(remote, "_known", {})
        with pytest.raises(ReplacedError):
            open_tiles(f"{running.url}/a.jp2", size, "").read(part, part, np.uint16)


PASSING = {"429": files.status(429), "503": files.status(503), "cut": files.cut, "hangs up": files.hang_up}
LASTING = {
    "403": (files.status(403), "HTTP status 403"),
    "404": (files.status(404), "HTTP status 404"),
    "shorter": (files.shorter, "the server sends bytes"),
    "503": (files.status(503), "HTTP status 503"),
}


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_not_noticed(server, folder, fault, number):
    server.faults[number] = PASSING[fault]
    part = slice(320, 448)
    np.testing.assert_array_equal(window(server, "even", part, part), np.load(folder / "even.npy")[part, part])


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("fault", LASTING)
def test_what_does_not_pass_never_becomes_pixels(server, folder, fault, number):
    answer, words = LASTING[fault]
    server.faults = dict.fromkeys(range(number, 60), answer)
    part = slice(320, 448)
    with pytest.raises((SceneError, TransferError), match=words) as caught:
        window(server, "even", part, part)
    assert may_pass(caught.value) == (fault in ("403", "503"))
    server.faults = {}
    np.testing.assert_array_equal(window(server, "even", part, part), np.load(folder / "even.npy")[part, part])


def test_truncated_files(folder, tmp_path):
    content = (folder / "even.jp2").read_bytes()
    with serve(FileServer(tmp_path)) as running:
        for number, length in enumerate((10, 60, 600, len(content) // 2, len(content) - 3)):
            (tmp_path / f"{number}.jp2").write_bytes(content[:length])
            assert open_tiles(f"{running.url}/{number}.jp2", None, "") is None, "whoever reads the whole tells"


@settings(max_examples=200)
@given(cuts=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), max_size=5))
def test_damaged_headers(folder, cuts):
    """A header of any bytes gives a layout or none, and no other error; parts are found or refused."""
    content = bytearray((folder / "gaps.jp2").read_bytes())
    for start, data in cuts:
        content[start : start + len(data)] = data
    damaged = bytes(content)

    def read(start: int, stop: int) -> bytes:
        return damaged[start:stop]

    layout = parse(read, len(damaged))
    if layout is not None and np.prod(layout.tiles) < 1000:
        try:
            found = TileParts(layout).locate([0, int(np.prod(layout.tiles)) - 1], read)
        except SceneError:
            return
        assert all(read_start(damaged[part.offset :]).tile == tile for tile, part in found)


@pytest.mark.parametrize("bands", [1, 3])
def test_other_files_are_for_others(tmp_path, bands):
    pixels = np.ones((bands, 256, 256), np.uint16)
    import rasterio

    for name, options in (("a.tif", {"driver": "GTiff"}), ("a.jp2", {"driver": "JP2OpenJPEG"})):
        with rasterio.open(
            tmp_path / name, "w", width=256, height=256, count=bands, dtype="uint16", **options
        ) as target:
            target.write(pixels)
    with serve(FileServer(tmp_path)) as running:
        assert open_tiles(f"{running.url}/a.tif", None, "") is None
        assert (open_tiles(f"{running.url}/a.jp2", None, "") is None) == (bands == 3)


def test_coded_data_never_hold_the_marker(folder):
    for name in ("even", "gaps", "listed"):
        content = (folder / f"{name}.jp2").read_bytes()
        _, parts = parsed(content)
        for part in parts:
            assert find_start(part, 1) == -1


def test_real_files_of_sentinel2(shared_data):
    """Those of ESA: one part for each tile, in order, without a list."""
    (safe,) = (shared_data / "s2-l2a-safe-t29unu-2022").glob("*.SAFE")
    for path in sorted(safe.rglob("IMG_DATA/R60m/*_60m.jp2")):
        content = path.read_bytes()
        layout = codestream.parse(lambda start, stop, content=content: content[start:stop], len(content))
        if "TCI" in path.name:
            assert layout is None
            continue
        assert layout is not None and layout.shape == (1830, 1830) and layout.listed is None
        count = int(np.prod(layout.tiles))
        _, parts = parsed(content)
        assert [read_start(part).tile for part in parts] == list(range(count))
        asked: list[int] = []

        def read(start: int, stop: int, content: bytes = content, asked: list[int] = asked) -> bytes:
            asked.append(stop - start)
            return content[start:stop]

        for tile in range(count):
            TileParts(layout).locate([tile], read)
        assert len(asked) < count * 8, "a walk to each takes 50 readings in the mean"
