"""What all schedulers have in common: resources, jobs, states, and what a scheduler must be able to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """At most 60 of `[A-Za-z0-9_.-]`; tells the jobs of one submission from all others."""
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
    ENDED = "ended"
    """Over; how, this answer does not tell."""
    UNKNOWN = "unknown"

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


class Scheduler(Protocol):
    """Builds commands and reads answers; runs nothing.

    A further scheduler is a module with such a class, a template `jobscripts/<name>.sh.j2`, and its name in
    `hpckit.scheduler.scheduler_of` and `Site.scheduler`.
    """

    @property
    def name(self) -> str:
        """As in the site file."""
        ...

    @property
    def unset(self) -> tuple[str, ...]:
        """Prefixes of variables that must not reach the commands, since they change what is asked."""
        ...

    def submit(
        self, job: Job, after: Sequence[str], *, hold: bool, mirrored: str | None = None, index: int | None = None
    ) -> Command:
        """Command that submits a job.

        Parameters
        ----------
        after : sequence of str
            Ids of jobs that must have ended, however they ended.
        hold : bool
            Keep it from starting.
        mirrored : str, optional
            Id of the array that `job.mirrors`.
        index : int, optional
            Submit only this element, as a job of its own.

        Raises
        ------
        SchedulerError
            If the scheduler has no such dependency.
        """
        ...

    def read_submit(self, answer: Answer) -> str:
        """Id of the job.

        Raises
        ------
        SchedulerError
            If it was refused.
        SchedulerUnavailableError
            If the scheduler does not answer.
        """
        ...

    def query(self, jobs: Sequence[str]) -> Command:
        """Command that asks for the elements of all jobs at once."""
        ...

    def read_query(self, answer: Answer) -> list[Sighting]:
        """What is known; jobs that the scheduler has forgotten are left out.

        Raises
        ------
        SchedulerUnavailableError
            If the scheduler does not answer; nothing is known then.
        """
        ...

    def history(self, jobs: Sequence[str]) -> Command | None:
        """Command that asks how elements ended and what they used; None if there is none."""
        ...

    def read_history(self, answer: Answer) -> list[Sighting]:
        """What is known of elements that ended."""
        ...

    def cancel(self, jobs: Sequence[str]) -> Command:
        """Command that cancels jobs."""
        ...

    def hold(self, jobs: Sequence[str]) -> Command:
        """Command that keeps jobs from starting."""
        ...

    def release(self, jobs: Sequence[str]) -> Command:
        """Command that lets held jobs start."""
        ...

    def find(self, name: str) -> Command:
        """Command that lists this user's jobs of a name."""
        ...

    def read_find(self, answer: Answer, name: str) -> list[str]:
        """Ids of the jobs of a name."""
        ...

    def check_done(self, answer: Answer) -> None:
        """Accept the answer to cancel, hold or release; jobs that are gone already are no fault.

        Raises
        ------
        SchedulerError
            If it was refused.
        """
        ...

    def element_id(self, job: str, index: int | None) -> str:
        """How the scheduler calls one element."""
        ...
