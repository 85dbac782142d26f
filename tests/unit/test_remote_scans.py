"""Scans of items whose images are on servers: what is known counts only where nothing else could be found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpckit.catalogue import catalogue
from hpckit.catalogue.catalogue import ScanReport
from hpckit.inputs import fetched, httpfiles, remote, web
from hpckit.inputs.fetched import copy_name
from hpckit.sensors.stac.options import ItemOptions
from tests.servers import files
from tests.servers.files import FileServer, serve
from tests.stac_samples import write_item, write_raster


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setattr(fetched, "_folders", {tmp_path / "copies": None})


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1100, 4000, (256, 256)).astype(np.uint16)


@pytest.fixture
def server(tmp_path) -> Iterator[FileServer]:
    """A server with the image of an item in the folder `items`."""
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as running:
        path = write_item(tmp_path / "items", {"B04@10m": pixels(1)}, "data-space")
        item = json.loads(path.read_text())
        (asset,) = item["assets"].values()
        shutil.move(path.parent / asset["href"], running.folder / "B04.tif")
        asset["href"] = f"{running.url}/B04.tif"
        path.write_text(json.dumps(item))
        yield running


def scan(folder: Path, **items: float) -> ScanReport:
    """Scan with what is known, and remember it as a campaign does."""
    known, options = folder / "known.parquet", ItemOptions(**items)
    report = catalogue.scan([folder / "items"], previous=known, items=options)
    if report.scenes:
        catalogue.write(known, report.scenes, options)
    return report


def test_a_server_is_asked_each_time_and_known_scenes_count_if_it_does_not_answer(server, tmp_path):
    first = scan(tmp_path).scenes
    sent = len(server.requests)
    assert scan(tmp_path).scenes == first and len(server.requests) > sent
    server.every = files.status(503)
    assert scan(tmp_path).scenes == first
    changed = scan(tmp_path, offset=0)
    assert not changed.scenes and len(changed.unread) == 1, "other options give another scene"
    (path,) = (tmp_path / "items").glob("*/*.json")
    path.write_text(path.read_text() + "\n")
    assert not scan(tmp_path).scenes, "the item may be another one"
    server.every = None
    assert scan(tmp_path).scenes == first


def test_what_a_server_replaced_is_found(server, tmp_path):
    (first,) = scan(tmp_path).scenes
    (server.folder / "B04.tif").unlink()
    write_raster(server.folder / "B04.tif", pixels(2), 10)
    (second,) = scan(tmp_path).scenes
    assert second.content != first.content


def test_a_server_that_lost_a_file_is_believed(server, tmp_path):
    assert scan(tmp_path).scenes
    server.every = files.status(404)
    assert not scan(tmp_path).scenes


def test_servers_are_not_asked_for_what_was_fetched(server, tmp_path):
    (first,) = scan(tmp_path).scenes
    ((key, asset),) = first.assets.items()
    copy = tmp_path / "copies" / copy_name(first.id, key, asset.uri, asset.nbytes, asset.digest)
    copy.parent.mkdir(parents=True)
    shutil.copy(server.folder / "B04.tif", copy)
    sent = len(server.requests)
    assert scan(tmp_path).scenes == [first] and len(server.requests) == sent
    (changed,) = scan(tmp_path, offset=0).scenes
    assert changed.assets[key].offset == 0 and len(server.requests) > sent
