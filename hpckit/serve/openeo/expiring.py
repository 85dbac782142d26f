"""Results of jobs end after some days: their files are removed when nothing can need them any more."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Final

from hpckit.base.files import remove_tree
from hpckit.base.quantities import format_count
from hpckit.serve.openeo.jobfolder import GONE, JobFolder, State
from hpckit.serve.openeo.joblog import note
from hpckit.submissions.attempts import working_in

_DAY_S: Final = 86_400.0


def ends_at(state: State, days: float | None) -> float | None:
    """When the results of a job end, in seconds since 1970; None for never, and for jobs that are not finished."""
    return None if days is None or state.status != "finished" else state.updated + days * _DAY_S


def are_over(state: State, days: float | None, now: float) -> bool:
    """Whether the results of a finished job have ended, whether or not their files are there."""
    end = ends_at(state, days)
    return state.expired or (end is not None and now >= end)


def remove_results(job: JobFolder, days: float, now: float) -> bool:
    """Remove the files of results that have ended; whether it was done.

    Nothing is removed if the owner wants something since, or if anything works in the folder: then they may be
    results of another run. The job, its graph and its log stay, so it can be started again.
    """
    wanted, state = job.wanted(), job.state()
    if wanted is None or state is None or wanted.want != "run" or wanted.number != state.number:
        return False
    if state.expired or not are_over(state, days, now) or any(map(working_in, job.path.glob("*.run"))):
        return False
    gone = job.path.with_name(f"{GONE}{job.id}-results-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        job.results.rename(gone)  # at once, so that nobody reads half of them
    note(job.log, "info", f"the results were kept for {format_count(round(days), 'day')}, and are removed")
    job.write_expired(state)
    if gone.exists():
        remove_tree(gone)
    return True
