"""How the ranks of an element are started: the words before the worker's own."""

from __future__ import annotations

from hpckit.scheduler.model import Resources
from hpckit.site import Mpi


def launch(mpi: Mpi, resources: Resources) -> list[str]:
    """Words that start one worker per rank; none where a single process, or processes of one node, will do.

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
            "--mca",
            "orte_enable_recovery",
            "1",
        ]
    elif mpi.flavour in ("mpich", "intel", "cray"):
        words += ["-ppn", str(resources.ranks)]
        if mpi.flavour == "mpich":
            words.append("-disable-auto-cleanup")
    return [*words, *mpi.options]


def processes(mpi: Mpi, resources: Resources) -> int:
    """Worker processes that one worker command starts itself: without MPI all ranks of the node."""
    return resources.ranks if mpi.launcher == "none" else 1
