"""The job in which two ranks greet each other, under PBS, with an Apptainer that enters nothing.

Of the stand-in for PBS it takes submission, waiting, output and cancelling; on a real Slurm in a real image it runs
in test_image.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpckit.errors import SiteError
from hpckit.jobs.ranks import try_ranks
from hpckit.sites.site import Site, load_site
from tests.servers.pbs import PbsServer

pytestmark = [pytest.mark.integration]


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch):
    (tmp_path / "home").mkdir()
    with PbsServer(tmp_path / "pbs", {"workq": {}}, ncpus=2, home=tmp_path / "home") as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


def lab(tmp_path: Path, more: str = "") -> Site:
    """A site whose Apptainer runs what it is given outside of any image."""
    program = tmp_path / "apptainer"
    program.write_text(
        f"""#!/bin/bash
while [ "$1" != "{tmp_path / "x.sif"}" ]; do shift; done
shift 2
exec {sys.executable} "$@"
"""
    )
    program.chmod(0o755)
    path = tmp_path / "lab.yaml"
    path.write_text(
        f"""name: lab
scheduler: pbs
partitions: [{{name: workq, cores: 2, memory_mib: 8000}}]
poll: {{first_s: 0.5}}
container: {{command: {program}}}
mpi: {{launcher: mpirun, options: [--oversubscribe]}}
environment: {{OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1"}}
{more}"""
    )
    (tmp_path / "x.sif").write_bytes(b"")
    return load_site(path)


def test_ranks_greet_each_other_in_a_job_of_pbs(pbs: PbsServer, tmp_path: Path) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("there is no mpirun")
    found = try_ranks(tmp_path / "x.sif", lab(tmp_path, "job_wide: true\n"), "unused", wait_s=120)
    # The stand-in has one host.
    assert found.ok is None and found.says.startswith("one world of 2 on ") and "not across nodes" in found.says
    assert not list(tmp_path.glob(".hpckit-ranks-*"))


def test_a_job_that_does_not_start_in_time_is_cancelled(pbs: PbsServer, tmp_path: Path) -> None:
    # Two nodes, where there is one.
    found = try_ranks(tmp_path / "x.sif", lab(tmp_path), "unused", wait_s=2)
    assert found.ok is None and "is pending; it was cancelled" in found.says and "--wait" in found.remedy
    assert "hpckit-image" not in subprocess.run(["qstat"], capture_output=True, text=True, check=True).stdout


def test_what_keeps_the_job_from_being_submitted(pbs: PbsServer, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(SiteError, match="wants an account"):
        try_ranks(tmp_path / "x.sif", lab(tmp_path, "account: {required: true}\n"), "unused")
    refused = try_ranks(tmp_path / "x.sif", lab(tmp_path, "directives: [-l nonsense=1]\n"), "unused")
    assert refused.ok is False and "qsub" in refused.says
    monkeypatch.setenv("PATH", str(tmp_path))
    away = try_ranks(tmp_path / "x.sif", lab(tmp_path), "unused")
    assert away.ok is None and "there is no qsub here" in away.says
