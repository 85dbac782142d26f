"""No scheduler: jobs are processes of this machine, followed by a queue of files (`localqueue.py`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from hpckit.errors import SchedulerError, SchedulerUnavailableError
from hpckit.sites.scheduler.answers import shortened
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Answer, Command, FoundJob, Job, Sighting, State

_QUEUE = (sys.executable, "-m", "hpckit.sites.scheduler.localqueue")


class Local(Scheduler):
    """Processes of this machine."""

    name = "local"
    title = "the queue of this machine"
    unset = ("HPCKIT_INDEX",)
    array_size = 100_000
    here = True

    def submit(
        self,
        job: Job,
        after: Sequence[str],
        *,
        hold: bool,
        mirrored: str | None = None,
        index: int | None = None,
        beside: str | None = None,
    ) -> Command:
        """Start a supervisor of the job."""
        if mirrored is not None:
            raise SchedulerError(
                "the queue of this machine has no dependencies between elements", hint="use --chain stages"
            )
        words = ["submit", "--name", job.name, "--count", str(job.count), "--cores", str(job.resources.cores_in_all)]
        words += ["--log", str(job.logs / job.script.stem), "--walltime", str(job.resources.walltime_s)]
        words += [word for identifier in after for word in ("--after", identifier)]
        words += ["--hold"] if hold else []
        words += [] if index is None else ["--index", str(index)]
        return Command((*_QUEUE, *words, str(job.script)))

    def read_submit(self, answer: Answer) -> str:
        """Id of the job."""
        _require(answer)
        if not answer.stdout.strip().isdigit():
            raise SchedulerError(
                f"the queue of this machine said {shortened(answer.stdout)!r} where a number is expected"
            )
        return answer.stdout.strip()

    def query(self, jobs: Sequence[str]) -> Command:
        """State of all elements."""
        return Command((*_QUEUE, "show", *jobs))

    def read_query(self, answer: Answer) -> list[Sighting]:
        """One JSON object per line."""
        _require(answer)
        return [_sighting(json.loads(line)) for line in answer.stdout.splitlines()]

    def history(self, jobs: Sequence[str]) -> Command | None:
        """The same as `query`: nothing is forgotten."""
        return self.query(jobs)

    def read_history(self, answer: Answer) -> list[Sighting]:
        """One JSON object per line."""
        return [sighting for sighting in self.read_query(answer) if sighting.state.is_over]

    def cancel(self, jobs: Sequence[str]) -> Command:
        """End supervisors and what they run."""
        return Command((*_QUEUE, "cancel", *jobs))

    def release(self, jobs: Sequence[str]) -> Command:
        """Let elements start."""
        return Command((*_QUEUE, "release", *jobs))

    def find(self, jobs: Sequence[Job], beside: str | None = None) -> Command:
        """Jobs of some names that are not over."""
        return Command((*_QUEUE, "find", *(job.name for job in jobs)))

    def read_find(self, answer: Answer, jobs: Sequence[Job]) -> list[FoundJob]:
        """One JSON object per line."""
        _require(answer)
        return [FoundJob(**json.loads(line)) for line in answer.stdout.splitlines()]

    def check_done(self, answer: Answer) -> None:
        """Nothing may go wrong."""
        _require(answer)

    def element_id(self, job: str, index: int | None) -> str:
        """`7[3]`."""
        return job if index is None else f"{job}[{index}]"

    def free_cores(self, partition: str) -> Command:
        """`nproc`: this machine is not shared."""
        return Command(("nproc",))

    def read_free_cores(self, answer: Answer) -> int | None:
        """A number."""
        _require(answer)
        return int(answer.stdout) if answer.stdout.strip().isdigit() else None

    def dask_cluster(self) -> type[Any]:
        """`distributed.LocalCluster`."""
        import distributed

        kind: type[Any] = distributed.LocalCluster
        return kind


def _require(answer: Answer) -> None:
    if answer.code == 124:
        raise SchedulerUnavailableError(f"the queue of this machine: {answer.stderr}", hint="try again")
    if answer.code != 0:
        raise SchedulerError(f"the queue of this machine: {answer.stderr.strip()[-300:]}")


def _sighting(values: dict[str, Any]) -> Sighting:
    return Sighting(**{**values, "state": State(values["state"])})
