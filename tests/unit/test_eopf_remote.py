"""EOPF Zarr on web servers and in object stores: scenes and pixels of the same product here, whatever servers do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from hpckit import api
from hpckit.base.console import Console
from hpckit.base.reading import may_pass
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.stac import from_item, to_item
from hpckit.errors import SceneError
from hpckit.inputs import httpfiles, remote, remote_documents, s3files, web
from hpckit.production.driver import run_campaign
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
    with serve(Bucket(tmp_path / "served")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        s3files._store.cache_clear()
        remote_documents.forget()
        yield running


def put(server: Bucket, generation: str = "2.8", arrays: dict[str, np.ndarray] = PIXELS, **how: Any) -> Path:
    """A product in the bucket."""
    path = write_eopf(server.folder / "eopf", SPEC, arrays, generation, chunk_m=1300, **how)
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
    moved = {key: replace(asset, uri=f"zarr://{path}!/{asset.array}") for key, asset in there.assets.items()}
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
cube: {{bands: [B04@10m, SCL@20m]}}
"""


def test_fetch_says_that_arrays_are_not_copied(server, tmp_path):
    path = put(server)
    scene = only(path)
    box = ", ".join(str(round(number, 4)) for number in scene.footprint.bounds)
    place = address(server, path, "http")
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN.format(box=box, place=place))
    brought = api.fetch(tmp_path / "campaign.yaml")
    (failed,) = brought.failed
    assert scene.id in failed.reason and "arrays of EOPF Zarr are not copied" in failed.reason
    campaign = load_campaign(tmp_path / "campaign.yaml")
    assert run_campaign(campaign, Console(quiet=True), workers=1).exit_code == 0
    assert not api.fetch(tmp_path / "campaign.yaml").failed, "what is ingested needs no copy"
