"""A batch job as a folder: what was asked for, what its owner wants now, and what became of it.

Three files, each with one writer, and each written by a temporary name: `job.json` and `wanted.json` by the gateway,
`state.json` by the follower. What the owner wants has a number, which the state repeats when it has been done, so
neither a killed gateway nor a killed follower forgets anything or does it twice.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.files import flush_folder, make_folder, remove_tree, write_json, write_text
from hpckit.base.reading import typed

Want = Literal["run", "stop", "delete"]
Status = Literal["created", "queued", "running", "canceled", "finished", "error"]
Mark = tuple[int, int, int] | None
Marks = tuple[Mark, ...]
IDENTIFIER: Final = re.compile(r"j-[0-9]{12}-[0-9a-f]{8}")
BUSY: Final = ("queued", "running")
_NEW: Final = ".new-"
GONE: Final = ".gone-"


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for."""

    id: str
    user: str
    process: dict[str, Any]
    created: str
    updated: str
    site: str
    """Name or file of the site."""
    account: str | None = None
    """Of the scheduler."""
    cluster_user: str | None = None
    """User of the cluster, where jobs are submitted as users."""
    command: str | None = None
    """Path of hpckit that sudo lets run as this user."""
    title: str | None = None
    description: str | None = None
    plan: str | None = None
    budget: float | None = None
    log_level: str = "info"
    options: dict[str, Any] = field(default_factory=dict)
    """`job_options`, as they were given."""
    retries: int = 1
    key: str = ""
    """Part of the addresses of its results; another one ends all links."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the owner wants now."""

    number: int
    want: Want
    time: float


@dataclass(frozen=True, slots=True)
class State:
    """What became of a job, as far as the follower knows."""

    number: int
    """Of the wish that it is about."""
    status: Status
    updated: float
    progress: float = 0.0
    """Percent."""
    submission: int = 0
    """Of its run; 0 before the first."""
    before: int = 0
    """Last submission of its run before this wish."""
    attempts: int = 0
    """How often it was begun to submit it."""
    retried: int = 0
    said: str = ""
    """What the log said last of the queue."""
    usage: dict[str, Any] = field(default_factory=dict)
    expired: bool = False
    """Whether its results were removed after their time."""


class JobFolder:
    """The folder of a job.

    Parameters
    ----------
    path : Path
        The folder, named after the job.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """Identifier of the job."""
        return self.path.name

    @property
    def campaign(self) -> Path:
        """Its campaign file."""
        return self.path / "campaign.yaml"

    @property
    def run(self) -> Path | None:
        """Its run directory; None before the first plan. It is found without reading the campaign."""
        return next(iter(sorted(self.path.glob("*.run"))), None)

    @property
    def results(self) -> Path:
        """Folder of its results."""
        return self.path / "results"

    @property
    def log(self) -> Path:
        """Its log."""
        return self.path / "log.jsonl"

    def marks(self) -> Marks:
        """What differs once one of the files of the job was written again: each is replaced by a new one.

        The first is that of what was asked for.
        """
        found: list[Mark] = []
        for name in ("job.json", "wanted.json", "state.json"):
            try:
                status = (self.path / name).stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except FileNotFoundError:
                found.append(None)
        return tuple(found)

    def job(self) -> Job:
        """What was asked for.

        Raises
        ------
        FileNotFoundError
            If there is no such job.
        """
        return typed(Job, _read(self.path / "job.json"))

    def write_job(self, job: Job) -> None:
        """Write what was asked for."""
        # Neither copied nor indented: graphs are long.
        known = {item.name: getattr(job, item.name) for item in fields(job)}
        write_text(self.path / "job.json", json.dumps(known, ensure_ascii=False) + "\n")

    def wanted(self) -> Wanted | None:
        """What the owner wants now; None before the job was ever started."""
        try:
            return typed(Wanted, _read(self.path / "wanted.json"))
        except FileNotFoundError:
            return None

    def want(self, what: Want) -> None:
        """Write what the owner wants now."""
        last = self.wanted()
        number = 1 if last is None else last.number + 1
        write_json(self.path / "wanted.json", asdict(Wanted(number, what, time.time())))

    def state(self) -> State | None:
        """What the follower wrote last."""
        try:
            return typed(State, _read(self.path / "state.json"))
        except FileNotFoundError:
            return None

    def write_state(self, state: State) -> State:
        """Write what became of it; gives what was written."""
        state = replace(state, updated=time.time())
        write_json(self.path / "state.json", asdict(state))
        return state

    def write_expired(self, state: State) -> None:
        """Write that its results were removed; when it ended stays as it was."""
        write_json(self.path / "state.json", asdict(replace(state, expired=True)))

    def shown(self) -> State:
        """What clients see: a wish that the follower has not seen yet counts as taken up."""
        wanted, state = self.wanted(), self.state()
        if wanted is None:
            return State(0, "created", 0.0)
        if state is not None and state.number == wanted.number:
            return state
        return State(wanted.number, "queued" if wanted.want == "run" else "canceled", wanted.time)

    def remove(self) -> None:
        """Remove the folder; it is no job any more from the first moment on."""
        gone = self.path.with_name(f"{GONE}{self.path.name}-{secrets.token_hex(4)}")
        self.path.rename(gone)
        remove_tree(gone)


def create(folder: Path, job: Job) -> JobFolder:
    """Make the folder of a job: it is there with its content, or not at all."""
    make_folder(folder)
    new, path = folder / f"{_NEW}{job.id}", folder / job.id
    new.mkdir()
    try:
        JobFolder(new).write_job(job)
        new.rename(path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    flush_folder(folder)
    return JobFolder(path)


def folders(folder: Path) -> Iterator[JobFolder]:
    """All jobs, oldest first."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    yield from (JobFolder(folder / name) for name in names if IDENTIFIER.fullmatch(name))


def tidy(folder: Path) -> None:
    """Remove what was half made or half removed when a process was killed."""
    for pattern in (f"{_NEW}*", f"{GONE}*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def new_id() -> str:
    """An identifier that sorts by time."""
    return f"j-{datetime.now(UTC):%y%m%d%H%M%S}-{secrets.token_hex(4)}"


def stamp(seconds: float | None = None) -> str:
    """A time by RFC 3339; now, if none is given."""
    at = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
