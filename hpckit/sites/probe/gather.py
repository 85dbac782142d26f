"""Ask the cluster that one stands on what it has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from hpckit.errors import SiteError
from hpckit.sites.probe import here, mpi
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import Runner
from hpckit.sites.scheduler.registry import schedulers
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.site import find_site, identify_site

_TIMEOUT_S: Final = 60


def gather(runner: Runner | None = None, scheduler: str | None = None) -> Facts:
    """Ask the cluster that this machine belongs to.

    Parameters
    ----------
    runner : Runner, optional
        Runs the commands; on this machine, if not given.
    scheduler : str, optional
        The one to ask first; that of the site that this machine belongs to, if not given. Programs of another one may
        be installed beside it, or imitated: Slurm brings a `qstat`.

    Raises
    ------
    SiteError
        If there is no scheduler here, none that answers, or one that is not supported.
    """
    asked, facts = _first_answer(runner, scheduler or _known_scheduler())
    facts.missing = asked.missing()
    runner = runner or LocalRunner(asked, _TIMEOUT_S)
    here.describe(facts, runner)
    mpi.describe(facts, asked, runner)
    return facts


def _first_answer(runner: Runner | None, first: str | None) -> tuple[Scheduler, Facts]:
    """The first scheduler that answers, and what it says."""
    known = sorted((each for each in schedulers() if each.asked_by), key=lambda each: each.name != first)
    there = [each for each in known if shutil.which(each.asked_by)]
    if not there:
        programs = " nor ".join(f"{each.asked_by} ({each.title})" for each in known)
        raise SiteError(
            f"there is no scheduler on this machine: neither {programs} is found",
            hint="run it on a login node of the cluster, perhaps after `module load slurm`",
        )
    reasons: list[str] = []
    for each in there:
        try:
            facts = each.probe(runner or LocalRunner(each, _TIMEOUT_S))
        except SiteError as error:
            if len(there) == 1:
                raise
            reasons.append(str(error))
            continue
        if facts.partitions or facts.closed:
            return each, facts
        reasons.append(facts.notes[0] if facts.notes else "it lists no partitions")
    raise SiteError(
        f"the scheduler's commands are here, but no scheduler answers: {'; '.join(reasons)}",
        hint="is this a login node of the cluster? Load its module, or try again in some minutes",
    )


def _known_scheduler() -> str | None:
    """Scheduler of the site that this machine belongs to, where a site file knows it."""
    folders = [Path.cwd()]
    try:
        name = identify_site(folders)
        return None if name is None else find_site(name, folders).scheduler
    except SiteError:
        return None
