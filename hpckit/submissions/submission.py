"""A submission: the elements, scripts and job ids of one `hpckit submit` or `retry`, in the run directory.

::

    <run>/submissions/0001/
      submission.json      site, stages with their resources, jobs, digest of the frozen inputs; never changed
      elements.parquet     which unit belongs to which element
      *.sh                 job scripts, as they were submitted
      jobs.jsonl           ids, one line per accepted job
      logs/                output of the jobs
      gate-signatures.json     what the gate found
      committed, released, cancelling, cancelled, abandoned, ended
                           what happened to the whole; each written once

Elements refuse to work before `committed` is there: a chain of jobs of which only a part was accepted never
runs. The root jobs are held until then.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.account import login_name
from hpckit.base.card import card
from hpckit.base.files import append_line, write_json
from hpckit.base.quantities import format_count
from hpckit.base.reading import folders_in, is_there, read_bytes, read_json, typed
from hpckit.base.version import __version__
from hpckit.errors import SubmissionError
from hpckit.sites.scheduler.model import Job, Resources
from hpckit.sites.site import Site, site_from

Mark = Literal["committed", "released", "cancelling", "cancelled", "abandoned", "ended"]
_LISTED: Final = 6
_OVER: Final[tuple[Mark, ...]] = ("cancelled", "abandoned", "ended")


@dataclass(frozen=True, slots=True)
class StageLayout:
    """A stage as it is submitted."""

    stage: str
    elements: int
    units: int
    core_s: float
    """Estimated core-seconds of all units."""
    makespan_s: float
    """Seconds that the slowest element is expected to last."""
    resources: Resources
    throttle: int | None = None
    alone: bool = False
    """Elements are started without MPI."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that the scheduler accepted."""

    id: str
    name: str
    stage: str
    script: str
    first: int
    """Element that index 0 stands for."""
    count: int
    index: int | None = None
    """Of an element that was submitted as a job of its own."""

    def element(self, index: int | None) -> int | None:
        """Element that an index of the array stands for; None for the array as a whole."""
        if self.index is not None:
            return self.first + self.index
        if index is None:
            return self.first if self.count == 1 else None
        return self.first + index


@dataclass(frozen=True)
class Submission:
    """What was submitted."""

    path: Path
    site: Site
    stages: tuple[StageLayout, ...]
    jobs: tuple[Job, ...]
    """In the order in which they are submitted: after those that they follow."""
    unread: int = 0
    """Products and folders that could not be read at the moment of the plan, and are left out."""

    @property
    def number(self) -> int:
        """1 for the first of a run."""
        return int(self.path.name)

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        return self.path.parent.parent

    @property
    def elements(self) -> Path:
        """Which unit belongs to which element."""
        return self.path / "elements.parquet"

    @cached_property
    def described(self) -> dict[str, Any]:
        """Content of submission.json."""
        return _read_json(self.path / "submission.json")

    @property
    def frozen(self) -> str:
        """Digest of the frozen inputs that it works from."""
        return str(self.described.get("frozen", ""))

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return datetime.fromisoformat(self.described["created"]).timestamp()

    def _repr_html_(self) -> str:
        ids: dict[str, list[str]] = {}
        for job in self.submitted():
            ids.setdefault(job.stage, []).append(job.id)
        sizes = {item.stage: f"{format_count(item.elements, 'element')}, " for item in self.stages}
        rows = [(stage, f"{sizes.get(stage, '')}{_listed(jobs)}") for stage, jobs in ids.items()]
        rows = rows or [("jobs", "none were submitted")]
        return card(f"Submission {self.number} on {self.site.name}", rows)

    def stage(self, name: str) -> StageLayout | None:
        """A stage, if it has anything to do."""
        return next((item for item in self.stages if item.stage == name), None)

    def mark(self, what: Mark, **facts: object) -> None:
        """Write down what happened to the submission."""
        write_json(self.path / what, {"time": _now(), **facts})

    def has(self, what: Mark) -> bool:
        """Whether that happened."""
        return is_there(self.path / what)

    @property
    def is_over(self) -> bool:
        """Whether none of its jobs will run any more, as far as was noticed."""
        return any(self.has(mark) for mark in _OVER)

    def gate(self, stage: str) -> dict[str, Any] | None:
        """What the gate before a stage found; an empty answer if it has not spoken, None if there is no gate."""
        if not any(job.gates == stage for job in self.jobs):
            return None
        path = self.path / f"gate-{stage}.json"
        return _read_json(path) if path.exists() else {}

    def record(self, submitted: Submitted) -> None:
        """Write down an accepted job."""
        append_line(self.path / "jobs.jsonl", json.dumps({**asdict(submitted), "time": _now()}))

    def submitted(self) -> list[Submitted]:
        """Jobs that were accepted."""
        path = self.path / "jobs.jsonl"
        known = []
        for line in read_bytes(path).split(b"\n") if is_there(path) else []:
            try:
                known.append(typed(Submitted, json.loads(line)))
            except (ValueError, RecursionError):
                continue  # cut by a crash: found by its name
        return known

    def log(self, submitted: Submitted, index: int | None) -> Path:
        """Output of an element; the script says the same."""
        number = submitted.index if submitted.index is not None else index or 0
        return self.path / "logs" / f"{Path(submitted.script).stem}.{number}.out"


def _listed(jobs: list[str]) -> str:
    more = f" and {len(jobs) - _LISTED:,} more" if len(jobs) > _LISTED else ""
    return f"job{'s' if len(jobs) > 1 else ''} {', '.join(jobs[:_LISTED])}{more}"


def create(run_dir: Path) -> Path:
    """Make the folder of the next submission."""
    known = [submission.number for submission in submissions(run_dir)]
    path = run_dir / "submissions" / f"{max(known, default=0) + 1:04d}"
    # One that was killed before it described its submission left the folder, and submitted nothing.
    (path / "logs").mkdir(parents=True, exist_ok=True)
    return path


def save(submission: Submission, *, frozen: str, options: dict[str, Any] | None = None) -> None:
    """Write submission.json."""
    described = {
        "created": _now(),
        "by": f"{login_name()}@{socket.gethostname()}",
        "hpckit": __version__,
        "frozen": frozen,
        "options": options or {},
        "unread": submission.unread,
        "site": submission.site.model_dump(mode="json"),
        "stages": [asdict(stage) for stage in submission.stages],
        "jobs": [{**asdict(job), "script": job.script.name, "logs": "logs"} for job in submission.jobs],
    }
    write_json(submission.path / "submission.json", described)


def load(path: Path) -> Submission:
    """Read a submission.

    Raises
    ------
    SubmissionError
        If it is damaged.
    """
    values = _read_json(path / "submission.json")
    try:
        stages = tuple(
            typed(StageLayout, {**stage, "resources": _resources(stage["resources"])}) for stage in values["stages"]
        )
        jobs = tuple(
            typed(
                Job,
                {
                    **job,
                    "script": path / job["script"],
                    "logs": path / job["logs"],
                    "resources": _resources(job["resources"]),
                },
            )
            for job in values["jobs"]
        )
        return Submission(path, site_from(values["site"]), stages, jobs, int(values.get("unread", 0)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SubmissionError(f"{path / 'submission.json'}: damaged, or of another version") from error


def submissions(run_dir: Path) -> list[Submission]:
    """All submissions of a run, first to last; those that were cut before they were written are left out."""
    folders = [path for path in folders_in(run_dir / "submissions") if re.fullmatch(r"\d{4,}", path.name)]
    return [load(folder) for folder in folders if is_there(folder / "submission.json")]


def latest(run_dir: Path) -> Submission | None:
    """The last submission, if there is one."""
    known = submissions(run_dir)
    return known[-1] if known else None


def job_name(run_id: str, number: int, stage: str, part: int | None = None) -> str:
    """Name of a job: unique for run and submission, at most 60 plain characters."""
    tail = "" if part is None else f"-{part}"
    return f"hp-{re.sub(r'[^A-Za-z0-9]', '', run_id)[-12:]}-{number}-{stage}{tail}"


def _resources(values: dict[str, Any]) -> Resources:
    return typed(Resources, values)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, lambda _: SubmissionError(f"{path}: damaged"))
    except FileNotFoundError:
        raise SubmissionError(f"{path}: no such file", hint="was the run directory deleted?") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
