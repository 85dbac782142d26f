"""What a job of the PBS stand-in is: what was asked for, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

VERSION: Final = "23.06.06"
OVER: Final = ("X", "F")
TERMINATED, FINISHED, FAILED = 91, 92, 93
SUBSTATES: Final = {"Q": 10, "R": 42, "B": 70, "H": 20}
DEPENDENCY_HOLD: Final = 22
WALLTIME_EXCEEDED: Final = -29


@dataclass
class Spec:
    """What qsub was asked for; the subjobs of an array share it."""

    name: str
    queue: str
    resources: dict[str, str]
    chunks: list[dict[str, int]]
    """Per chunk of `select`: its count and what each takes (cores, KiB)."""
    walltime_s: float | None
    variables: dict[str, str]
    output: str
    error: str
    arguments: str
    command: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    submitted: str = ""
    throttle: int | None = None
    shell: str = ""
    join: str = "n"
    keep: str = "n"
    mail: str = "a"
    priority: int = 0
    extra: dict[str, str] = field(default_factory=dict)
    """Attributes that are shown, and change nothing here: Account_Name, project, umask."""


@dataclass
class Job:
    """A job, an array, or a subjob."""

    id: str
    number: int
    spec: Spec
    ctime: float
    index: int | None = None
    state: str = "Q"
    substate: int = 10
    holds: str = ""
    depend: list[list[str]] = field(default_factory=list)
    comment: str = ""
    mtime: float = 0.0
    etime: float | None = None
    stime: float | None = None
    obittime: float | None = None
    history: float | None = None
    exit_status: int | None = None
    session: int | None = None
    slots: list[int] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)
    staged_out: int | None = None
    terminated: bool = False
    run_count: int = 0
    subjobs: dict[int, Job] = field(default_factory=dict)

    @property
    def is_array(self) -> bool:
        """Whether it has subjobs."""
        return bool(self.subjobs)

    @property
    def started(self) -> bool:
        """Whether it has a record of its own; a subjob that never started shows its array's."""
        return self.session is not None

    def count(self, *states: str) -> int:
        """How many subjobs are in these states."""
        return sum(job.state in states for job in self.subjobs.values())


def vnodes(spec: Spec, host: str) -> str:
    """`(vm:ncpus=1:mem=102400kb)+…`, one per chunk."""
    parts = []
    for chunk in spec.chunks:
        memory = f":mem={chunk['mem']}kb" if "mem" in chunk else ""
        parts += [f"({host}:ncpus={chunk['ncpus']}{memory})"] * chunk["count"]
    return "+".join(parts)


def clock(seconds: float) -> str:
    """`00:00:03`."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
