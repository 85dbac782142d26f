"""The openEO door on a real Slurm: time to submit a job, what polling clients wait for, and queries of the scheduler.

    python benchmarks/serve_openeo.py

Slurm is that of the tests, so this needs root and the programs of `slurm-wlm slurmdbd munge mariadb-server`. The
server is a process of its own (`hpckit serve`) with the campaign of the tests.

- submit: `POST /jobs` and `POST /jobs/{id}/results` with a graph of a thousand nodes, until `sbatch` has accepted all
  of its jobs and the follower has written that down;
- poll: `GET /jobs/{id}` of clients that wait between requests, each for a job of a thousand nodes of their own;
- queries: calls of `squeue` and `sacct` while many jobs wait. One job is submitted by the door; the folders of the
  others are copies of its folder, and their jobs wait in the same Slurm under ids of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from hpckit.serve.identity.passwords import set_password
from hpckit.serve.openeo.jobfolder import JobFolder, new_id
from tests import graph_examples, small_campaign
from tests.servers.slurm import SlurmCluster

ROOT = Path(__file__).parents[1]
PASSWORD = "a password of the benchmark"
SITE = """\
name: lab
scheduler: slurm
partitions: [{{name: short, cores: 2, memory_mib: 4000, walltime: 60min}}]
stages: {{default: {{ranks: 1}}}}
poll: {{first_s: 1, submit_pause_s: 0, timeout_s: 60}}
environment: {{PYTHONPATH: {root}}}
"""
CASES = ("submit", "poll", "queries")
LONGEST_S = 900
"""To wait for a step of a job."""
COUNTED = ("squeue", "sacct", "scontrol")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000, help="nodes of graphs")
    parser.add_argument("--rounds", type=int, default=5, help="jobs that are submitted, one after the other")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between requests of a client")
    parser.add_argument("--jobs", type=int, default=1000, help="that wait while queries are counted")
    parser.add_argument("--polls", type=int, default=4, help="polls of which queries are counted")
    parser.add_argument("--case", nargs="*", choices=CASES, default=CASES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, SlurmCluster() as slurm, door(Path(folder), slurm, options) as made:
        slurm.run("scontrol", "update", f"nodename={','.join(slurm.nodes)}", "state=drain", "reason=benchmark")
        found: dict[str, float] = {}
        if "submit" in options.case:
            found |= submit(made, options.nodes, options.rounds)
        if "poll" in options.case:
            found |= poll(made, options.nodes, options.clients, options.requests, options.pause)
        if "queries" in options.case:
            found |= queries(made, slurm, options.jobs, options.polls)
        print(json.dumps({key: round(figure, 4) for key, figure in found.items()}, indent=1))


# -- the server -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Door:
    """A server that runs."""

    folder: Path
    port: int
    server: psutil.Process
    users: Sequence[str]

    @property
    def url(self) -> str:
        """Address of its openEO door."""
        return f"http://127.0.0.1:{self.port}/openeo/1.2"

    @property
    def jobs(self) -> Path:
        """Folder of jobs."""
        return self.folder / "state" / "openeo" / "jobs"

    def client(self, user: str) -> httpx.Client:
        """A client that is logged in."""
        answer = httpx.get(f"{self.url}/credentials/basic", auth=(user, PASSWORD)).raise_for_status()
        login = {"Authorization": f"Bearer basic//{answer.json()['access_token']}"}
        return httpx.Client(base_url=self.url, timeout=600, headers=login)

    def cpu_s(self) -> float:
        """Processor time of the server so far, without its follower."""
        times = self.server.cpu_times()
        return times.user + times.system

    def follower_cpu_s(self) -> float:
        """Processor time of the follower and the programs that it has called, so far."""
        found = [child.cpu_times() for child in self.server.children()]
        return sum(times.user + times.system + times.children_user + times.children_system for times in found)


@contextmanager
def door(folder: Path, slurm: SlurmCluster, options: argparse.Namespace) -> Iterator[Door]:
    """A server of a small campaign, whose jobs go to Slurm; calls of Slurm's programs are noted in `calls`."""
    (folder / "c").mkdir()
    small_campaign.make(folder / "c")
    assert run_campaign(load_campaign(folder / "c" / "campaign.yaml"), Console(quiet=True), workers=2).exit_code == 0
    users = [f"user{number}" for number in range(options.clients)]
    for user in users:
        set_password(folder / "users.txt", user, PASSWORD)
    (folder / "lab.yaml").write_text(SITE.format(root=ROOT))
    settings = {
        "datasets": [{"campaign": str(folder / "c" / "campaign.yaml"), "name": "S2"}],
        "doors": ["openeo"],
        "users": str(folder / "users.txt"),
        "state": str(folder / "state"),
        "grants": [{"users": ["signed-in"]}],
        "openeo": {"site": str(folder / "lab.yaml"), "poll_s": 3},
    }
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
    environment = os.environ | slurm.env | {"XDG_STATE_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{_counting(folder)}:{environment['PATH']}"
    words = ["serve", "--config", str(folder / "serve.yaml"), "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(
        [sys.executable, "-m", "hpckit", *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        yield Door(folder, port, psutil.Process(server.pid), users)
    finally:
        server.terminate()
        server.wait()


def _counting(folder: Path) -> Path:
    """Programs that note that they were called, before Slurm's."""
    tools = folder / "tools"
    tools.mkdir()
    for name in COUNTED:
        path = tools / name
        path.write_text(f'#!/bin/sh\necho {name} >> {folder / "calls"}\nexec {shutil.which(name)} "$@"\n')
        path.chmod(0o755)
    return tools


def graph(nodes: int) -> dict[str, Any]:
    """A median of dates, after hundreds of steps: each adds to all pixels, and renames bands."""
    made = {"load": graph_examples.load("S2", bands=["B04", "B08"])}
    last, names, number = "load", ["B04", "B08"], 0
    more = graph_examples.calling("add", "x", y=1)
    while len(made) < nodes - 2:
        others = [f"{name[:3]}-{number}" for name in names]
        renamed = {"dimension": "bands", "source": names, "target": others}
        data, last = graph_examples.of(last), f"step{number}"
        if number % 2 == 0:
            made[last] = graph_examples.node("apply", data=data, process=more)
        else:
            made[last], names = graph_examples.node("rename_labels", data=data, **renamed), others
        number += 1
    median = graph_examples.calling("median")
    made["median"] = graph_examples.node(
        "reduce_dimension", data=graph_examples.of(last), dimension="t", reducer=median
    )
    return graph_examples.ending(made, "median")


# -- cases ----------------------------------------------------------------------------------------------------------
def submit(made: Door, nodes: int, rounds: int) -> dict[str, float]:
    """Seconds from `POST /jobs` until Slurm has accepted the job, and their parts; the least of some rounds."""
    process = {"process": {"process_graph": graph(nodes)}}
    found: dict[str, list[float]] = {}
    with made.client(made.users[0]) as client:
        for _ in range(rounds):
            began, cpu, follower = time.perf_counter(), made.cpu_s(), made.follower_cpu_s()
            job = _created(client, process)
            created, cpu_created = time.perf_counter(), made.cpu_s()
            assert client.post(f"/jobs/{job}/results").status_code == 202
            started, cpu_started = time.perf_counter(), made.cpu_s()
            _wait(partial(_is_submitted, made.jobs / job))
            found.setdefault("submit_whole_s", []).append(time.perf_counter() - began)
            found.setdefault("submit_post_s", []).append(created - began)
            found.setdefault("submit_start_s", []).append(started - created)
            found.setdefault("submit_post_cpu_s", []).append(cpu_created - cpu)
            found.setdefault("submit_start_cpu_s", []).append(cpu_started - cpu_created)
            found.setdefault("submit_follower_cpu_s", []).append(made.follower_cpu_s() - follower)
    least = {name: min(times) for name, times in found.items()}
    return {**least, "submit_first_s": found["submit_whole_s"][0]}


def poll(made: Door, nodes: int, clients: int, requests: int, pause: float) -> dict[str, float]:
    """Milliseconds that clients wait for `GET /jobs/{id}`, and processor time of the server for a request."""
    process, asked = {"process": {"process_graph": graph(nodes)}}, []
    for user in made.users[:clients]:
        with made.client(user) as client:
            job = _created(client, process)
            asked.append(_request(made, job, client.headers["Authorization"]))
    asyncio.run(_ask(made.port, asked, 4 * clients, pause))
    cpu = made.cpu_s()
    times = np.array(asyncio.run(_ask(made.port, asked, requests, pause))) * 1000
    spent = 1000 * (made.cpu_s() - cpu) / requests
    middle, most = np.percentile(times, (50, 99))
    return {"poll_p50_ms": middle, "poll_p99_ms": most, "poll_cpu_ms": spent}


async def _ask(port: int, asked: Sequence[bytes], requests: int, pause: float) -> list[float]:
    times: list[float] = []
    left = iter(range(requests))

    async def client(question: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            await asyncio.sleep(random.expovariate(1 / pause))
            began = time.perf_counter()
            writer.write(question)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
            body = await reader.readexactly(length)
            times.append(time.perf_counter() - began)
            assert " 200 " in head.splitlines()[0] and b'"status":"created"' in body, head
        writer.close()

    await asyncio.gather(*map(client, asked))
    return times


def queries(made: Door, slurm: SlurmCluster, jobs: int, polls: int) -> dict[str, float]:
    """Calls of Slurm's programs in a poll while jobs wait, and processor time of the follower for it."""
    with made.client(made.users[0]) as client:
        job = _created(client, {"process": {"process_graph": graph_examples.masked_median("S2")}})
        assert client.post(f"/jobs/{job}/results").status_code == 202
        _wait(lambda: _is_submitted(made.jobs / job))
        for _ in range(jobs - 1):
            _copied(made.jobs / job, slurm)
        calls, copied = made.folder / "calls", time.time()
        _wait(lambda: all(_is_seen(item, copied) for item in _folders(made)), 1.0)
        calls.write_text("")
        began, cpu, seen = time.perf_counter(), made.follower_cpu_s(), 0
        for _ in range(polls):
            _wait(partial(_has_more, calls, seen))
            time.sleep(1.5)  # others of the same poll
            seen = _lines(calls)
        spent = made.follower_cpu_s() - cpu
    return {
        "queries_jobs": len(list(_folders(made))),
        "queries_per_poll": seen / polls,
        "queries_follower_cpu_s": spent / polls,
        "queries_interval_s": (time.perf_counter() - began) / polls,
    }


def _is_seen(job: JobFolder, since: float) -> bool:
    """Whether the follower has asked for a job, and noted why it waits."""
    seen = list(job.path.glob("*.run/submissions/0001/seen.json"))
    return bool(seen) and seen[0].stat().st_mtime > since and "waiting: " in job.log.read_text()


def _has_more(path: Path, lines: int) -> bool:
    return _lines(path) > lines


def _lines(path: Path) -> int:
    return path.read_text().count("\n")


def _copied(folder: Path, slurm: SlurmCluster) -> None:
    """A job like another one, whose jobs wait under ids of their own."""
    path = folder.with_name(f".new-{new_id()}")
    shutil.copytree(folder, path)
    (made,) = path.glob("*.run/submissions/0001/jobs.jsonl")
    lines = []
    for line in map(json.loads, made.read_text().splitlines()):
        words = ["sbatch", "--parsable", "--output", "/dev/null", "--job-name", line["name"], "--wrap", "true"]
        lines.append(json.dumps(line | {"id": slurm.run(*words).stdout.strip()}))
    made.write_text("\n".join(lines) + "\n")
    path.rename(folder.with_name(path.name.removeprefix(".new-")))


# -- pieces ---------------------------------------------------------------------------------------------------------
def _folders(made: Door) -> Iterator[JobFolder]:
    """Jobs that were started."""
    return (JobFolder(path.parent) for path in made.jobs.glob("j-*/wanted.json"))


def _created(client: httpx.Client, body: Mapping[str, Any]) -> str:
    answer = client.post("/jobs", json=dict(body))
    assert answer.status_code == 201, answer.text
    return str(answer.headers["openeo-identifier"])


def _request(made: Door, job: str, login: str) -> bytes:
    lines = [f"GET /openeo/1.2/jobs/{job} HTTP/1.1", f"Host: 127.0.0.1:{made.port}", f"Authorization: {login}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _is_submitted(path: Path) -> bool:
    state = JobFolder(path).state()
    assert state is None or state.status != "error", JobFolder(path).log.read_text()
    return state is not None and state.submission > 0


def _wait(is_so: Callable[[], bool], pause_s: float = 0.01) -> None:
    end = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
