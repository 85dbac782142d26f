"""What the hpckit of nodes can use, and what mpi4py is told of the site's MPI."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.errors import SiteError
from hpckit.jobs.mpi import _abi
from hpckit.sites.installed import has_mpi4py, python_of, require_mpi4py
from hpckit.sites.jobscript.launch import launch, mpi_abi
from hpckit.sites.jobscript.script import render
from hpckit.sites.parts import Mpi
from hpckit.sites.scheduler.model import Job, Resources
from hpckit.sites.site import Site

RANKS = Resources(ranks=4)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without mpi4py, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("an env") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


def program(folder: Path, python: Path) -> str:
    """A console script as pip writes it for a path that no first line can hold."""
    path = folder / "hpckit"
    path.write_text(f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nimport hpckit\n")
    path.chmod(0o755)
    return str(path)


def site(**fields) -> Site:
    return Site.model_validate({"name": "s", "scheduler": "slurm", "mpi": {"launcher": "srun"}, **fields})


class Said(Console):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_the_python_of_a_program_is_found(tmp_path):
    assert python_of([program(tmp_path, Path("/opt/my env/bin/python3.11"))]) == "/opt/my env/bin/python3.11"
    (tmp_path / "plain").write_text("#!/opt/venv/bin/python3\nimport hpckit\n")
    assert python_of([str(tmp_path / "plain")]) == "/opt/venv/bin/python3"
    (tmp_path / "wrapper").write_text("#!/bin/bash\nmodule load Python\nexec hpckit\n")
    assert python_of([str(tmp_path / "wrapper")]) is None and python_of(["/none/hpckit"]) is None
    assert python_of([sys.executable, "-m", "hpckit"]) == sys.executable


def test_mpi4py_is_looked_for_where_the_nodes_hpckit_is(bare, tmp_path):
    assert has_mpi4py(site(), [sys.executable, "-m", "hpckit"]) is True
    command = [program(tmp_path, bare / "bin/python")]
    assert has_mpi4py(site(), command) is False
    (tmp_path / "more/mpi4py").mkdir(parents=True)
    (tmp_path / "more/mpi4py/__init__.py").touch()
    assert has_mpi4py(site(environment={"PYTHONPATH": str(tmp_path / "more")}), command) is True
    assert has_mpi4py(site(), ["/nowhere/hpckit"]) is None, "that nodes may have it"


def test_ranks_without_mpi4py_are_refused_before_anything_is_submitted(bare, tmp_path):
    command, said = [program(tmp_path, bare / "bin/python")], Said()
    with pytest.raises(SiteError, match=r"starts ranks by srun, and .*hpckit has no mpi4py") as caught:
        require_mpi4py(site(), [Resources(), RANKS], command, said)
    assert "hpckit-eo[mpi]" in (caught.value.hint or "")
    require_mpi4py(site(), [Resources()], command, said)
    require_mpi4py(site(mpi={"launcher": "none"}), [RANKS], command, said)
    assert not said.warnings
    require_mpi4py(site(modules=["mpi4py/4.0"]), [RANKS], command, said)
    assert "unless `modules` or `setup` bring it" in said.warnings[0]


def test_an_image_without_mpi_is_refused(tmp_path):
    image, command = tmp_path / "eo.sif", tmp_path / "apptainer"
    image.touch()
    labels = '{"data": {"attributes": {"labels": {"org.hpckit.mpi": "%s"}}}}'
    fields = {"runtime": "apptainer", "container": {"image": str(image), "command": str(command)}}
    for built, expected in (("none", False), ("mpich", True)):
        command.write_text(f"#!/bin/sh\necho '{labels % built}'\n")
        command.chmod(0o755)
        assert has_mpi4py(site(**fields), ["hpckit"]) is expected
    command.write_text('#!/bin/sh\n[ "$1" = exec ] && exit 3\necho \'{"data": {"attributes": {}}}\'\n')
    assert has_mpi4py(site(**fields), ["hpckit"]) is False, "an image of another's making is asked itself"
    command.unlink()
    assert has_mpi4py(site(**fields), ["hpckit"]) is None


@pytest.mark.parametrize(
    ("flavour", "abi"),
    [("openmpi", "openmpi"), ("mpich", "mpich"), ("intel", "mpich"), ("cray", "mpich"), (None, None)],
)
@pytest.mark.parametrize("given", [{}, {"MPI4PY_MPIABI": "mine"}, {"MPI4PY_LIBMPI": "/opt/libmpi.so"}])
def test_the_flavour_of_the_site_reaches_mpi4py(tmp_path, flavour, abi, given):
    mpi = {"launcher": "srun", **({"flavour": flavour} if flavour else {})}
    path = tmp_path / "hpckit"
    path.write_text('#!/bin/sh\necho "abi ${MPI4PY_MPIABI-none}"\n')
    path.chmod(0o755)
    job = Job("n", "ingest", tmp_path / "x.sh", tmp_path, Resources())
    job.script.write_text(
        render(job, site(mpi=mpi, environment=given), run=tmp_path, submission=1, command=[str(path)])
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPI4PY")}
    done = subprocess.run(["bash", job.script], env=environment, capture_output=True, text=True, check=True)
    expected = given.get("MPI4PY_MPIABI") or (None if given else abi) or "none"
    assert f"abi {expected}\n" in done.stdout
    assert mpi_abi(Mpi.model_validate(mpi)) == abi and mpi_abi(Mpi()) is None


@pytest.mark.parametrize(
    ("variables", "abi"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}, "openmpi"),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "2"}, "openmpi"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, "mpich"),
        ({"PMIX_RANK": "0", "PMI_RANK": "0"}, "mpich"),
        ({"PALS_SIZE": "2"}, "mpich"),
    ],
)
def test_what_launchers_tell(variables, abi):
    assert _abi(variables) == abi


def test_ranks_of_open_mpi_live_on_with_versions_4_and_5():
    words = launch(Mpi(launcher="mpirun", flavour="openmpi"), RANKS)
    assert "--enable-recovery" in words and "orte_enable_recovery" not in words
