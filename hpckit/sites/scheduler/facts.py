"""Facts of the cluster that one stands on, and how they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpckit.base.account import login_name
from hpckit.errors import SchedulerError
from hpckit.sites.parts import Partition
from hpckit.sites.scheduler.model import Command, Runner


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
    """Elements of the largest array, as the scheduler counts them. 0: there are no arrays."""
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
    mpi_asks_scheduler: bool | None = None
    """Whether this Open MPI learns from the scheduler on which nodes a job runs; None where this is unknown."""
    notes: list[str] = field(default_factory=list)
    """What could not be asked, or is to be thought of."""


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
    return login_name()
