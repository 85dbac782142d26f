"""How the ranks of an element are started: the words before the worker's own."""

from __future__ import annotations

from hpckit.sites.parts import Mpi
from hpckit.sites.scheduler.model import Resources


def launch(mpi: Mpi, resources: Resources) -> list[str]:
    """Words that start one worker per rank; none where a single process, or processes of one node, will do.

    They may hold variables of the job, `$PBS_NODEFILE`: `expandable` makes words of bash of them.

    Where an MPI allows it, ranks go on when another one dies: what it had in work is found by `retry`.
    """
    ranks = resources.ranks_in_all
    if ranks == 1 or mpi.launcher == "none":
        return []
    if mpi.launcher == "srun":
        # -c is said since Slurm 22.05 does not hand it on from the job.
        return [
            "srun",
            f"--ntasks={ranks}",
            f"--ntasks-per-node={resources.ranks}",
            f"--cpus-per-task={resources.cores}",
            "--kill-on-bad-exit=0",
            *mpi.options,
        ]
    words = [mpi.launcher, "-n", str(ranks)]
    if mpi.flavour == "openmpi":
        words += [
            "--map-by",
            f"ppr:{resources.ranks}:node",
            "--bind-to",
            "none",
            # Of Open MPI 4 and 5; the parameter of 4 is ignored by 5.
            "--enable-recovery",
        ]
    elif mpi.flavour in ("mpich", "intel", "cray"):
        words += ["-ppn", str(resources.ranks)]
        if mpi.flavour == "mpich":
            words.append("-disable-auto-cleanup")
    return [*words, *_hosts(mpi), *mpi.options]


def _hosts(mpi: Mpi) -> list[str]:
    """Which nodes the ranks are on, where the MPI does not learn it from the scheduler."""
    if mpi.hostfile is None:
        return []
    # -machinefile is known to Open MPI, MPICH and Intel MPI; Cray's has the other name only.
    return ["--hostfile" if mpi.flavour in ("openmpi", "cray") else "-machinefile", mpi.hostfile]


def mpi_abi(mpi: Mpi) -> str | None:
    """Kind of MPI that mpi4py's wheels shall load (MPI4PY_MPIABI), as the site's flavour has it."""
    if mpi.launcher == "none" or mpi.flavour is None:
        return None
    return "openmpi" if mpi.flavour == "openmpi" else "mpich"


def processes(mpi: Mpi, resources: Resources) -> int:
    """Worker processes that one worker command starts itself: without MPI all ranks of the node."""
    return resources.ranks if mpi.launcher == "none" else 1
