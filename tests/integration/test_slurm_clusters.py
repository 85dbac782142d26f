"""Two clusters behind one slurmdbd: jobs go to the one that was asked for, and nobody's job elsewhere is touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from hpckit.campaign.campaign import load_campaign
from tests.servers.slurm import SlurmCluster
from tests.small_campaign import copy
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def victim(slurm: SlurmCluster) -> str:
    """A person's own job on the default cluster."""
    words = ("--parsable", "--hold", "--job-name=precious", "-o", "/dev/null", "--wrap", "sleep 600")
    return slurm.run("sbatch", *words).stdout.strip()


@pytest.fixture
def other(slurm: SlurmCluster, victim: str) -> Iterator[SlurmCluster]:
    """A second cluster, whose first job gets the number of the victim."""
    settings = {"ClusterName": "other", "FirstJobId": victim}
    with SlurmCluster(nodes=1, settings=settings, beside=slurm) as cluster:
        yield cluster


def test_jobs_on_another_cluster(slurm, other, victim, made, tmp_path, monkeypatch):
    campaign = load_campaign(copy(made, tmp_path / "c"))
    sleeper = tmp_path / "sleeper"
    sleeper.write_text('#!/bin/bash\n[ "$1" = kernels ] && exit 0\nexec sleep 300\n')
    sleeper.chmod(0o755)
    lab = (
        "name: lab\nscheduler: slurm\npartitions: [{name: short, cores: 2, memory_mib: 4000, walltime: 60min}]\n"
        f"stages: {{default: {{ranks: 1}}}}\npoll: {{first_s: 1, submit_pause_s: 0}}\ncommand: {sleeper}\n"
    )
    (campaign.folder / "lab.yaml").write_text(lab + "directives: ['--clusters=other']\n")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpckit", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=campaign.folder, check=False)

    def queue(cluster: SlurmCluster) -> str:
        return cluster.run("squeue", "-h", "-o", "%F %j %T").stdout

    sent = call("submit", "campaign.yaml", "--site", "./lab.yaml")
    assert sent.returncode == 0, sent.stderr
    assert f"job {victim};other" in sent.stdout and queue(slurm) == f"{victim} precious PENDING\n"
    until(lambda: "RUNNING" in queue(other), what="for jobs that were let go where they are")
    shown = call("status", "campaign.yaml").stdout
    elements = shown[shown.index("elements") :]
    assert "unknown" not in elements and "running" in elements and "energy" not in shown
    assert call("submit", "campaign.yaml", "--site", "./lab.yaml").returncode == 75
    assert "of submission 1 cancelled" in call("cancel", "campaign.yaml").stderr
    until(lambda: not queue(other), what="for an empty queue")
    assert queue(slurm) == f"{victim} precious PENDING\n", "of the same number, and not ours"
    # The same by the environment, on which the commands that follow do not depend.
    (campaign.folder / "lab.yaml").write_text(lab)
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    again = call("submit", "campaign.yaml", "--site", "./lab.yaml")
    assert again.returncode == 0 and ";other" in again.stdout, again.stderr
    monkeypatch.delenv("SLURM_CLUSTERS")
    assert queue(slurm) == f"{victim} precious PENDING\n" and "hp-" in queue(other)
    assert call("cancel", "campaign.yaml").returncode == 0
    until(lambda: not queue(other), what="for an empty queue")
