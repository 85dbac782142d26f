"""Batch jobs of the door: states, logs, results and links; gateway and follower killed; on this machine and Slurm."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
import yaml

from hpckit.serve.openeo.follower import LOCK
from tests import graph_examples
from tests.integration.openeo_samples import PASSWORDS, door_settings, openeo_door
from tests.integration.serving import server
from tests.servers.pbs import PbsServer
from tests.servers.slurm import SlurmCluster
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]

SMALL = {"west": 601000, "south": 5690000, "east": 602000, "north": 5691000, "crs": 32631}
ROOT = Path(__file__).parents[2]
BUSY = ("created", "queued", "running")


def graph(name: str = "S2", **extents: Any) -> dict[str, Any]:
    return graph_examples.masked_median(name, **extents)


@pytest.fixture(autouse=True)
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of this machine of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


class Client:
    """A user of the door."""

    def __init__(self, url: str, name: str = "anna") -> None:
        self.http = httpx.Client(base_url=url, timeout=60)
        answer = self.http.get("/credentials/basic", auth=(name, PASSWORDS[name]))
        self.http.headers["Authorization"] = f"Bearer basic//{answer.raise_for_status().json()['access_token']}"

    def create(self, process_graph: dict[str, Any], **fields: Any) -> str:
        body = {"process": {"process_graph": process_graph}, **fields}
        answer = self.http.post("/jobs", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"].endswith(f"/jobs/{answer.headers['openeo-identifier']}")
        return answer.headers["openeo-identifier"]

    def start(self, job: str) -> None:
        answer = self.http.post(f"/jobs/{job}/results")
        assert answer.status_code == 202, answer.text

    def status(self, job: str) -> str:
        return str(self.http.get(f"/jobs/{job}").json()["status"])

    def log(self, job: str) -> str:
        return "\n".join(entry["message"] for entry in self.http.get(f"/jobs/{job}/logs").json()["logs"])

    def wait(self, job: str, timeout_s: float = 150) -> str:
        until(lambda: self.status(job) not in BUSY, timeout_s, f"for {job}: {self.log(job)}", least_s=0.5)
        return self.status(job)

    def results(self, job: str) -> dict[str, Any]:
        answer = self.http.get(f"/jobs/{job}/results")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@contextmanager
def door(folder: Path, ingested: Path, **openeo: Any) -> Iterator[Client]:
    with openeo_door(door_settings(folder, {"S2": ingested}, openeo=openeo)) as url:
        yield Client(url)


def read(url: str, folder: Path) -> np.ndarray:
    path = folder / "read.tif"
    path.write_bytes(httpx.get(url).raise_for_status().content)
    with rasterio.open(path) as source:
        return source.read()


def test_a_job_from_its_creation_to_its_deletion(ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested) as anna:
        job = anna.create(graph(), title="median", description="of clear dates", plan="free", budget=5)
        assert anna.status(job) == "created"
        assert anna.http.get(f"/jobs/{job}/results").json()["code"] == "JobNotStarted"
        estimate = anna.http.get(f"/jobs/{job}/estimate").json()
        assert estimate["duration"].startswith("PT") and estimate["size"] > 10_000
        assert anna.http.patch(f"/jobs/{job}", json={"title": "other"}).status_code == 204
        anna.start(job)
        anna.start(job)  # nothing happens
        assert anna.http.patch(f"/jobs/{job}", json={"title": "x"}).json()["code"] == "JobLocked"
        assert anna.http.get(f"/jobs/{job}/results").json()["code"] == "JobNotFinished"
        assert anna.http.get(f"/jobs/{job}/results?partial=true").json()["openeo:status"] in ("queued", "running")
        assert anna.wait(job) == "finished", anna.log(job)
        found = anna.http.get(f"/jobs/{job}").json()
        assert found["title"] == "other" and found["progress"] == 100 and found["budget"] == 5
        assert [item["id"] for item in anna.http.get("/jobs").json()["jobs"]] == [job]
        assert "process" not in anna.http.get("/jobs").json()["jobs"][0]
        log = anna.log(job)
        assert log.count("submitted to localhost") == 1 and "begun" in log and log.endswith("finished: 1 file")

        item = anna.results(job)
        (asset,) = item["assets"].values()
        assert item["type"] == "Feature" and asset["roles"] == ["data"]
        np.testing.assert_allclose(read(asset["href"], tmp_path), graph_examples.expected_median(ingested), atol=1e-6)
        part = httpx.get(asset["href"], headers={"Range": "bytes=4-11", "Origin": "https://editor.example.org"})
        assert part.status_code == 206 and len(part.content) == 8
        assert part.headers["access-control-allow-origin"] == "*"
        head = httpx.head(asset["href"])
        assert head.headers["accept-ranges"] == "bytes" and int(head.headers["content-length"]) > 1000
        canonical = next(link["href"] for link in item["links"] if link["rel"] == "canonical")
        assert httpx.get(canonical).json()["assets"] == item["assets"]

        _others_see_nothing(anna, job, asset["href"])
        assert anna.http.delete(f"/jobs/{job}").status_code == 204
        assert anna.http.get(f"/jobs/{job}").json()["code"] == "JobNotFound"
        folder = tmp_path / "state" / "openeo" / "jobs" / job
        until(lambda: not folder.exists(), 60, "for the folder to go")
        assert httpx.get(asset["href"]).status_code == 404


def _others_see_nothing(anna: Client, job: str, href: str) -> None:
    bert = Client(str(anna.http.base_url), "bert")
    nobody = bert.http.get("/jobs/j-000000000000-00000000").json()
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/logs"),
        ("GET", "/estimate"),
        ("GET", "/results"),
        ("POST", "/results"),
        ("DELETE", "/results"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        answer = bert.http.request(method, f"/jobs/{job}{path}", **body)
        assert answer.status_code == 404
        told = answer.json()["message"].replace(job, "j-000000000000-00000000")
        assert (answer.json()["code"], told) == (nobody["code"], nobody["message"]), path
    assert bert.http.get("/jobs").json()["jobs"] == []
    assert httpx.get(href.replace(".tif", ".tif.aux.xml")).status_code == 404
    assert httpx.get(href.replace("/results/", "/../")).status_code == 404
    assert httpx.get(href[: href.index("/results/")] + "/job.json").status_code == 404
    changed = href.replace(job, "j-000000000000-00000000")
    assert httpx.get(changed).status_code == 404


def test_a_job_is_stopped_and_started_again(ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested) as anna:
        job = anna.create(graph())
        anna.start(job)
        assert anna.http.delete(f"/jobs/{job}/results").status_code == 204
        assert anna.status(job) == "canceled"
        assert anna.http.delete(f"/jobs/{job}/results").status_code == 204
        until(lambda: "stopped by its owner" in anna.log(job), 60, "for the follower")
        assert anna.http.patch(f"/jobs/{job}", json={"description": "again"}).status_code == 204
        anna.start(job)
        assert anna.wait(job) == "finished", anna.log(job)
        first = anna.results(job)["assets"]
        anna.start(job)  # a finished job may be started again, and everything was done
        assert anna.wait(job) == "finished", anna.log(job)
        assert anna.results(job)["assets"].keys() == first.keys()


def test_failures_are_explained(ingested: Path, tmp_path: Path):
    import shutil

    shutil.copytree(ingested.parent, tmp_path / "c")
    campaign = tmp_path / "c" / "campaign.yaml"
    with door(tmp_path, campaign, retries=1) as anna:
        job = anna.create(graph())
        shard = max((tmp_path / "c").rglob("c/*/*/*"), key=lambda path: path.stat().st_size)
        shutil.rmtree(tmp_path / "c" / "scenes")
        shard.unlink()
        anna.start(job)
        assert anna.wait(job) == "error", anna.log(job)
        logs = anna.http.get(f"/jobs/{job}/logs?level=error").json()["logs"]
        assert any(entry.get("code") == "UnitFailed" and "unit graph/" in entry["message"] for entry in logs), logs
        answer = anna.http.get(f"/jobs/{job}/results")
        assert answer.status_code == 424 and answer.json()["level"] == "error"
        assert anna.log(job).count("submitted to localhost") == 2, "units that failed were tried once more"


def test_graphs_that_are_wrong_are_refused(ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested) as anna:
        wrong = graph()
        wrong["load"]["arguments"]["bands"] = ["B99"]
        wrong["median"]["arguments"]["dimension"] = "time"
        answer = anna.http.post("/validation", json={"process_graph": wrong})
        codes = {error["code"] for error in answer.json()["errors"]}
        assert answer.status_code == 200 and codes, answer.text
        refused = anna.http.post("/jobs", json={"process": {"process_graph": wrong}})
        assert refused.status_code == 400 and refused.json()["code"] in codes
        assert "load" in refused.json()["message"]
        unknown = {"x": {"process_id": "nonsense", "arguments": {}, "result": True}}
        told = anna.http.post("/jobs", json={"process": {"process_graph": unknown}}).json()
        assert told["code"] == "ProcessUnsupported"
        other = graph("others")
        assert anna.http.post("/result", json={"process": {"process_graph": other}}).status_code in (400, 404)


def test_results_at_once_and_their_limits(ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, synchronous={"seconds": 30, "result_mib": 1}) as anna:
        answer = anna.http.post("/result", json={"process": {"process_graph": graph(spatial_extent=SMALL)}})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("image/tiff"), answer.text
        (tmp_path / "x.tif").write_bytes(answer.content)
        with rasterio.open(tmp_path / "x.tif") as source:
            assert source.shape == (100, 100) and source.bounds[:2] == (601000, 5690000)
        large = anna.http.post("/result", json={"process": {"process_graph": graph()}})
        assert large.status_code == 400 and large.json()["code"] == "ProcessGraphComplexity"
        assert "as a batch job" in large.json()["message"]
        until(lambda: not list((tmp_path / "state/openeo/synchronous").glob("sync-*")), 10, "for folders to go")


def test_processes_of_users_in_jobs(ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested) as anna:
        halved = {"half": {**graph_examples.node("divide", x={"from_parameter": "x"}, y=2), "result": True}}
        process = {
            "process_graph": halved,
            "parameters": [{"name": "x", "description": "", "schema": {"type": "number"}}],
        }
        assert anna.http.put("/process_graphs/halved", json=process).status_code == 200
        child = {
            "process_graph": {"one": {**graph_examples.node("halved", x={"from_parameter": "x"}), "result": True}}
        }
        asked = {
            "load": graph_examples.load("S2", bands=["B04"], spatial_extent=SMALL),
            "first": graph_examples.node(
                "reduce_dimension",
                data=graph_examples.of("load"),
                dimension="t",
                reducer=graph_examples.calling("min"),
            ),
            "halves": graph_examples.node("apply", data=graph_examples.of("first"), process=child),
        }
        body = {"process": {"process_graph": graph_examples.ending(asked, "halves")}}
        answer = anna.http.post("/result", json=body)
        assert answer.status_code == 200, answer.text
        job = anna.create(body["process"]["process_graph"])
        anna.http.delete("/process_graphs/halved")
        assert anna.http.post(f"/jobs/{job}/results").status_code == 400, "it is looked up when the job starts"
        anna.http.put("/process_graphs/halved", json=process)
        anna.start(job)
        anna.http.delete("/process_graphs/halved")
        assert anna.wait(job) == "finished", anna.log(job)


# -- killed ---------------------------------------------------------------------------------------------------------
def settings_file(folder: Path, ingested: Path, **openeo: Any) -> Path:
    settings = door_settings(folder, {"S2": ingested}, openeo=openeo)
    values = json.loads(settings.model_dump_json(exclude_unset=True))
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def follower_of(folder: Path) -> int | None:
    try:
        who = json.loads((folder / "state" / "openeo" / "jobs" / LOCK).read_text())
        os.kill(int(who["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return int(who["pid"])


def test_nothing_is_lost_or_done_twice_when_both_are_killed(ingested: Path, tmp_path: Path):
    """Five times the follower or the gateway dies (-9) at some moment while eight jobs are started and run."""
    config, jobs, port = settings_file(tmp_path, ingested), [], free_port()
    listen = f"127.0.0.1:{port}"
    for turn in range(3):
        with server(tmp_path / "home", "--config", config, "--listen", listen) as (_, process):
            anna = Client(f"http://{listen}/openeo/1.2")
            for _ in range(3 if turn < 2 else 2):
                jobs.append(anna.create(graph(spatial_extent=SMALL)))
                anna.start(jobs[-1])
            until(lambda: follower_of(tmp_path) is not None, 60, "for the follower")
            time.sleep(0.7 + 1.3 * turn)
            pid = follower_of(tmp_path)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            until(lambda before=pid: follower_of(tmp_path) not in (None, before), 90, "for the next follower")
            time.sleep(0.5)
            if turn < 2:
                process.kill()
                process.wait()
            else:
                for job in jobs:
                    assert anna.wait(job, 240) == "finished", anna.log(job)
                for job in jobs:
                    assert anna.log(job).count("submitted to") == 1, anna.log(job)
                    folder = tmp_path / "state" / "openeo" / "jobs" / job
                    whole = list(folder.glob("*.run/submissions/*/committed"))
                    assert len(whole) == 1, "one submission was whole"
                    assert len(anna.results(job)["assets"]) == 1


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


# -- Slurm ----------------------------------------------------------------------------------------------------------
def lab(folder: Path, more: str = "") -> Path:
    path = folder / "lab.yaml"
    path.write_text(
        "name: lab\nscheduler: slurm\n"
        "partitions: [{name: short, cores: 2, memory_mib: 4000, walltime: 60min}]\n"
        "stages: {default: {ranks: 1}}\npoll: {first_s: 1, submit_pause_s: 0, timeout_s: 60}\n"
        f"environment: {{PYTHONPATH: {ROOT}}}\n{more}"
    )
    return path


def greedy(folder: Path) -> str:
    """A `command` whose units take memory for longer than Slurm needs to see it."""
    script = folder / "greedy-hpckit"
    script.write_text(
        f"""#!{sys.executable}
import time
import hpckit.production.worker as worker
execute = worker.execute
def slowly(context, unit):
    block = bytearray(200 * 2**20)
    time.sleep(20)
    return execute(context, unit)
worker.execute = slowly
from hpckit.cli import main
main()
"""
    )
    script.chmod(0o755)
    return f"command: {script}\n"


def test_on_slurm(slurm: SlurmCluster, ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, site=str(lab(tmp_path)), retries=0) as anna:
        nodes = "n[1-4]"
        slurm.run("scontrol", "update", f"nodename={nodes}", "state=drain", "reason=test")
        job = anna.create(graph(), job_options={"walltime": "20min", "memory": "800M", "partition": "short"})
        anna.start(job)
        until(lambda: "waiting: " in anna.log(job), 60, f"for a reason: {anna.log(job)}")
        assert anna.status(job) == "queued"
        stopped = anna.create(graph(spatial_extent=SMALL))
        anna.start(stopped)
        until(lambda: "submitted to lab" in anna.log(stopped), 60, "for the submission")
        anna.http.delete(f"/jobs/{stopped}/results")
        until(lambda: "stopped by its owner" in anna.log(stopped), 90, "for its end")
        slurm.run("scontrol", "update", f"nodename={nodes}", "state=resume")
        assert anna.wait(job, 240) == "finished", anna.log(job)
        (asset,) = anna.results(job)["assets"].values()
        np.testing.assert_allclose(read(asset["href"], tmp_path), graph_examples.expected_median(ingested), atol=1e-6)
        assert anna.status(stopped) == "canceled"
        assert not slurm.run("squeue", "-h", "-o", "%i").stdout.strip(), "nothing of the stopped job is left"


def test_memory_that_ran_out_is_explained(slurm: SlurmCluster, ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, site=str(lab(tmp_path, greedy(tmp_path))), retries=0) as anna:
        job = anna.create(graph(), job_options={"memory": "64"})
        anna.start(job)
        assert anna.wait(job, 240) == "error", anna.log(job)
        told = anna.log(job)
        assert "memory asked 64.0 MiB" in told and " on n" in told and "time asked" in told, told


def test_one_query_for_all_jobs(slurm: SlurmCluster, ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A `squeue` that counts its calls stands before Slurm's."""
    import shutil

    real, tools = shutil.which("squeue"), tmp_path / "tools"
    tools.mkdir()
    counted = tmp_path / "calls"
    (tools / "squeue").write_text(f'#!/bin/sh\necho "$(date +%s.%N) $*" >> {counted}\nexec {real} "$@"\n')
    (tools / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    slurm.run("scontrol", "update", "nodename=n[1-4]", "state=drain", "reason=test")
    try:
        with door(tmp_path, ingested, site=str(lab(tmp_path)), poll_s=3) as anna:
            jobs = [anna.create(graph(spatial_extent=SMALL)) for _ in range(6)]
            threads = [threading.Thread(target=anna.start, args=[job]) for job in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for job in jobs:
                until(lambda job=job: "waiting: " in anna.log(job), 90, f"for {job}: {anna.log(job)}")
            counted.write_text("")
            time.sleep(12)
            calls = counted.read_text().splitlines()
            assert 2 <= len(calls) <= 6, calls
            for job in jobs:
                anna.http.delete(f"/jobs/{job}")
            until(lambda: not list((tmp_path / "state/openeo/jobs").glob("j-*")), 90, "for folders to go")
    finally:
        slurm.run("scontrol", "update", "nodename=n[1-4]", "state=resume")


def test_on_pbs(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A job finishes, and another one is stopped while it waits; on a stand-in that answers as OpenPBS does."""
    (tmp_path / "lab.yaml").write_text(
        "name: lab\nscheduler: pbs\n"
        "partitions: [{name: workq, cores: 2, memory_mib: 8000, walltime: 2h}]\n"
        "stages: {default: {ranks: 1}}\npoll: {first_s: 1, submit_pause_s: 0, timeout_s: 60}\n"
        f"environment: {{PYTHONPATH: {ROOT}}}\n"
    )
    (tmp_path / "home").mkdir(exist_ok=True)
    with PbsServer(tmp_path / "pbs", {"workq": {}}, ncpus=2, home=tmp_path / "home") as pbs:
        for name, value in pbs.env.items():
            monkeypatch.setenv(name, value)
        with door(tmp_path, ingested, site=str(tmp_path / "lab.yaml"), retries=0) as anna:
            (tmp_path / "other.sh").write_text("#!/bin/sh\nsleep 600\n")
            other = pbs.run(
                "qsub", "-l", "select=1:ncpus=2", "-o", str(tmp_path), "-e", str(tmp_path), str(tmp_path / "other.sh")
            ).stdout.strip()
            stopped, job = anna.create(graph()), anna.create(graph(spatial_extent=SMALL))
            anna.start(stopped)
            anna.start(job)
            for each in (stopped, job):
                until(lambda each=each: "submitted to lab" in anna.log(each), 120, f"for the submission of {each}")
            assert anna.status(job) == "queued" and pbs.run("qstat").stdout.count("workq") > 2, "all wait"
            anna.http.delete(f"/jobs/{stopped}/results")
            until(lambda: "stopped by its owner" in anna.log(stopped), 90, "for its end")
            pbs.run("qdel", other)
            assert anna.wait(job, 240) == "finished", anna.log(job)
            (asset,) = anna.results(job)["assets"].values()
            expected = graph_examples.expected_median(ingested)[:, 900:1000, 100:200]
            np.testing.assert_allclose(read(asset["href"], tmp_path), expected, atol=1e-6)
            assert anna.status(stopped) == "canceled"
            assert not pbs.run("qstat").stdout.strip(), "nothing of the stopped job is left"
