"""Collections that jobs fill: ingested once, in windows that are asked for, and with the pixels of a whole cube."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.manifest import Manifest
from hpckit.production.driver import plan_campaign
from tests import graph_examples, small_campaign
from tests.integration.openeo_samples import door_settings, openeo_door
from tests.integration.test_openeo_jobs import SMALL, Client, graph, lab, read
from tests.servers.openeo_clients import require_clients, run_client
from tests.servers.slurm import SlurmCluster

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]

TWO_JOBS = """
import json, sys, time
import openeo

connection = openeo.connect(sys.argv[1]).authenticate_basic("anna", "annas password")
extents = {"small": json.loads(sys.argv[2]), "whole": None}
jobs = {}
for name, extent in extents.items():
    cube = connection.load_collection("S2", bands=["B04", "B08"], spatial_extent=extent)
    scl = connection.load_collection("S2", bands=["SCL"], spatial_extent=extent).band("SCL")
    median = cube.mask(scl >= 8).reduce_dimension(dimension="t", reducer="median")
    jobs[name] = median.create_job(out_format="GTiff", title=name)
for job in jobs.values():
    job.start()
for name, job in jobs.items():
    end = time.monotonic() + 300
    while job.status() not in ("finished", "error", "canceled") and time.monotonic() < end:
        time.sleep(1)
    assert job.status() == "finished", [entry["message"] for entry in job.logs()]
    (asset,) = job.get_results().get_assets()
    asset.download(f"{name}.tif")
"""
"""openEO's Python client starts two jobs at once, and reads their results."""
EAST = {"west": 604000, "south": 5690000, "east": 605000, "north": 5691000, "crs": 32631}


@pytest.fixture(autouse=True)
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of this machine of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def planned(made: Path, tmp_path: Path) -> Path:
    """The small campaign, which was planned and never ingested."""
    campaign = small_campaign.copy(made, tmp_path / "planned")
    plan_campaign(load_campaign(campaign), Console(quiet=True))
    return campaign


@contextmanager
def door(folder: Path, planned: Path, quota: Any = "1GB", **openeo: Any) -> Iterator[Client]:
    asked = {"on_demand": {"S2": {"quota": quota}}, **openeo}
    with openeo_door(door_settings(folder, {"S2": planned}, openeo=asked)) as url:
        yield Client(url)


def cube(folder: Path) -> Path:
    (found,) = (folder / "state" / "openeo" / "cubes" / "S2").glob("*/cube.zarr")
    return found


def written(folder: Path) -> Counter[str]:
    """How often each shard was written."""
    lines = [line for path in (cube(folder) / ".manifest").rglob("*.jsonl") for line in path.read_text().splitlines()]
    return Counter(line.split('"')[3] for line in lines)


def result(anna: Client, job: str, folder: Path) -> np.ndarray:
    (asset,) = anna.results(job)["assets"].values()
    return read(asset["href"], folder)


def part(whole: np.ndarray, box: dict[str, int]) -> np.ndarray:
    top, left = (5_700_000 - box["north"]) // 10, (box["west"] - 600_000) // 10
    return whole[:, top : top + 100, left : left + 100]


def test_jobs_fill_the_cube_once_and_within_its_quota(planned: Path, ingested: Path, tmp_path: Path):
    require_clients()
    expected = graph_examples.expected_median(ingested)
    with door(tmp_path, planned) as anna:
        assert "that jobs fill" in anna.http.get("/collections/S2").json()["description"]
        at_once = anna.http.post("/result", json={"process": {"process_graph": graph(spatial_extent=EAST)}})
        assert at_once.status_code == 200, at_once.text
        (tmp_path / "east.tif").write_bytes(at_once.content)
        with rasterio.open(tmp_path / "east.tif") as source:
            np.testing.assert_allclose(source.read(), part(expected, EAST), atol=1e-6)
        first = written(tmp_path)
        run_client(TWO_JOBS, anna.http.base_url, json.dumps(SMALL), folder=tmp_path)
        for name, wanted in (("whole", expected), ("small", part(expected, SMALL))):
            with rasterio.open(tmp_path / f"{name}.tif") as source:
                np.testing.assert_allclose(source.read(), wanted, atol=1e-6)
        shards = written(tmp_path)
        assert set(shards.values()) == {1}, "two jobs at once decode no window twice"
        assert 0 < len(first) < len(shards) and first.keys() <= shards.keys(), "only what is asked for is decoded"
        later = anna.create(graph(spatial_extent=SMALL))
        anna.start(later)
        assert anna.wait(later) == "finished", anna.log(later)
        assert written(tmp_path) == shards, "later jobs find it"
    used = sum(record.nbytes for record in Manifest.load(cube(tmp_path)).records())
    _quotas_refuse_or_evict(planned, expected, tmp_path, used)


def _quotas_refuse_or_evict(planned: Path, expected: np.ndarray, folder: Path, used: int) -> None:
    other = graph_examples.load("S2", bands=["B11"])
    wanting = graph_examples.ending(
        {
            "load": other,
            "mean": graph_examples.node(
                "reduce_dimension",
                data=graph_examples.of("load"),
                dimension="t",
                reducer=graph_examples.calling("mean"),
            ),
        },
        "mean",
    )
    with door(folder, planned, quota=1_000_000) as anna:
        told = anna.http.post("/validation", json={"process_graph": wanting}).json()["errors"]
        assert [fault["code"] for fault in told] == ["StorageQuotaExceeded"]
        job = anna.create(wanting)
        for answer in (anna.http.post(f"/jobs/{job}/results"), anna.http.get(f"/jobs/{job}/estimate")):
            assert answer.status_code == 400 and answer.json()["code"] == "StorageQuotaExceeded", answer.text
            assert "are not in the cube yet" in answer.json()["message"] and "976.6 KiB" in answer.json()["message"]
        assert sum(record.nbytes for record in Manifest.load(cube(folder)).records()) == used
    with door(folder, planned, quota=used) as anna:
        anna.start(job)
        assert anna.wait(job) == "finished", anna.log(job)
        assert "that no job needs made room" in anna.log(job)
        records = Manifest.load(cube(folder)).records()
        assert any("/B11/" in record.key for record in records) and sum(record.nbytes for record in records) <= used
        again = anna.create(graph(spatial_extent=SMALL))
        anna.start(again)
        assert anna.wait(again) == "finished", anna.log(again)
        np.testing.assert_allclose(result(anna, again, folder), part(expected, SMALL), atol=1e-6)


def test_a_scene_that_cannot_be_decoded_costs_its_date(planned: Path, tmp_path: Path, made: Path):
    broken = next(path for path in sorted((planned.parent / "scenes").rglob("*B04_10m.jp2")))
    broken.write_bytes(broken.read_bytes()[:2000])
    plan_campaign(load_campaign(planned), Console(quiet=True))
    with door(tmp_path, planned, retries=0) as anna:
        job = anna.create(graph(spatial_extent=SMALL))
        anna.start(job)
        assert anna.wait(job, 300) == "finished", anna.log(job)
        assert "cannot be decoded, and is left out from now on" in anna.log(job), anna.log(job)
        found = result(anna, job, tmp_path)
        times = anna.http.get("/collections/S2").json()["extent"]["temporal"]["interval"][0]
        later = anna.create(graph(spatial_extent=SMALL, temporal_extent=["2024-04-02", times[1][:4] + "-12-31"]))
        anna.start(later)
        assert anna.wait(later) == "finished", anna.log(later)
        np.testing.assert_array_equal(result(anna, later, tmp_path), found)


def test_on_slurm_the_graph_follows_what_it_reads(slurm: SlurmCluster, planned: Path, ingested: Path, tmp_path: Path):
    expected = graph_examples.expected_median(ingested)
    with door(tmp_path, planned, site=str(lab(tmp_path)), retries=0) as anna:
        jobs = [anna.create(graph(spatial_extent=box)) for box in (SMALL, SMALL, EAST)]
        for job in jobs:
            anna.start(job)
        anna.http.delete(f"/jobs/{jobs[0]}/results")  # the first one is stopped, whatever it has done by then
        for job, box in zip(jobs[1:], (SMALL, EAST), strict=True):
            assert anna.wait(job, 300) == "finished", anna.log(job)
            np.testing.assert_allclose(result(anna, job, tmp_path), part(expected, box), atol=1e-6)
        (script,) = (tmp_path / "state/openeo/jobs" / jobs[1]).rglob("submissions/*/graph.sh")
        assert (script.parent / "fill.sh").exists()
