"""Copies of remote files: each byte once, whatever servers and kills do, and nothing wrong under its own name."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from hpckit.base.console import Console
from hpckit.errors import BusyError, PlanError, SceneError
from hpckit.inputs import fetched, httpfiles, remote, s3files, turns, web
from hpckit.inputs.fetched import copy_name, find_copy
from hpckit.inputs.turns import limited
from hpckit.production import transfer as fetching
from hpckit.production.fetchable import Fetchable, read_notes
from hpckit.production.fetchlist import curl_config, table
from hpckit.production.transfer import Fetched, bring
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.source import open_band
from tests import scene_samples
from tests.servers import files
from tests.servers.files import FileServer, serve
from tests.stac_samples import write_raster

pytestmark = pytest.mark.slow

QUIET = Console(quiet=True)
SIZE, COUNT = 50_000, 6


@pytest.fixture(autouse=True)
def _here(monkeypatch) -> None:
    """Loopback may be asked, and nobody waits long."""
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setattr(fetching, "_REQUEST", SIZE // 5)
    httpfiles._client.cache_clear()


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Path:
    folder, random = tmp_path_factory.mktemp("served"), np.random.default_rng(11)
    for number in range(COUNT):
        (folder / f"b{number}.tif").write_bytes(random.bytes(SIZE + number))
    return folder


@pytest.fixture
def server(served) -> Iterator[FileServer]:
    with serve(FileServer(served)) as running:
        yield running


def wanted(server: FileServer, count: int = COUNT) -> list[Fetchable]:
    """Files with a digest, and every third one without."""
    found = []
    for number in range(count):
        path = server.folder / f"b{number}.tif"
        digest = "" if number % 3 == 2 else f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        uri, nbytes = f"{server.url}/{path.name}", path.stat().st_size
        found.append(Fetchable(uri, nbytes, digest, copy_name("S2A", f"B{number}@10m", uri, nbytes, digest)))
    return found


def get(folder: Path, found: list[Fetchable], connections: int = 3) -> Fetched:
    with limited(connections, 10_000):
        return bring(folder, "run", found, connections, QUIET)


def assert_right(folder: Path, server: FileServer, found: list[Fetchable]) -> None:
    for file in found:
        assert (folder / file.name).read_bytes() == (server.folder / file.uri.rpartition("/")[2]).read_bytes()
    assert set(read_notes(folder)) == {file.name for file in found}
    assert not list(folder.rglob("*.part"))


def test_files_come_once(server, tmp_path):
    found = wanted(server)
    first = get(tmp_path, found)
    assert (first.files, first.there, first.failed, first.exit_code) == (COUNT, 0, [], 0)
    assert first.nbytes == sum(file.nbytes for file in found) == server.nbytes
    assert_right(tmp_path, server, found)
    sent = len(server.requests)
    second = get(tmp_path, found)
    assert (second.files, second.there, second.nbytes, len(server.requests)) == (0, COUNT, 0, sent)


@pytest.mark.parametrize("fault", ["429", "503", "cut", "hangs up"])
def test_storms_pass(server, tmp_path, fault):
    how = {
        "429": files.status(429, Retry_After="1"),
        "503": files.status(503),
        "cut": files.cut,
        "hangs up": files.hang_up,
    }[fault]
    server.faults = dict.fromkeys([n for n in range(60) if n % 7 < 3], how)
    found = wanted(server)
    assert get(tmp_path, found).exit_code == 0
    assert_right(tmp_path, server, found)


def test_what_may_pass_is_told_from_what_does_not(server, tmp_path):
    found = wanted(server, 2)
    server.every = files.status(429, Retry_After="1")
    busy = get(tmp_path, found)
    assert busy.exit_code == 75 and "HTTP status 429" in busy.failed[0].reason and busy.failed[0].temporary
    server.every = None
    gone = replace(found[0], uri=f"{server.url}/gone.tif?sig=secret", name="S2A/gone-1.tif")
    result = get(tmp_path, [*found, gone])
    assert result.exit_code == 1 and result.files == 2
    assert [item.name for item in result.failed] == ["S2A/gone-1.tif"]
    assert "gone.tif" in result.failed[0].reason and "secret" not in result.failed[0].reason


def test_a_server_that_asks_to_wait_is_left_alone_by_all(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.5)
    asked: list[float] = []

    def note(handler, content, start, stop):
        asked.append(time.monotonic())
        (files.status(429, Retry_After="0.5") if len(asked) == 1 else files.give)(handler, content, start, stop)

    server.every = note
    assert get(tmp_path, wanted(server, 3), connections=1).exit_code == 0
    assert asked[1] - asked[0] >= 0.5


@pytest.mark.parametrize("number", [0, 2])
def test_a_wrong_digest_leaves_nothing(server, tmp_path, number):
    found = wanted(server, 3)
    right = found[number]
    found[number] = replace(right, digest=f"sha256:{'0' * 64}")
    result = get(tmp_path, found)
    assert result.exit_code == 1 and "sha256 digest" in result.failed[0].reason
    assert not list(tmp_path.glob(f"{right.name}*"))
    found[number] = right
    assert get(tmp_path, found).files == 1
    assert_right(tmp_path, server, found)


def test_a_damaged_beginning_is_brought_again(server, tmp_path):
    (file, *_) = found = wanted(server, 1)
    (tmp_path / file.name).parent.mkdir()
    (tmp_path / f"{file.name}.part").write_bytes(b"x" * (SIZE // 2))
    assert get(tmp_path, found).exit_code == 0
    assert_right(tmp_path, server, found)


@pytest.mark.parametrize("content", [b"x" * SIZE, b"x" * 7])
def test_what_lies_there_and_is_not_noted_is_compared(server, tmp_path, content):
    (file, *_) = found = wanted(server, 1)
    (tmp_path / file.name).parent.mkdir()
    (tmp_path / file.name).write_bytes(content)
    assert get(tmp_path, found).files == 1
    assert_right(tmp_path, server, found)
    (tmp_path / "fetched.jsonl").unlink()
    sent = len(server.requests)
    assert get(tmp_path, found).exit_code == 0 and len(server.requests) == sent


CHILD = """
import json, sys
from hpckit.base.console import Console
from hpckit.inputs.httpfiles import permit
from hpckit.inputs.turns import limited
from hpckit.production import transfer
from hpckit.production.fetchable import Fetchable
permit(["127.0.0.1"])
transfer._REQUEST = int(sys.argv[2])
files = [Fetchable(**item) for item in json.load(sys.stdin)]
with limited(2, 10_000):
    transfer.bring(transfer.Path(sys.argv[1]), "run", files, 2, Console(quiet=True))
"""


def test_kill_9_costs_what_was_on_its_way(server, tmp_path):
    found = wanted(server)
    server.delay_s = 0.1
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(SIZE // 5)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as child:
        child.stdin.write(json.dumps([asdict(file) for file in found]))
        child.stdin.close()
        limit = time.monotonic() + 60
        while len(server.requests) < 13 and time.monotonic() < limit:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    time.sleep(0.3)
    assert list(tmp_path.rglob("*.part")), "it was killed in the middle"
    server.delay_s = 0
    result = get(tmp_path, found)
    assert result.exit_code == 0
    assert_right(tmp_path, server, found)
    assert server.nbytes <= sum(file.nbytes for file in found) + 2 * (SIZE // 5)


def _bring(folder: Path, found: list[Fetchable]) -> str:
    try:
        return str(get(folder, found).exit_code)
    except BusyError as error:
        return str(error.exit_code)


def test_two_at_once_do_nothing_twice(server, tmp_path):
    server.delay_s = 0.02
    found = wanted(server)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        codes = pool.starmap(_bring, [(tmp_path, found)] * 3)
    assert "0" in codes and set(codes) <= {"0", "75"}
    assert server.nbytes == sum(file.nbytes for file in found)
    assert_right(tmp_path, server, found)


def test_room_is_looked_for_first(server, tmp_path, monkeypatch):
    found = wanted(server, 2)
    real = os.statvfs(tmp_path)
    for names in ({"f_bavail": 1}, {"f_favail": 1, "f_files": 10}):
        fields = {name: getattr(real, name) for name in ("f_bavail", "f_frsize", "f_favail", "f_files")}
        monkeypatch.setattr(fetching.os, "statvfs", lambda _, v={**fields, **names}: type("Space", (), v))
        with pytest.raises(PlanError, match=r"are free|inodes are left"):
            get(tmp_path, found)
    assert not server.requests


# Limits


class Begun(deque):
    """When requests began, of all of them."""

    def __init__(self, limit: int) -> None:
        super().__init__(maxlen=limit)
        self.every: list[float] = []

    def append(self, moment: float) -> None:
        self.every.append(moment)
        super().append(moment)

    def require(self, window: float, limit: int) -> None:
        assert all(later - first >= window for first, later in zip(self.every, self.every[limit:], strict=False))


@settings(max_examples=15)
@given(
    connections=st.integers(1, 5), per_minute=st.integers(1, 9), threads=st.integers(1, 6), asked=st.integers(1, 20)
)
def test_limits_hold_over_all_threads(connections, per_minute, threads, asked):
    begun, lock = Begun(per_minute), threading.Lock()
    now, most = 0, 0

    def work(number: int) -> None:
        nonlocal now, most
        for _ in range(number, asked, threads):
            with turns.turn():
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.001)
                with lock:
                    now -= 1

    with pytest.MonkeyPatch.context() as patch, limited(connections, per_minute):
        patch.setattr(turns, "MINUTE_S", 0.05)
        turns._limits[-1]._begun = begun
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(begun.every) == asked and most <= connections
    begun.require(0.05, per_minute)


def test_repetitions_count(server, tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "MINUTE_S", 0.3)
    server.faults = {number: files.status(503) for number in range(0, 40, 2)}
    begun = Begun(5)
    with limited(4, 5):
        turns._limits[-1]._begun = begun
        assert bring(tmp_path, "run", wanted(server, 1), 4, QUIET).exit_code == 0
    assert len(begun.every) == len(server.requests) >= 10
    begun.require(0.3, 5)


# Names


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


@given(product=TEXTS, file=TEXTS)
def test_names_stay_in_the_folder(product, file):
    uri = f"https://h/x/{file}"
    name = copy_name(product, "B04@10m", uri, 5, "")
    folder, _, copy = name.partition("/")
    assert "/" not in copy and not folder.startswith(".") and not copy.startswith(".")
    assert name.isascii() and name.isprintable() and " " not in name and len(copy) < 160 and len(folder) <= 120


def test_a_name_says_the_version():
    first = copy_name("S2A", "B04@10m", "https://h/R10m/B04.jp2?sig=1", 5, "sha256:aa")
    assert first == copy_name("S2A", "B04@10m", "https://h/R10m/B04.jp2?sig=2", 5, "sha256:aa")
    assert first.startswith("S2A/B04-") and first.endswith(".jp2")
    others = [
        copy_name("S2B", "B04@10m", "https://h/R10m/B04.jp2", 5, "sha256:aa"),
        copy_name("S2A", "B04@20m", "https://h/R10m/B04.jp2", 5, "sha256:aa"),
        copy_name("S2A", "B04@10m", "https://h/R20m/B04.jp2", 5, "sha256:aa"),
        copy_name("S2A", "B04@10m", "https://h/R10m/B04.jp2", 6, "sha256:aa"),
        copy_name("S2A", "B04@10m", "https://h/R10m/B04.jp2", 5, "sha256:ab"),
    ]
    assert len({first, *others}) == 6


def test_copies_are_used_only_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(fetched, "_folders", {})
    assert find_copy("S2A/a.tif", 5) == (None, "")
    fetched.look_in([tmp_path / "none", tmp_path])
    (tmp_path / "S2A").mkdir()
    assert find_copy("S2A/a.tif", 5) == (None, "")
    (tmp_path / "S2A" / "a.tif").write_bytes(b"1234")
    path, fault = find_copy("S2A/a.tif", 5)
    assert path is None and "4 bytes instead of 5" in fault and str(tmp_path / "S2A" / "a.tif") in fault
    assert find_copy("S2A/a.tif", None).path is None
    assert find_copy("S2A/a.tif", 4).path == tmp_path / "S2A" / "a.tif"


# Lists


def test_curl_brings_what_is_listed(server, tmp_path):
    found = wanted(server)
    folder = tmp_path / 'odd "name'
    (tmp_path / "list").write_text(curl_config(found, folder, with_signatures=False))
    command = ["curl", "--silent", "--show-error", "--config", str(tmp_path / "list")]
    half = folder / found[0].name
    half.parent.mkdir(parents=True)
    half.write_bytes((server.folder / "b0.tif").read_bytes()[: SIZE // 2])
    subprocess.run(command, check=True, env={**os.environ, "NO_PROXY": "127.0.0.1"})
    again = subprocess.run(command, env={**os.environ, "NO_PROXY": "127.0.0.1"}, stderr=subprocess.PIPE, text=True)
    assert again.returncode in (0, 22), "some versions of curl call what is whole already out of range (416)"
    sent = len(server.requests)
    assert get(folder, found).exit_code == 0 and len(server.requests) == sent
    assert_right(folder, server, found)


def test_lists_keep_secrets_and_lines(tmp_path):
    signed = Fetchable("https://h/a.tif?sig=secret&x=1", 5, "etag:x", "S2A/a-1.tif")
    login = Fetchable("https://me:secret@h/a.tif", 5, "sha256:aa", "S2A/a-1.tif")
    for file in (signed, login):
        for write in (curl_config, table):
            with pytest.raises(SceneError, match="signature or password") as caught:
                write([file], tmp_path, with_signatures=False)
            assert "secret" not in str(caught.value)
            assert "secret" in write([file], tmp_path, with_signatures=True)
    hostile = Fetchable('https://h/a"\noutput = "/home/x/.bashrc\t.tif', 5, "", "S2A/a-1.tif")
    assert curl_config([hostile], tmp_path, with_signatures=False).count("\noutput = ") == 1
    assert len(table([hostile], tmp_path, with_signatures=False).splitlines()) == 2
    store = Fetchable("s3://eodata/a.tif", 5, "sha256:aa", "S2A/a-1.tif")
    with pytest.raises(SceneError, match="object store"):
        curl_config([store], tmp_path, with_signatures=False)
    assert table([store], tmp_path, with_signatures=False).splitlines()[1].split("\t") == [
        "s3://eodata/a.tif",
        str(tmp_path / "S2A/a-1.tif"),
        "5",
        "sha256:aa",
    ]
    assert not curl_config([], tmp_path, with_signatures=False)
    for write in (curl_config, table):
        with pytest.raises(SceneError, match="cannot stand in a list"):
            write([hostile], tmp_path / 'x"\noutput = "y', with_signatures=False)


# Object stores: the web server under the name of one


def test_limits_hold_in_object_stores(served, tmp_path, monkeypatch):
    for name in s3files._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(turns, "MINUTE_S", 0.3)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "eodata").symlink_to(served)
    begun = Begun(6)
    with serve(FileServer(tmp_path / "store")) as store, limited(2, 6):
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        s3files._store.cache_clear()
        store.faults = {n: files.status(503) for n in range(0, 60, 3)} | dict.fromkeys(range(1, 60, 9), files.cut)
        turns._limits[-1]._begun = begun
        sizes = [(served / f"b{n}.tif").stat().st_size for n in range(2)]
        found = [Fetchable(f"s3://eodata/b{n}.tif", size, "", f"S2A/b{n}.tif") for n, size in enumerate(sizes)]
        assert bring(tmp_path / "c", "run", found, 2, QUIET).exit_code == 0
        sent = len(store.requests)
    for number in range(2):
        assert (tmp_path / "c/S2A" / f"b{number}.tif").read_bytes() == (served / f"b{number}.tif").read_bytes()
    assert len(begun.every) == sent >= 10, "no repetition is hidden in the library"
    begun.require(0.3, 6)


# Reading copies


def test_pixels_come_from_the_copy(tmp_path, monkeypatch):
    """JPEG 2000 in windows, whole and in parts, without any server."""
    monkeypatch.setattr(fetched, "_folders", {tmp_path: None})
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))
    pixels = np.random.default_rng(3).integers(1, 4000, (768, 768)).astype(np.uint16)
    jp2 = {"driver": "JP2OpenJPEG", "compress": None, "tiled": None, "QUALITY": "100", "REVERSIBLE": "YES"}
    original = write_raster(tmp_path / "a.jp2", pixels, 10, **jp2)
    ref = SENTINEL2.parse("B04")
    plain = scene_samples.scene(place={"shapes": {10: (768, 768)}})
    uri = "http://127.0.0.1:9/T/B04.jp2"  # nobody answers there
    asset = replace(plain.assets[ref.key], uri=uri, nbytes=original.stat().st_size, digest="etag:x")
    scene = replace(plain, assets={ref.key: asset})
    copy = tmp_path / copy_name(scene.id, ref.key, uri, asset.nbytes, asset.digest)
    copy.parent.mkdir()
    for content, passes in ((original.read_bytes(), True), (original.read_bytes()[:-9], False)):
        copy.write_bytes(content)
        for row, edge, wanted in ((0, 768, None), (256, 256, 256**2), (100, 37, 37**2)):
            window = Window(row, row, edge, edge)
            if passes:
                with open_band(scene, ref, pixels=wanted) as source:
                    read = source.read(1, window=window)
                np.testing.assert_array_equal(read, pixels[row : row + edge, row : row + edge])
                continue
            told = pytest.raises(SceneError, match=r"\(its copy .* bytes instead of \d+\): no connection")
            with told, open_band(scene, ref, pixels=wanted) as source:
                source.read(1, window=window)
