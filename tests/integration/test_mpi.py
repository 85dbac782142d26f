"""Drawing units by real MPI ranks: each position once, no rank that only waits, and what happens when ranks die."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpckit.errors import MpiError
from hpckit.jobs.mpi import _Process, join

pytestmark = pytest.mark.integration
pytest.importorskip("mpi4py", reason="mpi4py is not installed")

PROGRAM = Path(__file__).parent / "mpi_programs" / "draw.py"
MPICH = Path("/usr/lib/x86_64-linux-gnu/libmpich.so.12")
TCP = ["--mca", "btl", "tcp,self", "--mca", "pml", "ob1"]


def start(flavour: str, size: int, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    program = {"openmpi": "mpirun.openmpi", "tcp": "mpirun.openmpi", "mpich": "mpiexec.mpich"}[flavour]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: openmpi-bin, mpich)")
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [program, "-n", str(size)]
    if flavour == "mpich":
        library = folder / "lib"
        library.mkdir()
        (library / "libmpi.so.12").symlink_to(MPICH)  # the name of the MPICH ABI, that mpi4py's wheels load
        environment["LD_LIBRARY_PATH"] = str(library)
        command.append("-disable-auto-cleanup")
    else:
        command += ["--oversubscribe", "--mca", "orte_enable_recovery", "1", *(TCP if flavour == "tcp" else [])]
    command += [sys.executable, str(PROGRAM), str(folder), *(str(word) for word in words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def drawn(folder: Path) -> dict[int, list[int]]:
    files = {int(path.name.partition("-")[2]): path for path in folder.glob("rank-*")}
    return {rank: [int(line) for line in path.read_text().split()] for rank, path in sorted(files.items())}


@pytest.mark.parametrize("flavour", ["openmpi", "tcp", "mpich"])
@pytest.mark.parametrize("size", [2, 8])
def test_every_position_is_drawn_once_and_nobody_waits_for_a_busy_rank_0(flavour, size, tmp_path):
    done = start(flavour, size, tmp_path, 300)
    ranks = drawn(tmp_path)
    assert (tmp_path / "total").exists(), done.stderr
    assert (tmp_path / "total").read_text() == str(size) == str(len(ranks))
    assert sorted(position for mine in ranks.values() for position in mine) == list(range(300))
    assert all(mine == sorted(mine) for mine in ranks.values())
    # Rank 0 takes half a second for each unit: if others waited for it, it would do as many as they.
    assert len(ranks[0]) < 300 / size / 2


def test_a_single_rank_under_a_launcher(tmp_path):
    start("openmpi", 1, tmp_path, 3)
    assert drawn(tmp_path) == {0: [0, 1, 2]}


@pytest.mark.parametrize("flavour", ["openmpi", "tcp"])
def test_a_rank_that_dies_costs_its_own_unit_only(flavour, tmp_path):
    done = start(flavour, 4, tmp_path, 200, 2)
    ranks = drawn(tmp_path)
    finished = sorted(position for mine in ranks.values() for position in mine)
    assert len(ranks[2]) == 2, "the victim died in its third unit"
    assert len(finished) == len(set(finished)) == 199, done.stderr
    assert {path.read_text() for path in tmp_path.glob("end-*")} == {"False"}


@pytest.mark.parametrize("flavour", ["openmpi", "tcp", "mpich"])
def test_nothing_is_done_twice_and_nothing_hangs_when_rank_0_dies(flavour, tmp_path):
    start(flavour, 4, tmp_path, 4000, 0)
    finished = [position for mine in drawn(tmp_path).values() for position in mine]
    assert len(finished) == len(set(finished)) and len(drawn(tmp_path)[0]) == 2


def test_alone_without_mpi(monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PALS_SIZE", "SLURM_STEP_NUM_TASKS", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    ranks = join()
    assert (ranks.rank, ranks.size, list(ranks.draw(3)), ranks.gather("x")) == (0, 1, [0, 1, 2], ["x"])
    assert ranks.everyone(0)
    ranks.leave()


def test_a_launcher_of_another_mpi_is_said(tmp_path):
    """Each rank would believe to be alone, and do all the work."""
    if not MPICH.exists():
        pytest.skip("MPICH (Debian: mpich) is not installed")
    code = "import os; os.environ.update(PMI_SIZE='4', MPI4PY_MPIABI='openmpi')\nfrom hpckit.jobs.mpi import join\n"
    code += "try:\n    join()\nexcept Exception as error:\n    print(type(error).__name__, error, error.hint)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMPI", "PMI", "SLURM"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(MpiError.__name__) and "MPI4PY_MPIABI" in done.stdout, done.stderr


def test_a_process_is_gone_only_if_that_is_certain():
    own = _Process.own()
    assert not own.is_gone()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    ended = replace(own, pid=child.pid)
    assert ended.is_gone()
    assert not replace(ended, host="another").is_gone() and not replace(ended, namespace="pid:[1]").is_gone()
