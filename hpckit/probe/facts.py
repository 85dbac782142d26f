"""Facts of the cluster that one stands on, and how they are asked for."""

from __future__ import annotations

import getpass
import shutil
from dataclasses import dataclass, field
from typing import Final

from hpckit.errors import SchedulerError, SiteError
from hpckit.scheduler.model import Command
from hpckit.scheduler.runner import LocalRunner, Runner
from hpckit.site import Partition

COMMANDS: Final = {
    "slurm": ("sbatch", "squeue", "sacct", "scancel", "scontrol"),
    "pbs": ("qsub", "qstat", "qdel", "qhold", "qrls"),
}
"""What hpckit calls, by scheduler."""
_DISTURBING: Final = ("SLURM_", "SBATCH_", "SINFO_", "PBS_")
"""Variables that change what commands print."""
_TIMEOUT_S: Final = 60


@dataclass(slots=True)
class Facts:
    """What was found; what could not be asked is left empty, with a note."""

    scheduler: str
    version: str = ""
    cluster: str = ""
    """What the cluster calls itself."""
    partitions: list[Partition] = field(default_factory=list)
    """Those that take jobs of this user; the default first."""
    closed: dict[str, str] = field(default_factory=dict)
    """Partitions that do not, and why."""
    array_size: int | None = None
    """Slurm: MaxArraySize; PBS: max_array_size. 0: there are no arrays."""
    memory_is_shared_out: bool = True
    """Whether the scheduler counts memory."""
    settings: dict[str, str] = field(default_factory=dict)
    """Further settings that a user may want to know."""
    mpi_flavours: list[str] = field(default_factory=list)
    """What `srun --mpi=list` offers."""
    accounts: list[str] | None = None
    """The user's, the default first; None if that may not be asked."""
    qos: list[str] | None = None
    """The user's; None if that may not be asked."""
    missing: list[str] = field(default_factory=list)
    """Commands of the scheduler that are not found."""
    file_systems: dict[str, str] = field(default_factory=dict)
    """Kind of parallel file systems by mount point."""
    modules: str = ""
    """The system of environment modules, if there is one."""
    containers: dict[str, str] = field(default_factory=dict)
    """Version of apptainer and singularity, by name."""
    launchers: list[str] = field(default_factory=list)
    """Those of srun, mpirun and mpiexec that are found without any module."""
    mpirun: str = ""
    """What mpirun says of itself."""
    notes: list[str] = field(default_factory=list)
    """What could not be asked, or is to be thought of."""


def gather(runner: Runner | None = None) -> Facts:
    """Ask the cluster that this machine belongs to.

    Raises
    ------
    SiteError
        If there is no scheduler here, none that answers, or it is Torque.
    """
    from hpckit.probe import here, pbs, slurm

    runner = runner or LocalRunner(_DISTURBING, _TIMEOUT_S)
    if shutil.which("sinfo"):
        facts = slurm.gather(runner)
    elif shutil.which("qstat"):
        facts = pbs.gather(runner)
    else:
        raise SiteError(
            "there is no scheduler on this machine: neither sinfo (Slurm) nor qstat (PBS) is found",
            hint="run it on a login node of the cluster, perhaps after `module load slurm`",
        )
    if not facts.partitions and not facts.closed:
        why = facts.notes[0] if facts.notes else "it lists no partitions"
        raise SiteError(
            f"the scheduler's commands are here, but no scheduler answers: {why}",
            hint="is this a login node of the cluster? Load its module, or try again in some minutes",
        )
    facts.missing = [name for name in COMMANDS[facts.scheduler] if shutil.which(name) is None]
    here.describe(facts, runner)
    return facts


def ask(runner: Runner, facts: Facts, *words: str, both: bool = False) -> str:
    """Output of a command; empty, with a note, where it fails.

    Parameters
    ----------
    both : bool
        Read stderr too, for commands that answer there.
    """
    try:
        answer = runner(Command(words))
    except SchedulerError as error:
        facts.notes.append(str(error))
        return ""
    if answer.code != 0:
        why = " ".join(answer.stderr.split())[:200] or f"exit code {answer.code}"
        facts.notes.append(f"{words[0]}: {why}")
    return answer.stdout + answer.stderr if both else answer.stdout


def user() -> str:
    """Login name of this person."""
    return getpass.getuser()
