"""Campaigns over products on web servers and in an object store: the results of the same files on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import obstore
import pandas as pd
import pytest
from obstore.store import S3Store

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.cubes.read import read_plane
from hpckit.inputs import httpfiles, s3files, web
from hpckit.production.driver import run_campaign
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests.servers.files import FileServer, serve, status
from tests.small_campaign import pixels_of, results, same, write_zones, zones
from tests.stac_samples import SENSED, write_item

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)
CAMPAIGN = """\
name: items
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {paths: [scenes], hosts: [127.0.0.1]}
cube: {bands: [red, SCL]}
reductions:
  - {name: fields, zones: zones.gpkg, id: name, bands: [red, SCL]}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of two dates with their files."""
    folder = tmp_path_factory.mktemp("made")
    for number in range(2):
        pixels = {key: pixels_of(number)[key] for key in ("B04@10m", "SCL@20m")}
        write_item(folder / "scenes", pixels, "stactools", sensed=SENSED + timedelta(days=5 * number))
    write_zones(folder / "zones.gpkg", zones(8))
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    return folder


@pytest.fixture(scope="module")
def expected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("here")
    return run(shutil.copytree(made, folder / "c"))


def run(folder: Path, *, code: int = 0) -> pd.DataFrame:
    campaign = load_campaign(folder / "campaign.yaml")
    assert run_campaign(campaign, QUIET, workers=1).exit_code == code
    return results(campaign)


def moved(made: Path, folder: Path, base: str) -> tuple[Path, Path]:
    """A campaign whose items refer to a server, and the folder of the files there."""
    campaign, served = folder / "campaign", folder / "served"
    shutil.copytree(made, campaign)
    for path in (campaign / "scenes").glob("*/*.json"):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            file = path.parent / asset["href"]
            (served / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.move(file, served / path.parent.name / file.name)
            asset["href"] = f"{base}/{path.parent.name}/{file.name}"
        path.write_text(json.dumps(item))
    return campaign, served


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", set())
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))


def test_a_web_server_that_fails_now_and_then(made, expected, tmp_path):
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        server.faults = {number: status(429 if number % 2 else 503) for number in range(3, 60, 4)}
        campaign, _ = moved(made, tmp_path, server.url)
        same(run(campaign), expected)
        whole = sum(path.stat().st_size for path in server.folder.rglob("*.tif"))
        assert server.nbytes < 2 * whole, "of a granule that is wanted whole nothing is read several times"


def test_a_file_that_is_gone_costs_its_date_and_comes_back(made, expected, tmp_path):
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        campaign, served = moved(made, tmp_path, server.url)
        api.plan(campaign / "campaign.yaml")
        victim = sorted(served.glob("*/red.tif"))[0]
        victim.rename(tmp_path / "kept.tif")
        run(campaign, code=1)
        (tmp_path / "kept.tif").rename(victim)
        same(run(campaign), expected)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Endpoint of an S3 server (moto) on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(__file__).parents[2] / ".cache" / "s3" / "bin" / "moto_server"
    if not program.exists():
        pytest.skip("no S3 server: tests/services.sh installs one")
    command = [str(program), "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
        server.terminate()


@pytest.fixture
def bucket(s3: str, monkeypatch, tmp_path) -> str:
    """Name of a new bucket that the environment gives access to."""
    for name in s3files._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    given = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "eu-central-1", "ENDPOINT_URL": s3}
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3files._store.cache_clear()
    name = f"eodata-{tmp_path.name.replace('_', '-')[:40].lower()}"
    urllib.request.urlopen(urllib.request.Request(f"{s3}/{name}", method="PUT", headers=SIGNED), timeout=10).close()
    return name


SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
"""The server wants a signature, and does not check it."""


def upload(bucket: str, folder: Path) -> None:
    store = S3Store(
        bucket,
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        access_key_id="key",
        secret_access_key="secret",
        region="eu-central-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    for path in folder.rglob("*"):
        if path.is_file():
            obstore.put(store, path.relative_to(folder).as_posix(), path.read_bytes())


def test_an_object_store(made, expected, tmp_path, s3, bucket):
    campaign, served = moved(made, tmp_path, f"s3://{bucket}")
    upload(bucket, served)
    shutil.rmtree(served)
    same(run(campaign), expected)


@pytest.mark.realdata
@pytest.mark.parametrize("where", ["s3", "http"])
def test_the_real_product_from_anywhere_is_one_cube(shared_data, tmp_path, s3, bucket, where, monkeypatch):
    """T29UNU as SAFE folder and as item whose JPEG 2000 files lie on a server."""
    (safe,) = (shared_data / "s2-l2a-safe-t29unu-2022").glob("*.SAFE")
    (scene,) = catalogue.scan([safe]).scenes
    keys = [key for key in ("B04@60m", "B8A@60m", "SCL@60m") if key in scene.assets]
    assert len(keys) == 3
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    with serve(FileServer(tmp_path / "served")) as server:
        base = f"s3://{bucket}" if where == "s3" else server.url
        (tmp_path / "served").mkdir()
        for key in keys:
            shutil.copy(scene.assets[key].file, tmp_path / "served" / scene.assets[key].name)
        upload(bucket, tmp_path / "served")
        item = {
            "type": "Feature",
            "id": scene.id,
            "collection": "sentinel-2-l2a",
            "geometry": None,
            "properties": {
                "datetime": scene.sensed.isoformat(),
                "platform": "sentinel-2a",
                "grid:code": f"MGRS-{scene.tile}",
                "eopf:datatake_id": scene.datatake,
                "eopf:datastrip_id": scene.part,
                "processing:version": scene.baseline,
            },
            "assets": {
                key.replace("@", "_"): {
                    "href": f"{base}/{scene.assets[key].name}",
                    **({} if key.startswith("SCL") else {"raster:scale": 1e-4, "raster:offset": -0.1}),
                }
                for key in keys
            },
        }
        planes = []
        for place, content in (("safe", None), ("item", item)):
            folder = tmp_path / place
            folder.mkdir()
            if content is not None:
                (folder / "item.json").write_text(json.dumps(content))
            (folder / "campaign.yaml").write_text(
                f"name: real\naoi: '-10,51,-8,53'\nperiod: 2022-10-01/2022-10-31\n"
                f"scenes: {{paths: [{safe if content is None else 'item.json'}], hosts: [127.0.0.1]}}\n"
                "cube: {bands: [B04@60m, B8A@60m, SCL@60m], extent: granule}\n"
            )
            campaign = load_campaign(folder / "campaign.yaml")
            assert run_campaign(campaign, QUIET, workers=1).exit_code == 0
            planes.append([read_plane(campaign.cube_path, scene.tile, SENTINEL2.parse(key), 0) for key in keys])
        for first, second in zip(*planes, strict=True):
            assert first.any()
            np.testing.assert_array_equal(first, second)
