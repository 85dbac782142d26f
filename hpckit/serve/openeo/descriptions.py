"""What clients that poll are told of jobs: kept while the files of a job are the same; graphs are read once."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from typing import Any, Final

from hpckit.serve.openeo.jobfolder import Job, JobFolder, Mark, Marks, State, stamp

_MOST_BYTES: Final = 64 * 2**20
_MOST_HEADS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Told:
    """What was told of a job."""

    asked: Mark
    """Of the file that says what was asked for."""
    marks: Marks
    process: bytes
    body: bytes

    @property
    def nbytes(self) -> int:
        return len(self.process) + len(self.body)


class Descriptions:
    """Descriptions of jobs, each made again once one of the job's files was written again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: dict[str, tuple[Mark, Job]] = {}
        self._told: dict[str, _Told] = {}
        self._nbytes = 0

    def head(self, folder: JobFolder) -> Job:
        """What was asked for, without the process.

        Raises
        ------
        FileNotFoundError
            If there is no such job.
        """
        mark = folder.marks()[0]
        known, job = self._heads.get(folder.id, (None, None))
        if job is None or known is None or known != mark:
            job = self._keep_head(folder.id, mark, folder.job())
        return job

    def body(self, folder: JobFolder) -> bytes:
        """All that is told of a job, as JSON.

        Raises
        ------
        FileNotFoundError
            If there is no such job.
        """
        marks = folder.marks()
        told = self._told.get(folder.id)
        if told is not None and told.marks == marks:
            return told.body
        if told is not None and told.asked == marks[0]:
            head, process = self.head(folder), told.process
        else:
            job = folder.job()
            head, process = self._keep_head(folder.id, marks[0], job), _encoded(job.process)
        body = _body(head, folder.shown(), process)
        self._keep(folder.id, _Told(marks[0], marks, process, body))
        return body

    def _keep_head(self, name: str, mark: Mark, job: Job) -> Job:
        head = replace(job, process={})
        with self._lock:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.pop(next(iter(self._heads)))
            self._heads[name] = mark, head
        return head

    def _keep(self, name: str, told: _Told) -> None:
        """Keep what was told of a job; of too much, what was kept first goes."""
        with self._lock:
            before = self._told.pop(name, None)
            self._nbytes += told.nbytes - (0 if before is None else before.nbytes)
            self._told[name] = told
            while self._nbytes > _MOST_BYTES:
                self._nbytes -= self._told.pop(next(iter(self._told))).nbytes


def described(job: Job, state: State) -> dict[str, Any]:
    """A job without what is long."""
    found: dict[str, Any] = {
        "id": job.id,
        "status": state.status,
        "created": job.created,
        "updated": max(job.updated, stamp(state.updated)) if state.updated else job.updated,
    }
    if state.status != "created":
        found["progress"] = state.progress
    more = {"title": job.title, "plan": job.plan, "budget": job.budget}
    return found | {name: value for name, value in more.items() if value is not None}


def _body(job: Job, state: State, process: bytes) -> bytes:
    more = {"description": job.description, "job_options": job.options or None, "usage": state.usage or None}
    content = described(job, state) | {"log_level": job.log_level}
    content |= {name: value for name, value in more.items() if value is not None}
    return _encoded(content)[:-1] + b',"process":' + process + b"}"


def _encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
