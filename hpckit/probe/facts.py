"""Facts of the cluster that one stands on, and how they are asked for."""

from __future__ import annotations

import getpass
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hpckit.errors import SchedulerError, SiteError
from hpckit.scheduler.model import Command
from hpckit.scheduler.runner import LocalRunner, Runner
from hpckit.site import Partition

_PARALLEL: Final = {
    "lustre": "lustre",
    "gpfs": "gpfs",
    "beegfs": "beegfs",
    "ceph": "ceph",
    "nfs": "nfs",
    "wekafs": "weka",
}


@dataclass(slots=True)
class Facts:
    """What was found; what could not be asked is left empty, with a note."""

    scheduler: str
    version: str = ""
    partitions: list[Partition] = field(default_factory=list)
    """Default first."""
    array_size: int | None = None
    memory_is_shared_out: bool = True
    """Whether the scheduler counts memory."""
    mpi_flavours: list[str] = field(default_factory=list)
    """What `srun --mpi=list` offers."""
    accounts: list[str] | None = None
    """None if that may not be asked."""
    file_systems: dict[str, str] = field(default_factory=dict)
    """Kind of parallel file systems by mount point."""
    has_modules: bool = False
    containers: list[str] = field(default_factory=list)
    launchers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gather(runner: Runner | None = None) -> Facts:
    """Ask the cluster that this machine belongs to.

    Raises
    ------
    SiteError
        If there is no scheduler here, or it is Torque.
    """
    from hpckit.probe import pbs, slurm

    runner = runner or LocalRunner(("SLURM_", "SBATCH_", "PBS_"), 60)
    if shutil.which("sinfo"):
        facts = slurm.gather(runner)
    elif shutil.which("qstat"):
        facts = pbs.gather(runner)
    else:
        raise SiteError(
            "there is no scheduler on this machine: neither sinfo (Slurm) nor qstat (PBS) is found",
            hint="run it on a login node of the cluster, perhaps after `module load slurm`",
        )
    if not facts.partitions:
        why = facts.notes[0] if facts.notes else "it lists no partitions"
        raise SiteError(
            f"the scheduler's commands are here, but no scheduler answers: {why}",
            hint="is this a login node of the cluster? Load its module, or try again in some minutes",
        )
    facts.file_systems = parallel_file_systems(Path("/proc/mounts").read_text())
    facts.has_modules = "LMOD_CMD" in os.environ or "MODULESHOME" in os.environ
    facts.containers = [name for name in ("apptainer", "singularity") if shutil.which(name)]
    facts.launchers = [name for name in ("srun", "mpirun", "mpiexec") if shutil.which(name)]
    return facts


def ask(runner: Runner, facts: Facts, *words: str) -> str:
    """Output of a command; empty, with a note, where it fails."""
    try:
        answer = runner(Command(words))
    except SchedulerError as error:
        facts.notes.append(str(error))
        return ""
    if answer.code != 0:
        facts.notes.append(f"{words[0]}: {' '.join(answer.stderr.split())[:200] or f'exit code {answer.code}'}")
    return answer.stdout


def parallel_file_systems(mounts: str) -> dict[str, str]:
    """Kind by mount point, of the file systems that several machines share.

    >>> parallel_file_systems("10.0.0.1@o2ib:/work /work lustre rw 0 0\\ntmpfs /tmp tmpfs rw 0 0")
    {'/work': 'lustre'}
    """
    found = {}
    for line in mounts.splitlines():
        fields = line.split()
        kind = next(
            (kind for name, kind in _PARALLEL.items() if len(fields) > 2 and fields[2].startswith(name)), None
        )
        if kind is not None:
            found[fields[1].replace("\\040", " ")] = kind
    return found


def user() -> str:
    """Login name of this person."""
    return getpass.getuser()
