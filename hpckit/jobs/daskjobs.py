"""Dask-jobqueue's clusters and jobs as a site has them: its scheduler's own commands, and refusals that are said."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hpckit.errors import SchedulerError
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Job, Resources, Runner
from hpckit.sites.scheduler.runner import LocalRunner

NAME: Final = "hpckit-dask"
"""Of all jobs with workers."""

_log = logging.getLogger(__name__)


def jobs_of(scheduler: Scheduler) -> type[Any]:
    """Class of jobs that are submitted and cancelled as those of a production are."""
    from distributed.core import Status

    runner = LocalRunner(scheduler)
    kind: Any = scheduler.dask_cluster().job_cls

    class SiteJob(kind):  # type: ignore[misc]
        async def _submit_job(self, script_filename: str) -> str:
            answer = await asyncio.to_thread(runner, scheduler.submit_script(Path(script_filename)))
            return scheduler.read_submit(answer)

        def _job_id_from_submit_output(self, out: str) -> str:
            return out

        async def close(self) -> None:
            await super().close()
            self.status = Status.closed  # also of a job that was refused

        @classmethod
        async def _close_job(cls, job_id: str | None, cancel_command: str) -> None:
            if not job_id:
                return
            try:
                await asyncio.to_thread(cancel_worker, scheduler, runner, job_id)
            except SchedulerError as error:  # the other workers are cancelled all the same
                _log.warning("%s", f"job {job_id} of a Dask worker could not be cancelled: {error}")

    return SiteJob


def cancel_worker(scheduler: Scheduler, runner: Runner, identifier: str) -> None:
    """Cancel a job, if it still is one of Dask's workers: numbers are given again."""
    workers = [Job(NAME, "dask", Path(), Path(), Resources())]
    found = scheduler.read_find(runner(scheduler.find(workers, identifier)), workers)
    if any(item.id == identifier for item in found):
        runner(scheduler.cancel([identifier]))


def closing(kind: Any, folder: TemporaryDirectory[str]) -> type[Any]:
    """Class of clusters that remove a folder when they are closed."""

    class Closing(kind):  # type: ignore[misc]
        def close(self, timeout: float | None = None) -> Any:
            closed = super().close(timeout)
            if closed is None:
                folder.cleanup()
                return None
            return _afterwards(closed)

    async def _afterwards(closed: Any) -> None:
        await closed
        folder.cleanup()

    Closing.__name__ = kind.__name__
    return Closing
