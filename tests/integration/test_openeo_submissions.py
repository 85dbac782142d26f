"""A job is submitted once: followers that are killed at a certain line, and programs of Slurm that answer late."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpckit import api
from hpckit.errors import SchedulerUnavailableError
from hpckit.jobs import submit
from hpckit.serve.openeo import advance
from hpckit.serve.openeo.follower import Follower
from hpckit.serve.openeo.jobfolder import Job, JobFolder, create, new_id, stamp
from hpckit.serve.openeo.joblog import entries
from hpckit.serve.openeo.options import read_options, write_site
from hpckit.serve.openeo.runas import SITE
from hpckit.serve.openeo.settings import AccountLimits
from hpckit.sites.scheduler.localqueue import queue
from hpckit.sites.site import Site
from hpckit.submissions.submission import Submission, submissions
from tests import graph_examples
from tests.servers.slurm import SlurmCluster
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]

SMALL = {"west": 601000, "south": 5690000, "east": 601500, "north": 5690500, "crs": 32631}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of this machine of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


def started(folder: Path, ingested: Path, **site: Any) -> JobFolder:
    """A job as `POST /jobs/{id}/results` leaves it to the follower."""
    now = stamp()
    job = create(folder, Job(new_id(), "anna", {}, now, now, "lab", retries=1))
    api.prepare_graph(graph_examples.masked_median("S2", spatial_extent=SMALL), {"S2": ingested}, job.path)
    made = Site.model_validate(
        {
            "name": "lab",
            "scheduler": "local",
            "partitions": [{"name": "short", "cores": 2, "memory_mib": 4000, "walltime": "60min"}],
            "stages": {"default": {"ranks": 1}},
            "poll": {"first_s": 0.3, "submit_pause_s": 0, "timeout_s": 60},
            "environment": {"PYTHONPATH": str(ROOT)},
            **site,
        }
    )
    write_site(made, read_options({}, made, AccountLimits()), job.path / SITE)
    job.want("run")
    return job


def known(job: JobFolder) -> list[Submission]:
    (run,) = job.path.glob("*.run")
    return submissions(run)


def told(job: JobFolder) -> list[str]:
    return [entry["message"] for entry in entries(job.log, "debug")]


def finished(folder: Path, *jobs: JobFolder) -> None:
    """Follow jobs until none waits or runs, and expect that all have results."""
    follower = Follower(folder, 0.5)

    def rest() -> bool:
        follower.look()
        return all(job.shown().status not in ("queued", "running") for job in jobs)

    until(rest, 150, "for jobs to end", least_s=0.3)
    for job in jobs:
        assert job.shown().status == "finished", told(job)
    held = [path.parent for path in queue().glob("*/held")]
    until(lambda: all((folder / "over").exists() for folder in held), 10, "for jobs that were taken back")


def dies(*_: object, **__: object) -> None:
    os._exit(9)


def killed(step: Callable[[JobFolder], None], job: JobFolder, module: Any, name: str) -> None:
    """Do a step in a process that dies (no handler runs) where it calls a function."""
    child = os.fork()
    if child == 0:
        setattr(module, name, dies)
        try:
            step(job)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_follower_that_is_killed_while_it_submits(ingested: Path, tmp_path: Path):
    """When the scheduler has accepted all, and before jobs are let go."""
    places = [(Submission, "mark"), (submit, "release")]
    jobs = [started(tmp_path / "jobs", ingested) for _ in places]
    for job, (module, name) in zip(jobs, places, strict=True):
        killed(advance.fulfil, job, module, name)
    finished(tmp_path / "jobs", *jobs)
    for job in jobs:
        assert [item.has("committed") for item in known(job)].count(True) == 1, told(job)
        assert sum(line.startswith("submitted to lab") for line in told(job)) == 1
    assert [len(known(job)) for job in jobs] == [2, 1], "what was committed is let go, and not made once more"


def test_a_follower_that_is_killed_while_it_submits_again(ingested: Path, tmp_path: Path):
    """Units that were not done are submitted once more, by design; a kill in this makes it no third time."""
    repaired = tmp_path / "repaired"
    places = [(submit, "submit"), (submit, "release")]
    jobs = [started(tmp_path / "jobs", ingested, setup=f"[ -e {repaired} ] || exit 3") for _ in places]
    for job in jobs:
        advance.fulfil(job)

    def are_over() -> bool:
        changed = [advance.observe(group) for group in advance.by_site(jobs)]
        return {job.id for each in changed for job, is_over in each if is_over} == {job.id for job in jobs}

    until(are_over, 60, "for elements to fail", least_s=0.3)
    repaired.touch()
    for job, (module, name) in zip(jobs, places, strict=True):
        killed(advance.conclude, job, module, name)
    finished(tmp_path / "jobs", *jobs)
    for job in jobs:
        assert [item.has("committed") for item in known(job)].count(True) == 2, told(job)
        state = job.state()
        assert state is not None and state.retried == 1


def test_units_that_are_seen_late_are_no_failure(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Over NFS a journal may appear after the scheduler has told the end of its element."""
    job = started(tmp_path / "jobs", ingested)
    advance.fulfil(job)
    read, asked = advance.read_status, []

    def late(run: Any, since: float | None = None) -> Any:
        found = read(run, since)
        if since is None and len(asked) < 1:
            asked.append(run)
            (run.path / "journal").rename(run.path / "away")
            try:
                return read(run, since)
            finally:
                (run.path / "away").rename(run.path / "journal")
        return found

    monkeypatch.setattr(advance, "read_status", late)
    finished(tmp_path / "jobs", job)
    assert asked and len(known(job)) == 1, told(job)


# -- Slurm ----------------------------------------------------------------------------------------------------------
LATE = """\
#!/bin/sh
[ -e {tried} ] && exec {real} "$@"
touch {tried}
(sleep 3; {real} "$@" >/dev/null 2>&1) &
sleep 60
"""


def test_sbatch_that_answers_late(
    slurm: SlurmCluster, ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is given up, and Slurm accepts the job all the same: that job is taken back, and another one runs."""
    real, tools = shutil.which("sbatch"), tmp_path / "tools"
    tools.mkdir()
    (tools / "sbatch").write_text(LATE.format(real=real, tried=tmp_path / "tried"))
    (tools / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    job = started(tmp_path / "jobs", ingested, scheduler="slurm", poll={"first_s": 1, "timeout_s": 2})
    with pytest.raises(SchedulerUnavailableError, match="no answer within 2 s"):
        advance.fulfil(job)
    assert job.shown().status == "queued"
    until(lambda: "-1-graph" in slurm.run("squeue", "-h", "-o", "%j").stdout, 60, "for the late job")
    advance.fulfil(job)
    names = slurm.run("squeue", "-h", "-t", "all", "-o", "%j %T").stdout
    assert "-1-graph CANCELLED" in names and "-1-graph PENDING" not in names, names
    assert [item.has("committed") for item in known(job)] == [False, True]
    finished(tmp_path / "jobs", job)
    assert len(known(job)) == 2, told(job)
