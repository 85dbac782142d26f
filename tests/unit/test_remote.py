"""Files on servers: the same pixels as on this machine, whatever the server does on the way."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from hpckit.base.reading import may_pass
from hpckit.errors import SceneError
from hpckit.inputs import httpfiles, remote, s3files, scratch, web
from hpckit.inputs.opening import open_raster
from hpckit.inputs.remote import RemoteFile, opened
from hpckit.inputs.scratch import Scratch
from hpckit.inputs.transfer import AbsentError, ForbiddenError, TransferError, without_secrets
from hpckit.inputs.uri import is_remote, name_of
from tests.servers import files
from tests.servers.files import FileServer, serve
from tests.stac_samples import write_raster

pytestmark = pytest.mark.slow

SIZE = 200_000


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path) -> Iterator[None]:
    """Loopback may be asked; nobody waits long; nothing is known."""
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))
    httpfiles._client.cache_clear()
    yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A Cloud-Optimised GeoTIFF, JPEG 2000 with nine tiles, and plain bytes."""
    path = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(5)
    pixels = random.integers(0, 4000, (768, 768)).astype(np.uint16)
    cog = {"driver": "COG", "blocksize": 256, "tiled": None, "blockxsize": None, "blockysize": None}
    write_raster(path / "a.tif", pixels, 10, **cog)
    jp2 = {"driver": "JP2OpenJPEG", "compress": None, "tiled": None, "QUALITY": "100", "REVERSIBLE": "YES"}
    write_raster(path / "a.jp2", pixels, 10, **jp2)
    (path / "bytes").write_bytes(random.bytes(SIZE))
    return path


@pytest.fixture
def server(folder) -> Iterator[FileServer]:
    with serve(FileServer(folder)) as running:
        yield running


def pixels(uri: str, row: int = 256, column: int = 256, edge: int = 256) -> np.ndarray:
    with open_raster(uri, of="S2A") as source:
        return source.read(1, window=Window(column, row, edge, edge))


@given(
    ranges=st.lists(st.tuples(st.integers(0, SIZE + 5), st.integers(1, 40_000)), min_size=1, max_size=6),
    at_once=st.booleans(),
)
def test_any_ranges_are_those_of_the_file(folder, ranges, at_once):
    content = (folder / "bytes").read_bytes()
    with serve(FileServer(folder)) as running:
        file = RemoteFile(f"{running.url}/bytes")
        spans = [(start, min(start + length, SIZE)) for start, length in ranges if start < SIZE]
        read = file.read_ranges(spans) if at_once and spans else [file.read(*span) for span in spans]
        assert read == [content[start:stop] for start, stop in spans]
        assert file.size == SIZE and file.requests == len(running.requests) and file.nbytes == running.nbytes
        assert file.read(SIZE, SIZE + 10) == b""


@pytest.mark.parametrize("name", ["a.tif", "a.jp2"])
def test_windows_are_those_of_the_file_by_few_requests(server, folder, name):
    for row, column in ((256, 256), (512, 0), (0, 512)):
        wanted = pixels(str(folder / name), row, column)
        np.testing.assert_array_equal(pixels(f"{server.url}/{name}?sig=x", row, column), wanted)
    sent = len(server.requests)
    assert sent <= 1 + 3 + (0 if name == "a.tif" else 8), server.requests
    pixels(f"{server.url}/{name}?sig=x")
    assert len(server.requests) - sent == 1, "what was read before the pixels is known"


PASSING = {
    "429": files.status(429),
    "429, later": files.status(429, Retry_After="1"),
    "503": files.status(503),
    "500": files.status(500),
    "cut": files.cut,
    "hangs up": files.hang_up,
}
LASTING = {
    "403": (files.status(403), ForbiddenError, "HTTP status 403"),
    "401": (files.status(401), ForbiddenError, "HTTP status 401"),
    "404": (files.status(404), AbsentError, "HTTP status 404"),
    "418": (files.status(418), None, "HTTP status 418"),
    "loop": (files.status(302, Location="/a.tif"), None, "redirects in a row"),
    "to a file": (files.status(302, Location="file:///etc/passwd"), None, "sends to file address"),
    "shorter": (files.shorter, None, "the server sends bytes"),
    "another": (files.another, None, "the server sends bytes"),
}


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("name", ["a.tif", "a.jp2"])
def test_what_passes_is_not_noticed(server, folder, name, fault, number):
    server.faults[number] = PASSING[fault]
    np.testing.assert_array_equal(pixels(f"{server.url}/{name}"), pixels(str(folder / name)))


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("name", ["a.tif", "a.jp2"])
def test_what_does_not_pass_is_named_and_never_becomes_pixels(server, name, fault, number):
    answer, kind, words = LASTING[fault]
    server.faults = dict.fromkeys(range(number, 60), answer)
    if name == "a.tif" and number == 2:
        pixels(f"{server.url}/{name}")
        return  # two requests were enough
    with pytest.raises(SceneError) as caught:
        pixels(f"{server.url}/{name}?sig=secret")
    text = str(caught.value)
    assert words in text and f"{server.url}/{name}" in text and "secret" not in text and "\n" not in text
    assert kind is None or isinstance(caught.value.__cause__, kind)
    server.faults = {}
    assert pixels(f"{server.url}/{name}").any(), "the next try finds what is right by then"


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("number", [0, 1])
def test_what_stays_may_pass_later(server, fault, number):
    server.faults = dict.fromkeys(range(number, 60), PASSING[fault])
    with pytest.raises(SceneError) as caught:
        pixels(f"{server.url}/a.tif")
    assert may_pass(caught.value) and isinstance(caught.value.__cause__, TransferError)
    assert len(server.requests) <= number + web.TRIES


def test_a_server_that_is_gone_is_not_asked_again_and_again(folder):
    with serve(FileServer(folder)) as running:
        url = running.url
    start = time.monotonic()
    with pytest.raises(SceneError, match="no connection") as caught:
        pixels(f"{url}/a.tif")
    assert may_pass(caught.value) and time.monotonic() - start < 2


def test_a_firewall_that_says_nothing_costs_one_time_out(monkeypatch):
    monkeypatch.setattr(httpfiles, "_CONNECT_S", 3)
    with socket.socket() as deaf, ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(2):  # its queue is full, and further packets are dropped
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        start = time.monotonic()
        with pytest.raises(SceneError, match="no connection in time") as caught:
            pixels(f"http://127.0.0.1:{deaf.getsockname()[1]}/a.tif")
    assert may_pass(caught.value) and time.monotonic() - start < 6, "less than two of them"


def test_slow_bytes(server, monkeypatch):
    monkeypatch.setattr(httpfiles, "_SILENCE_S", 0.2)
    monkeypatch.setattr(httpfiles, "_SLOWEST", 10**6)
    monkeypatch.setattr(httpfiles, "TRIES", 2)
    server.every = files.slow
    with pytest.raises(SceneError, match="bytes a second") as caught:
        pixels(f"{server.url}/a.tif")
    assert may_pass(caught.value)


def test_a_server_that_knows_no_ranges(server, folder, monkeypatch):
    server.every = files.whole
    np.testing.assert_array_equal(pixels(f"{server.url}/a.tif"), pixels(str(folder / "a.tif")))
    monkeypatch.setattr(httpfiles, "_LONGEST_ANSWER", 10**4)
    with pytest.raises(SceneError, match="knows no ranges"):
        pixels(f"{server.url}/a.tif?again")


def test_the_server_says_when(server, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 60.0)
    monkeypatch.setattr(httpfiles.time, "sleep", slept.append)
    server.faults = {0: files.status(429, Retry_After="7"), 1: files.status(503)}
    assert opened(f"{server.url}/bytes").size == SIZE
    assert [pause for pause in slept if pause] == [7.0, 1.0]


def test_private_addresses_only_where_somebody_said_so(server, monkeypatch):
    monkeypatch.setattr(httpfiles, "_private", set())
    httpfiles._is_private.cache_clear()
    for host in ("127.0.0.1", "localhost", "[::1]", "10.0.0.7", "169.254.169.254"):
        with pytest.raises(SceneError, match="no public address") as caught:
            opened(f"http://{host}:{server.url.rpartition(':')[2]}/bytes")
        assert host.strip("[]") in str(caught.value.hint)
    assert not server.requests
    httpfiles.permit(["127.0.0.1"])
    server.faults[0] = files.status(302, Location=server.url.replace("127.0.0.1", "localhost") + "/bytes")
    with pytest.raises(SceneError, match="localhost is no public address"):
        opened(f"{server.url}/bytes")


def test_names_and_passwords_come_from_netrc(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password geheim\n")
    (tmp_path / ".netrc").chmod(0o600)
    opened(f"{server.url}/bytes")
    assert server.headers[0]["Authorization"].startswith("Basic ")
    server.every = files.status(403)
    with pytest.raises(ForbiddenError) as caught:
        opened(f"{server.url}/a.tif")
    assert "geheim" not in repr(caught.value)
    assert without_secrets("https://me:geheim@example.org/a%20b.tif?sig=x#y") == "https://example.org/a%20b.tif"


def test_a_file_that_is_replaced_while_it_is_read(tmp_path):
    random = np.random.default_rng(7)
    write_raster(tmp_path / "a.tif", random.integers(1, 4000, (768, 768)).astype(np.uint16), 10)
    with serve(FileServer(tmp_path)) as running:
        uri = f"{running.url}/a.tif"
        with open_raster(uri) as source:
            source.read(1, window=Window(0, 0, 256, 256))
        (tmp_path / "a.tif").unlink()
        write_raster(tmp_path / "a.tif", random.integers(1, 4000, (768, 768)).astype(np.uint16), 10)
        with pytest.raises(SceneError, match=r"a\.tif was replaced since it was scanned"), open_raster(uri) as source:
            assert source.read(1, window=Window(512, 512, 256, 256)).any()
        assert opened(uri, is_new=True).tag


@pytest.mark.parametrize(("library", "uri"), [("httpx", "https://example.org/a.tif"), ("obstore", "s3://b/a.tif")])
def test_a_library_that_is_not_there_is_named(monkeypatch, library, uri):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SceneError, match=f"need the library {library}") as caught:
        opened(uri)
    assert "remote" in str(caught.value.hint)


@given(name=st.text("ab./?#%&é ", min_size=1, max_size=12))
def test_names(name):
    assert not is_remote(f"/data/{name}") and not is_remote(f"zip:///x.zip!/{name}")
    assert is_remote(f"https://h/{name}") and is_remote(f"S3://bucket/{name}")
    assert name_of("https://h/x/B04.tif?a=/b.jp2#c") == "B04.tif" == name_of("s3://b/x/B04.tif")


# Whole files


def bring(uri: str, folder: Path, nbytes: int | None, digest: str) -> str:
    return str(Scratch(folder).bring(uri, nbytes, digest))


def test_whole_files_are_brought_once_and_compared(server, folder, tmp_path):
    content = (folder / "bytes").read_bytes()
    right = f"sha256:{hashlib.sha256(content).hexdigest()}"
    place, uri = Scratch(tmp_path / "s"), f"{server.url}/bytes"
    path = place.bring(uri, SIZE, right)
    assert path.read_bytes() == content and place.bring(uri, SIZE, right) == path
    assert len(server.requests) == 1
    with pytest.raises(SceneError, match="sha256 digest"):
        place.bring(uri, SIZE, f"sha256:{'0' * 64}")
    with pytest.raises(SceneError, match="was replaced"):
        place.bring(uri, SIZE - 1, right)
    assert {p.suffix for p in (tmp_path / "s").iterdir()} <= {"", ".lock", ".part"}
    assert (tmp_path / "s").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("there", [0, 1, SIZE // 2, SIZE])
def test_a_transfer_goes_on_where_it_ended(server, folder, tmp_path, there, monkeypatch):
    monkeypatch.setattr(scratch, "_REQUEST", SIZE // 3)
    content, uri, place = (folder / "bytes").read_bytes(), f"{server.url}/bytes", Scratch(tmp_path / "s")
    server.faults = {n: files.status(403) for n in range(2, 9)}
    with pytest.raises(ForbiddenError):
        place.bring(uri, SIZE, "")
    (partial,) = (tmp_path / "s").glob("*.part")
    assert content.startswith(partial.read_bytes()) and partial.stat().st_size == SIZE // 3 * 2
    partial.write_bytes(content[:there])
    server.faults, before = {}, len(server.requests)
    assert place.bring(uri, SIZE, "").read_bytes() == content
    assert sum(stop - start for _, start, stop in server.requests[before:]) == SIZE - there


def test_processes_that_want_a_file_at_once_bring_it_once(server, tmp_path):
    server.delay_s = 0.3
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.starmap(bring, [(f"{server.url}/bytes", tmp_path / "s", SIZE, "")] * 4)
    assert len(set(found)) == 1 and len(server.requests) == 1


def test_files_used_last_are_kept(server, folder, tmp_path):
    place = Scratch(tmp_path / "s", most_bytes=2 * SIZE + 10)
    paths = []
    for number in range(2):
        paths.append(place.bring(f"{server.url}/bytes?{number}", SIZE, ""))
        os.utime(paths[-1], (number, number))
    place.bring(f"{server.url}/bytes?0", SIZE, "")
    newest = place.bring(f"{server.url}/bytes?2", SIZE, "")
    assert paths[0].exists() and not paths[1].exists() and newest.exists()


def test_a_scratch_of_somebody_else_is_refused(server, tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    monkeypatch.setattr(scratch.os, "getuid", lambda: 4711)
    with pytest.raises(SceneError, match="belongs to somebody else"):
        Scratch(tmp_path / "s").bring(f"{server.url}/bytes", SIZE, "")


# Object stores: the web server under the name of one


@pytest.fixture
def bucket(folder, monkeypatch, tmp_path) -> Iterator[FileServer]:
    """A bucket whose endpoint is a web server that misbehaves as asked."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "eodata").symlink_to(folder)
    with serve(FileServer(tmp_path / "store")) as running:
        for name in s3files._VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        s3files._store.cache_clear()
        yield running


@pytest.mark.parametrize("how", ["none", "environment", "file", "profile"])
def test_credentials_come_from_the_usual_places(bucket, folder, tmp_path, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    elif how != "none":
        section = "default" if how == "file" else "lab"
        (tmp_path / ".aws").mkdir()
        text = f"[{section}]\naws_access_key_id = KEY\naws_secret_access_key = geheim\n"
        (tmp_path / ".aws" / "credentials").write_text(text)
        if how == "profile":
            monkeypatch.setenv("AWS_PROFILE", "lab")
    assert RemoteFile("s3://eodata/bytes").read(0, 100) == (folder / "bytes").read_bytes()[:100]
    signature = bucket.headers[0].get("authorization", bucket.headers[0].get("Authorization", ""))
    assert ("Credential=KEY/" in signature) == (how != "none") and "geheim" not in signature


@pytest.mark.parametrize(
    ("fault", "kind", "passes"),
    [(403, ForbiddenError, True), (404, AbsentError, False), (400, TransferError, True)],
)
def test_errors_of_a_store(bucket, fault, kind, passes):
    bucket.every = files.status(fault)
    with pytest.raises(SceneError) as caught:
        pixels("s3://eodata/a.tif")
    assert type(caught.value.__cause__) is kind and may_pass(caught.value) == passes
    assert "s3://eodata/a.tif" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [files.status(503), files.cut, files.hang_up], ids=["503", "cut", "hangs up"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_store_is_asked_again(bucket, folder, fault, number):
    bucket.faults[number] = fault
    np.testing.assert_array_equal(pixels("s3://eodata/a.tif"), pixels(str(folder / "a.tif")))


def test_errno_says_whether_it_passes():
    assert AbsentError("x").errno == errno.ENOENT and ForbiddenError("x").errno == errno.EACCES
    assert isinstance(AbsentError("x"), FileNotFoundError) and str(ForbiddenError("y")) == "y"
