"""What all schedulers have in common: resources, jobs, states, commands and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Resources:
    """What one element of an array (or a single job) asks for."""

    nodes: int = 1
    ranks: int = 1
    """Processes per node."""
    cores: int = 1
    """Cores per rank."""
    memory_mib: int = 1024
    """Per node."""
    gpus: int = 0
    """Per node."""
    walltime_s: int = 3600
    partition: str = ""
    qos: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()
    """Further lines for the scheduler, verbatim."""

    @property
    def cores_per_node(self) -> int:
        """Cores of all ranks of a node."""
        return self.ranks * self.cores

    @property
    def cores_in_all(self) -> int:
        """Cores of all ranks of all nodes."""
        return self.nodes * self.cores_per_node

    @property
    def ranks_in_all(self) -> int:
        """Ranks of all nodes."""
        return self.nodes * self.ranks


@dataclass(frozen=True, slots=True)
class Job:
    """What is submitted in one go: an array of elements, or a single job."""

    name: str
    """At most 60 of `[A-Za-z0-9_.-]`; distinguishes the jobs of one submission from all others."""
    stage: str
    script: Path
    logs: Path
    """Existing folder of the scheduler's output files."""
    resources: Resources
    first: int = 0
    """Element that index 0 stands for."""
    count: int = 1
    throttle: int | None = None
    """Elements that run at a time."""
    follows: tuple[str, ...] = ()
    """Stages all of whose jobs must have ended before this one starts."""
    gates: str = ""
    """Stage that a gate lets work or not."""
    alone: bool = False
    """Each element is one process, which no launcher of ranks starts."""
    mirrors: str | None = None
    """Name of an array of as many elements: each element waits for its namesake there to succeed, not for all."""

    @property
    def is_root(self) -> bool:
        """Whether it waits for nothing."""
        return not self.follows and self.mirrors is None


class State(StrEnum):
    """What a scheduler thinks of a job or an element of an array. Truth about work stands in the journal."""

    PENDING = "pending"
    HELD = "held"
    """Does not start unless somebody does something."""
    RUNNING = "running"
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    NODE_FAILED = "node failed"
    """Through no fault of its own: node failure, preemption, failed launch."""
    CANCELLED = "cancelled"
    GAVE_BACK = "gave back"
    """Ended in good order and left units undone (exit code 75): asked to end, no time left, or not let work."""
    ENDED = "ended"
    """Over; this answer does not say how it ended."""
    UNKNOWN = "unknown"

    @property
    def is_live(self) -> bool:
        """Whether the scheduler has it: it waits or runs."""
        return self in (State.PENDING, State.HELD, State.RUNNING, State.SUSPENDED)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (State.PENDING, State.HELD, State.RUNNING, State.SUSPENDED, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a scheduler said of one element; of a whole job, or of all elements not named apart, without index."""

    job: str
    """Id that `submit` gave."""
    index: int | None
    state: State
    word: str
    """The scheduler's own word for the state."""
    reason: str = ""
    exit_code: int | None = None
    nodes: str = ""
    start: float | None = None
    """Seconds since 1970."""
    end: float | None = None
    elapsed_s: float | None = None
    cpu_s: float | None = None
    """Time of all cores that was used."""
    cores: int | None = None
    """Cores that were allocated."""
    max_rss: int | None = None
    """Largest memory of any process (Slurm) or of the job (PBS), bytes."""
    energy_j: float | None = None
    """What the nodes consumed meanwhile; None where the scheduler does not measure it."""
    denied: bool = False
    """The scheduler that gave the id says that it has no such job (any more); no end, until more is known."""


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job of this user that waits or runs, found by its name."""

    id: str
    """As `submit` gives it."""
    name: str
    script: str = ""
    """Path of its script, where the scheduler reports it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run where the scheduler is."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of the environment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command gave."""

    command: Command
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a user may charge, and where."""

    account: str
    partition: str = ""
    """Empty for any."""
    qos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variables:
    """Environment variables of a job, by their meaning; empty where a scheduler has no such variable."""

    job: str = ""
    """Id of the job."""
    index: str = ""
    """Index of the element in its array."""
    folder: str = ""
    """Folder in which it was submitted."""
    node: str = ""
    """Name of the node, where it is not that of the host."""
    node_file: str = ""
    """Path of a list of the job's nodes."""
    passed: tuple[str, ...] = ()
    """Patterns of variables that ranks need inside an image, `SLURM*`."""


class Runner(Protocol):
    """Runs commands where the scheduler is."""

    def __call__(self, command: Command) -> Answer:
        """Run a command and give its answer, whatever its exit code."""
        ...
