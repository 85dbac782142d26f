"""EOPF Zarr on web servers and in object stores: scenes and pixels of the same product here, whatever servers do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
import zarr

from hpckit import api
from hpckit.base.console import Console
from hpckit.base.reading import may_pass
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.stac import from_item, to_item
from hpckit.demo import write_layer
from hpckit.errors import PlanError, RunError, SceneError
from hpckit.inputs import fetched, httpfiles, remote, remote_documents, s3files, web
from hpckit.inputs.chunking import Chunking
from hpckit.production.driver import run_campaign
from hpckit.production.fetchable import read_notes
from hpckit.production.transfer import bring
from hpckit.sensors.model import Scene
from hpckit.sensors.stored import Sought
from hpckit.testing.eopf import GENERATIONS, write_eopf
from tests.eopf_cases import B04, EDGE, SPEC, chunk_files, only, pixels, same, windows
from tests.servers import files
from tests.servers.bucket import Bucket
from tests.servers.files import serve

pytestmark = pytest.mark.slow
PIXELS = {key: array for key, array in pixels().items() if key in ("B04@10m", "B08@10m", "B8A@20m", "SCL@20m")}


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Bucket]:
    """A server that gives files by http, and is an object store with the bucket `eopf`, too."""
    (tmp_path / "served/eopf").mkdir(parents=True)
    for name in s3files._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    with ExitStack() as stack:
        running = stack.enter_context(serve(Bucket(tmp_path / "served")))
        monkeypatch.setattr(sys.modules[__name__], "_running", stack)
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        s3files._store.cache_clear()
        remote_documents.forget()
        yield running


_running = ExitStack()


def stop_server() -> None:
    """From now on there is no network, and nothing is known from before."""
    _running.close()
    s3files._store.cache_clear()
    remote_documents.forget()


def put(server: Bucket, generation: str = "2.8", arrays: dict[str, np.ndarray] = PIXELS, **how: Any) -> Path:
    """A product in the bucket."""
    path = write_eopf(server.folder / "eopf", SPEC, arrays, generation, **{"chunk_m": 1300, **how})
    if generation == "3.0":
        zarr.consolidate_metadata(path, zarr_format=3)
    return path


def address(server: Bucket, path: Path, where: str) -> str:
    return f"{server.url}/eopf/{path.name}" if where == "http" else f"s3://eopf/{path.name}"


def scan_one(place: str | Path) -> Scene:
    report = catalogue.scan([place])
    assert not report.failures and len(report.scenes) == 1, report.failures
    return report.scenes[0]


def refused(place: str) -> tuple[str, bool]:
    report = catalogue.scan([place])
    assert not report.scenes
    (failure,) = report.failures
    assert "\n" not in failure.reason
    return failure.reason, failure.passes


@pytest.mark.parametrize("where", ["http", "s3"])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_scenes_and_pixels_are_those_of_the_product_here(server, where, generation):
    level = "L1C" if generation == "2025-01" else "L2A"
    arrays = {key: array for key, array in PIXELS.items() if level == "L2A" or not key.startswith("SCL")}
    path = write_eopf(server.folder / "eopf", replace(SPEC, level=level), arrays, generation, chunk_m=1300)
    if generation == "3.0":
        zarr.consolidate_metadata(path, zarr_format=3)
    here, there = only(path), scan_one(address(server, path, where))
    moved = {
        key: replace(asset, uri=f"zarr://{path}!/{asset.array}", digest="", chunks="")
        for key, asset in there.assets.items()
    }
    assert replace(there, href=str(path), assets=moved, content=here.content) == here
    assert replace(from_item(to_item(there)), content=there.content) == there
    for key in arrays:
        same(windows(there, key), windows(here, key))
        same(windows(there, key, edge=EDGE), windows(here, key, edge=EDGE))


def test_requests(server, tmp_path):
    path = put(server)
    scene = scan_one(address(server, path, "http"))
    assert len(server.requests) < 20 and sum(".zmetadata" in path for path, *_ in server.requests) <= 3
    server.requests.clear()
    windows(scene, "B04@10m", edge=EDGE)
    chunks = [path for path, *_ in server.requests if path.rpartition("/")[2][0].isdigit() and "b04" in path]
    assert len(chunks) == 9, "one request for each chunk that is wanted whole"
    server.requests.clear()
    windows(scene, "B04@10m", edge=EDGE)
    assert not [path for path, *_ in server.requests if "/.z" in path], "metadata are known"


def test_a_known_product_costs_one_request(server, tmp_path):
    place, known = address(server, put(server), "http"), tmp_path / "known.parquet"
    first = catalogue.scan([place], previous=known)
    catalogue.write(known, first.scenes)
    server.requests.clear()
    second = catalogue.scan([place], previous=known)
    assert second.scenes == first.scenes and second.reused == 1 and len(server.requests) == 1
    document = server.folder / "eopf" / first.scenes[0].href.rpartition("/")[2] / ".zmetadata"
    document.write_text(document.read_text() + "\n")
    third = catalogue.scan([place], previous=known)
    assert third.reused == 0 and third.scenes[0].content != first.scenes[0].content


def test_products_of_a_store_are_found_by_their_names(server):
    day = server.folder / f"eopf/{SPEC.sensed:%Y/%m/%d}"
    path = put(server)
    day.mkdir(parents=True)
    shutil.move(path, day / path.name)
    sought = Sought(SPEC.sensed.date(), SPEC.sensed.date(), {SPEC.tile}, "L2A")
    (scene,) = catalogue.scan(["s3://eopf"], sought=sought).scenes
    assert scene.href == f"s3://eopf/{SPEC.sensed:%Y/%m/%d}/{path.name}"
    assert not catalogue.scan(["s3://eopf"], sought=Sought(date(2020, 1, 1), date(2020, 12, 31))).scenes


@pytest.mark.parametrize("where", ["http", "s3"])
@pytest.mark.parametrize("generation", ["2.8", "3.0"])
def test_metadata_that_are_not_consolidated(server, where, generation):
    path = write_eopf(server.folder / "eopf", SPEC, PIXELS, generation, chunk_m=1300, consolidated=False)
    if where == "http":
        reason, passes = refused(address(server, path, where))
        assert "are not consolidated, and a web server gives no list" in reason and not passes and path.name in reason
    else:
        there, here = scan_one(address(server, path, where)), only(path)
        same(windows(there, "B04@10m"), windows(here, "B04@10m"))


FAULTS = {
    "403": (files.status(403), "HTTP status 403", True),
    "503": (files.status(503), "HTTP status 503", True),
    "cut": (files.cut, "broke off", True),
    "shorter": (files.shorter, "the server sends bytes", False),
}


def answers(name: str, fault: files.Fault) -> files.Fault:
    """A fault of the objects whose path holds a name."""
    return lambda handler, *rest: (fault if name in handler.path else files.give)(handler, *rest)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("generation", ["2.8", "3.0"])
def test_a_chunk_that_cannot_be_read_is_never_no_data(server, generation, fault):
    path = put(server, generation)
    scene = scan_one(address(server, path, "http"))
    answer, words, passes = FAULTS[fault]
    chunk = chunk_files(path)[-1].relative_to(path).as_posix()
    server.every = answers(chunk, answer)
    with pytest.raises(SceneError, match=words) as caught:
        windows(scene, "B04@10m")
    text = str(caught.value)
    assert scene.id in text and B04 in text and may_pass(caught.value) == passes and "\n" not in text
    server.every = None
    same(windows(scene, "B04@10m"), windows(only(path), "B04@10m"))


@pytest.mark.parametrize("where", ["http", "s3"])
@pytest.mark.parametrize("generation", ["2.8", "3.0"])
def test_a_chunk_that_is_lost_is_lost_here_and_there(server, generation, where):
    path = put(server, generation)
    scene = scan_one(address(server, path, where))
    lost = chunk_files(path)[-1]
    lost.unlink()
    with pytest.raises(SceneError, match=rf"chunk 2\.2 of {B04} is missing"):
        windows(scene, "B04@10m")
    for other in ("b08",):
        (path / B04.replace("b04", other) / lost.relative_to(path / B04)).unlink()
    if generation == "3.0":  # writers of version 3 leave chunks without data out
        same(windows(scene, "B04@10m"), windows(only(path), "B04@10m"))
        server.every = answers("b08", files.status(403))
        with pytest.raises(SceneError, match="cannot be read"):
            windows(scene, "B04@10m")
    else:
        with pytest.raises(SceneError, match="is missing"):
            windows(scene, "B04@10m")


@pytest.mark.parametrize("fault", ["403", "503", "cut"])
def test_metadata_that_cannot_be_read(server, fault):
    path = put(server)
    answer, words, passes = FAULTS[fault]
    server.every = answers(".zmetadata", answer)
    reason, passed = refused(address(server, path, "http"))
    assert words in reason and passed == passes and path.name in reason
    server.every = None
    assert scan_one(address(server, path, "http"))


def test_nothing_there(server):
    for place in (f"{server.url}/eopf/none.zarr", "s3://eopf/none.zarr"):
        reason, passes = refused(place)
        assert "no Zarr hierarchy is there" in reason and not passes


def test_damaged_metadata(server):
    path = put(server)
    (path / ".zmetadata").write_text('{"metadata"')
    reason, passes = refused(address(server, path, "http"))
    assert "metadata are damaged" in reason and not passes


@pytest.mark.parametrize("fault", ["truncated", "zeros"])
def test_damaged_chunks(server, fault):
    path = put(server)
    scene = scan_one(address(server, path, "http"))
    chunk = chunk_files(path)[4]
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-50] if fault == "truncated" else bytes(len(content)))
    with pytest.raises(SceneError, match="truncated or damaged"):
        windows(scene, "B04@10m")


def item_of(server: Bucket, path: Path, name: str, place: str) -> dict[str, Any]:
    """An item as the sample service of EOPF has it."""
    top = place.rpartition("/")[0]
    assets = {"B04_10m": f"{place}/{B04}", "product": place, "product_metadata": f"{place}/.zmetadata"}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": None,
        "properties": {
            "datetime": "2024-05-01T10:50:31Z",
            "eopf:datatake_id": SPEC.datatake,
            "platform": "sentinel-2a",
        },
        "links": [],
        "assets": {
            **{key: {"href": href, "type": "application/vnd+zarr"} for key, href in assets.items()},
            "zipped_product": {"href": f"{top}/x.zip", "type": "application/zip"},
        },
    }


@pytest.mark.parametrize("where", ["http", "s3", "here"])
def test_items_refer_to_products(server, tmp_path, where):
    path = put(server)
    place = str(path) if where == "here" else address(server, path, where)
    (tmp_path / "items").mkdir()
    file = tmp_path / "items" / "a.json"
    file.write_text(json.dumps(item_of(server, path, SPEC.name, place)))
    scene = scan_one(tmp_path / "items")
    assert scene.id == SPEC.name and scene.href == f"{file}#{SPEC.name}"
    same(windows(scene, "B04@10m"), windows(only(path), "B04@10m"))
    file.write_text(json.dumps(item_of(server, path, SPEC.name.replace("31UFU", "31UGU"), place)))
    (failure,) = catalogue.scan([file]).failures
    assert f"the product at {place} is {SPEC.name}" in failure.reason
    other = item_of(server, path, SPEC.name, place)
    other["assets"]["B08_10m"] = {"href": f"{place}2.zarr/b08", "type": "application/vnd+zarr"}
    file.write_text(json.dumps(other))
    (failure,) = catalogue.scan([file]).failures
    assert "of several products" in failure.reason


def test_items_of_the_service(shared_data, tmp_path):
    """Those of 2025 and 2026 name a place that is asked for, and nothing else."""
    found = sorted((shared_data / "eopf-t29unu" / "eopf-metadata-variants").glob("stac-eopf-sample-service-*.json"))
    assert len(found) == 2
    from hpckit.sensors.stac.files import hierarchy_of, items_in

    for file in found:
        for item in items_in(file):
            assert str(hierarchy_of(item, tmp_path)).endswith(f"{item['id']}.zarr")


CAMPAIGN = """\
name: eopf
aoi: [{box}]
period: 2024-05-01/2024-05-31
scenes: {{paths: "{place}", hosts: [127.0.0.1]}}
cube: {{bands: [B04@10m, B08@10m, SCL@20m]}}
{more}
"""
LARGE = {key: array for key, array in pixels(edge=1140).items() if key in PIXELS}
"""Two by two windows, and three by three chunks, of which the first three have no data."""
GRID = "grid: utm:5120@20"


class Made:
    """A product on a server, and campaigns that use it."""

    def __init__(self, server: Bucket, folder: Path, generation: str, where: str = "http") -> None:
        self.path = put(server, generation, LARGE, chunk_m=3800)
        self.place, self.folder, self.scene = address(server, self.path, where), folder, only(self.path)

    def campaign(self, name: str, place: str | Path = "", *, more: str = "", corner: bool = False) -> Path:
        """A campaign file in a folder of its own; of the whole tile, or of its south-eastern corner."""
        west, south, east, north = self.scene.footprint.bounds
        box = [east - 0.01, south + 0.004, east - 0.006, south + 0.006] if corner else [west, south, east, north]
        (self.folder / name).mkdir(exist_ok=True)
        file = self.folder / name / "campaign.yaml"
        file.write_text(CAMPAIGN.format(box=", ".join(map(str, box)), place=place or self.place, more=more))
        return file


def cube_of(campaign: Path, code: int = 0) -> dict[str, np.ndarray]:
    """All bands of the cube that a campaign makes."""
    loaded = load_campaign(campaign)
    assert run_campaign(loaded, Console(quiet=True), workers=1).exit_code == code
    found = [path for path in loaded.cube_path.glob("*/r*m/*") if path.name in ("B04", "B08", "SCL")]
    return {f"{path.parts[-2]}/{path.name}": np.asarray(zarr.open_array(path, mode="r")[:]) for path in found}


def alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys() and len(one) == 3 and all(array.any() for array in one.values())
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.fixture(autouse=True)
def _no_copies(monkeypatch) -> None:
    monkeypatch.setattr(fetched, "_folders", {})


@pytest.mark.parametrize(
    ("generation", "more", "where"), [("2.8", GRID, "http"), ("3.0", "", "s3")], ids=["grid", "granule"]
)
def test_fetched_chunks_suffice_without_a_network(server, tmp_path, generation, more, where):
    """Also those that writers of version 3 leave out, on the left."""
    made = Made(server, tmp_path, generation, where)
    here, there = (cube_of(made.campaign(name, place, more=more)) for name, place in (("a", made.path), ("b", "")))
    alike(here, there)
    campaign = made.campaign("c", more=more)
    planned = api.plan(campaign).estimate
    server.requests.clear()
    brought = api.fetch(campaign)
    assert (brought.exit_code, brought.failed) == (0, []) and brought.nbytes < planned.remote_bytes
    assert planned.remote_files == brought.files
    server.requests.clear()
    assert api.fetch(campaign).there == brought.files and len(server.requests) == 1, "nothing comes twice"
    stop_server()
    alike(cube_of(campaign), here)
    assert api.remove_fetched(campaign).files == brought.files
    assert not [path for path in (campaign.parent / "fetched").iterdir() if path.is_dir()]


def test_a_real_product_that_was_fetched(server, tmp_path, shared_data):
    (product,) = (shared_data / "eopf-t29unu").glob("*.zarr")
    shutil.copytree(product, server.folder / "eopf" / product.name)
    box = ", ".join(map(str, only(product).footprint.bounds))
    campaigns = {}
    for name, place in (("here", product), ("there", f"{server.url}/eopf/{product.name}")):
        (tmp_path / name).mkdir()
        campaigns[name] = tmp_path / name / "campaign.yaml"
        text = CAMPAIGN.format(box=box, place=place, more="").replace(
            "2024-05-01/2024-05-31", "2022-10-01/2022-10-31"
        )
        campaigns[name].write_text(text)
    assert api.fetch(campaigns["there"]).exit_code == 0
    stop_server()
    alike(cube_of(campaigns["there"]), cube_of(campaigns["here"]))


WITHOUT_CUBE = """\
reductions:
  - {name: fields, zones: zones.gpkg, id: id, bands: [B04, B08]}
store: {path: store.gpkg}
"""


def test_statistics_without_a_cube_need_only_the_chunks_of_their_zones(server, tmp_path):
    made = Made(server, tmp_path, "3.0")
    frame = made.scene.frame
    east, north = frame.ulx + 10600, frame.uly - 10700  # in the last window
    zones = [shapely.box(east + step, north - step, east + step + 180, north - step + 150) for step in (0, 90)]
    found = []
    for name, place in (("here", made.path), ("there", "")):
        campaign = made.campaign(name, place, more=WITHOUT_CUBE)
        campaign.write_text(campaign.read_text().replace("cube: {", "cube: {keep: false, extent: zones, "))
        write_layer(campaign.with_name("zones.gpkg"), zones, {"id": ["a", "b"]}, frame.epsg)
        if not place:
            assert (api.fetch(campaign).exit_code, chunks_in(campaign.parent)) == (0, {"2.2"})
            stop_server()
        assert api.run(campaign, workers=1).exit_code == 0
        rows = api.signatures(campaign, "all").sort_values(["band", "zone"], ignore_index=True)
        found.append(rows.select_dtypes(["number", "bool"]))
    assert len(found[0]) == 4 and found[0]["observed"].all()
    means = found[0].filter(regex="mean")
    assert means.shape == (4, 1) and np.isfinite(means).all(axis=None)
    pd.testing.assert_frame_equal(*found)


def chunks_in(folder: Path, band: str = "b04") -> set[str]:
    """Chunks of an array of which there are copies."""
    names = (path.name.partition(f"+{band}+")[2] for path in (folder / "fetched").glob(f"*/*+{band}+*"))
    return {name.removeprefix("c+").replace("+", ".") for name in names if name[0] in "c0123456789"}


def test_a_larger_area_fetches_only_new_chunks(server, tmp_path):
    made = Made(server, tmp_path, "2.8")
    small = api.fetch(made.campaign("c", corner=True))
    assert small.exit_code == 0 and chunks_in(tmp_path / "c") == {"2.2"}
    campaign = made.campaign("c")
    all_of_it = api.fetch(campaign)
    assert all_of_it.exit_code == 0 and all_of_it.there == small.files and len(chunks_in(tmp_path / "c")) == 9
    assert api.fetch(made.campaign("d", corner=True, more=GRID)).exit_code == 0
    assert "2.2" in chunks_in(tmp_path / "d") <= {"1.1", "1.2", "2.1", "2.2"}
    stop_server()
    alike(cube_of(campaign), cube_of(made.campaign("a", made.path)))


def test_a_chunk_that_was_not_fetched_is_never_no_data(server, tmp_path):
    made = Made(server, tmp_path, "3.0")
    campaign = made.campaign("c")
    assert api.fetch(campaign).exit_code == 0
    stop_server()
    (absent,) = (tmp_path / "c/fetched").glob("*/*+b04+c+1+0")
    assert absent.read_bytes() == fetched.ABSENT
    absent.unlink()
    assert absent.name in api.verify_fetched(campaign).failed[0].name
    cube_of(campaign, code=75)
    assert "b04 cannot be read: no connection" in str(api.status(campaign).status.failures)


def test_copies_that_are_damaged_are_named(server, tmp_path):
    made = Made(server, tmp_path, "2.8")
    campaign = made.campaign("c")
    assert api.fetch(campaign).exit_code == 0
    (copy,) = (tmp_path / "c/fetched").glob("*/*+b04+2.2")
    whole = copy.read_bytes()
    for content, words in (
        (whole[:-9], "bytes instead of"),
        (whole[:-9] + bytes(9), "another digest"),
        (b"", "0 bytes"),
    ):
        copy.write_bytes(content)
        (wrong,) = api.verify_fetched(campaign).failed
        assert words in wrong.reason and str(copy) in wrong.reason
        copy.write_bytes(whole)
        assert api.verify_fetched(campaign).exit_code == 0
    copy.write_bytes(whole[: len(whole) // 2])
    here = made.campaign("a", made.path)
    by_server = tmp_path / "b"
    shutil.copytree(tmp_path / "c", by_server)
    alike(cube_of(by_server / "campaign.yaml"), cube_of(here))
    stop_server()
    cube_of(campaign, code=75)
    assert f"no connection (its copy {copy} is damaged)" in str(api.status(campaign).status.failures)


SERVED = {
    "gone": (files.status(404), 1, "is missing on its server"),
    "403": (files.status(403), 1, "HTTP status 403"),
    "429": (files.status(429, Retry_After="1"), 75, "HTTP status 429"),
    "cut": (files.cut, 75, "broke off"),
    "shorter": (files.shorter, 1, "the server sends bytes"),
}


@pytest.mark.parametrize("fault", SERVED)
def test_chunks_that_do_not_come(server, tmp_path, fault):
    made = Made(server, tmp_path, "3.0")
    campaign = made.campaign("c", corner=True)
    answer, code, words = SERVED[fault]
    server.every = answers("b04/c/2/2", answer)
    brought = api.fetch(campaign)
    (failed,) = brought.failed
    assert brought.exit_code == code and words in failed.reason and "b04/c/2/2" in failed.reason
    assert not list((tmp_path / "c/fetched").glob("*/*+b04+c+2+2"))
    server.every = None
    assert api.fetch(campaign).files == 1


def test_chunks_that_are_damaged_on_their_server(server, tmp_path):
    made = Made(server, tmp_path, "2.8")
    chunk = made.path / B04 / "2.2"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-9])
    campaign = made.campaign("c", corner=True)
    (failed,) = api.fetch(campaign).failed
    assert "b04/2.2 has" in failed.reason and "its header says" in failed.reason and not failed.temporary
    chunk.write_bytes(whole)
    assert api.fetch(campaign).files == 1


@pytest.mark.parametrize("begun", ["half", "whole", "longer", "other"])
def test_a_chunk_that_was_begun_is_continued(server, tmp_path, begun):
    """As a kill leaves it; only what is missing comes, and nothing is mixed."""
    made = Made(server, tmp_path, "2.8")
    campaign = made.campaign("c", corner=True)
    assert api.fetch(campaign).exit_code == 0
    (copy,) = (tmp_path / "c/fetched").glob("*/*+b04+2.2")
    whole = copy.read_bytes()
    half = len(whole) // 2
    left = {"half": whole[:half], "whole": whole, "longer": whole + bytes(9), "other": bytes(half)}[begun]
    copy.with_name(f"{copy.name}.part").write_bytes(left)
    copy.unlink()
    brought = api.fetch(campaign)
    assert (brought.exit_code, brought.files) == (0, 1) and copy.read_bytes() == whole
    assert brought.nbytes == {"half": len(whole) - half, "whole": 0}.get(begun, brought.nbytes)
    assert not list(copy.parent.glob("*.part")) and api.verify_fetched(campaign).exit_code == 0


def test_a_product_that_is_replaced_is_not_mixed(server, tmp_path, monkeypatch):
    """Neither between the scan and the first chunk, nor after copies came: these are of the old version."""
    made = Made(server, tmp_path, "2.8")
    campaign = made.campaign("c", corner=True)
    document = made.path / ".zmetadata"

    def replaced_after_the_plan(*given: Any) -> Any:
        document.write_text(document.read_text() + "\n")
        return bring(*given)

    with monkeypatch.context() as changed:
        changed.setattr("hpckit.production.fetch.bring", replaced_after_the_plan)
        brought = api.fetch(campaign)
    assert brought.exit_code == 1 and not brought.files
    assert "was replaced since it was scanned" in brought.failed[0].reason
    first = api.fetch(campaign)
    assert first.exit_code == 0
    document.write_text(document.read_text() + "\n")
    second = api.fetch(campaign)
    assert (second.there, second.files) == (0, first.files)


def test_a_data_mover_asks_of_bands_that_are_not_fetched(server, tmp_path):
    """Of the mask in a corner, where no band that is fetched tells whether its chunks are lost or hold no data."""
    made = Made(server, tmp_path, "3.0")
    campaign = made.campaign("c", corner=True)
    listed, said = tmp_path / "list", tmp_path / "answers"
    listed.write_text(api.fetch_list(campaign, "curl"))
    curl = ["curl", "-sS", "--config", listed]
    said.write_bytes(subprocess.run(curl, capture_output=True, timeout=60, check=False).stdout)
    kept = said.read_text()
    said.write_text("".join(line for line in kept.splitlines(keepends=True) if ".asked" not in line))
    unclear = api.verify_fetched(campaign, answers=said).failed
    assert len(unclear) == 3 and all("nothing that was fetched tells" in item.reason for item in unclear)
    said.write_text(kept)
    assert api.verify_fetched(campaign, answers=said).failed == []
    assert not list((tmp_path / "c/fetched").glob("*/*.asked"))
    stop_server()
    assert all(array.any() for array in cube_of(campaign).values())


@pytest.mark.parametrize("generation", ["2.8", "3.0"])
def test_a_data_mover_that_has_only_curl(server, tmp_path, generation):
    made = Made(server, tmp_path, generation)
    campaign = made.campaign("c")
    listed, said = tmp_path / "list", tmp_path / "answers"
    listed.write_text(api.fetch_list(campaign, "curl"))
    assert all(line.split("\t")[2:] == ["", ""] for line in api.fetch_list(campaign, "tsv").splitlines()[1:])
    curl = ["curl", "-sS", "--config", listed]
    done = subprocess.run(curl, capture_output=True, timeout=60, check=generation == "2.8")
    said.write_bytes(done.stdout)
    if generation == "3.0":
        missing = api.verify_fetched(campaign)
        assert missing.exit_code == 1 and all("is missing" in item.reason for item in missing.failed)
    assert api.verify_fetched(campaign, answers=said).failed == []
    assert api.fetch_list(campaign, "curl") == ""
    (copy,) = (tmp_path / "c/fetched").glob("*/*+b04+*2?2")
    copy.write_bytes(copy.read_bytes()[:-9])
    (tmp_path / "c/fetched/fetched.jsonl").unlink()
    (wrong,) = api.verify_fetched(campaign, answers=said).failed
    assert str(copy) in wrong.reason and "its header says" in wrong.reason, "curl was stopped in the middle"
    listed.write_text(api.fetch_list(campaign, "curl"))
    said.write_bytes(subprocess.run(curl, capture_output=True, timeout=60, check=True).stdout)
    assert api.verify_fetched(campaign, answers=said).failed == []
    stop_server()
    alike(cube_of(campaign), cube_of(made.campaign("a", made.path)))


def test_a_chunk_that_a_data_mover_did_not_find(server, tmp_path):
    made = Made(server, tmp_path, "3.0")
    campaign = made.campaign("c")
    (made.path / B04 / "c/2/2").unlink()
    (tmp_path / "list").write_text(api.fetch_list(campaign, "curl"))
    curl = ["curl", "-sS", "--config", tmp_path / "list"]
    done = subprocess.run(curl, capture_output=True, timeout=60, check=False)
    (tmp_path / "answers").write_bytes(done.stdout)
    (lost,) = api.verify_fetched(campaign, answers=tmp_path / "answers").failed
    assert "b04/c/2/2 is missing on its server, and other bands have data there" in lost.reason
    (tmp_path / "answers").write_text("what?\n")
    with pytest.raises(RunError, match="line 1 is no answer"):
        api.verify_fetched(campaign, answers=tmp_path / "answers")


def test_jobs_fetch_chunks_within_a_quota(server, tmp_path):
    made = Made(server, tmp_path, "3.0")
    campaign = made.campaign("c")
    text = campaign.read_text()
    campaign.write_text(text.replace("hosts:", "fetch: {quota: 20MB}, hosts:"))
    alike(cube_of(campaign), cube_of(made.campaign("a", made.path)))
    copies = read_notes(tmp_path / "c/fetched")
    assert copies and all(not note.moved for note in copies.values())
    less = made.campaign("d")
    less.write_text(text.replace("hosts:", "fetch: {quota: 100kB}, hosts:"))
    with pytest.raises(PlanError, match=r"scenes\.fetch\.quota.*hold none"):
        run_campaign(load_campaign(less), Console(quiet=True), workers=1)


def test_catalogues_of_earlier_versions_are_scanned_again(server, tmp_path, monkeypatch):
    """And where that is not possible, one sentence says so."""
    made = Made(server, tmp_path, "2.8")
    campaign = made.campaign("c", corner=True)
    with monkeypatch.context() as earlier:
        earlier.setattr(Chunking, "text", "")
        api.plan(campaign)
        brought = api.fetch(campaign)
    (failed,) = brought.failed
    assert failed.reason.startswith(made.scene.id) and "an earlier version of hpckit scanned it" in failed.reason
    assert "scan it again" in failed.reason and brought.exit_code == 1 and not brought.files
    assert api.fetch(campaign).exit_code == 0
