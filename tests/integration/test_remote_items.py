"""Campaigns over products on web servers and in an object store: the results of the same files on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.inputs import httpfiles, web
from hpckit.production.driver import run_campaign
from tests.servers import moto
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
    """Endpoint of an S3 server on loopback."""
    with moto.running() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str, monkeypatch, tmp_path) -> str:
    """Name of a new bucket that the environment gives access to."""
    moto.give_access(monkeypatch, s3)
    name = f"eodata-{tmp_path.name.replace('_', '-')[:40].lower()}"
    moto.make_bucket(s3, name)
    return name


def test_an_object_store(made, expected, tmp_path, s3, bucket):
    campaign, served = moved(made, tmp_path, f"s3://{bucket}")
    moto.upload(s3, bucket, served)
    shutil.rmtree(served)
    same(run(campaign), expected)
