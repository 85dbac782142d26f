"""Which scheduler a probe asks, and what it warns of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hpckit.errors import SiteError
from hpckit.sites.probe import gather as asked
from hpckit.sites.probe.compare import compare
from hpckit.sites.probe.gather import gather
from hpckit.sites.probe.sitefile import site_file
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import Answer, Command
from hpckit.sites.site import Site

SLURM = {"sinfo": "", "squeue": "", "srun": ""}
PBS = {
    "qstat --version": "pbs_version = 23.06.06\n",
    "qstat -Bf": "Server: pbs\n    default_queue = workq\n    max_array_size = 10000\n    pbs_version = 23.06.06\n",
    "qstat -Qf": "Queue: workq\n    queue_type = Execution\n    enabled = True\n    started = True\n",
}


class Machine:
    """Programs by what they print; those of a scheduler that is only installed fail."""

    def __init__(self, programs: dict[str, str]) -> None:
        self.programs = programs
        self.argv: list[str] = []

    def __call__(self, command: Command) -> Answer:
        line = " ".join(command.argv)
        self.argv.append(line)
        text = self.programs.get(line)
        return Answer(command, 1, "", "cannot be reached") if text is None else Answer(command, 0, text, "")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Machine]:
    def make(*installed: str, **programs: str) -> Machine:
        there = {*installed, *(name.partition(" ")[0] for name in programs)}
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in there else None)
        monkeypatch.chdir(tmp_path)
        return Machine(programs)

    return make


def test_the_site_of_the_machine_decides_who_is_asked(machine: Callable[..., Machine], monkeypatch) -> None:
    both = machine("sinfo", **PBS)
    monkeypatch.setattr(asked, "_known_scheduler", lambda: "pbs")
    assert gather(both).scheduler == "pbs"
    assert not any(line.startswith(("sinfo", "scontrol")) for line in both.argv)
    assert gather(machine("sinfo", **PBS), scheduler="pbs").scheduler == "pbs"


def test_a_site_file_beside_says_which_scheduler_this_machine_has(machine: Callable[..., Machine]) -> None:
    both = machine("sinfo", **PBS)
    Path("lab.yaml").write_text("name: lab\nscheduler: pbs\nidentify: {hostname: '.*'}\n")
    assert gather(both).scheduler == "pbs" and not any(line.startswith("sinfo") for line in both.argv)


def test_one_that_is_installed_and_does_not_answer_gives_way_to_the_other(machine: Callable[..., Machine]) -> None:
    both = machine("sinfo", **PBS)
    assert gather(both).scheduler == "pbs" and any(line.startswith("sinfo") for line in both.argv)
    with pytest.raises(SiteError, match="no scheduler answers"):
        gather(machine("sinfo", "qstat"))
    with pytest.raises(SiteError, match="neither sinfo"):
        gather(machine("ls"))


@pytest.mark.parametrize(
    ("version", "told", "expected"),
    [
        ("mpirun (Open MPI) 4.1.4", "  MCA plm: rsh (MCA v2.1.0)\n  MCA ras: slurm (MCA v2.1.0)\n", "mpi.hostfile"),
        ("mpirun (Open MPI) 5.0.3", "  MCA plm: tm (MCA v2.1.0)\n", "Open MPI 5"),
    ],
)
def test_what_ranks_need_is_said_before_the_first_job(machine, version: str, told: str, expected: str) -> None:
    here = machine(**PBS, **{"mpirun --version": version, "ompi_info": told})
    found = gather(here, scheduler="pbs")
    notes = "\n".join(found.notes)
    assert expected in notes and "mpi.flavour: openmpi" in notes and "$usecp" in notes
    assert ("hostfile: $PBS_NODEFILE" in site_file(found, "here")) == (expected == "mpi.hostfile")
    site = Site.model_validate({"name": "s", "scheduler": "pbs", "mpi": {"launcher": "mpirun", "flavour": "openmpi"}})
    assert any(finding.what == "mpi.hostfile" for finding in compare(site, found)) == (expected == "mpi.hostfile")


def test_a_site_without_a_flavour_is_told_what_that_means() -> None:
    site = Site.model_validate({"name": "s", "scheduler": "slurm", "mpi": {"launcher": "srun"}})
    findings = {finding.what: finding for finding in compare(site, Facts("slurm", launchers=["srun"]))}
    assert findings["mpi.flavour"].ok is None and "mpi4py" in findings["mpi.flavour"].remedy
