"""Sites and submissions that other functions of the door look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.shown import QUIET
from hpckit.errors import HpckitError, SiteError, SubmissionError

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.runs.run import Run
    from hpckit.sites.scheduler.base import Scheduler
    from hpckit.sites.scheduler.model import Runner
    from hpckit.sites.site import Site
    from hpckit.submissions.follow import ElementState
    from hpckit.submissions.submission import Submission


def find_site(name: str | None, folder: Path, console: Console = QUIET) -> Site:
    """Site by name or file, or the one that this machine belongs to.

    Parameters
    ----------
    folder : Path
        Of the campaign: site files are looked for there, too.
    console : Console
        Told where the file's limits go beyond those of the operator's file.

    Raises
    ------
    SiteError
        If there is none.
    """
    from hpckit.sites import limits, site

    folders = [folder, folder / "site-configs"]
    chosen = name or site.identify_site(folders)
    if chosen is None:
        raise SiteError(
            "this machine belongs to no site that is known",
            hint="give --site NAME (`hpckit site list`), or write a file for this cluster: `hpckit site probe`",
        )
    found = site.find_site(chosen, folders)
    for warning in limits.warnings(found):
        console.warn(warning)
    return found


def open_submission(run: str | Path) -> tuple[Run, Submission, Scheduler, Runner]:
    """The last submission of a run, with its scheduler.

    Raises
    ------
    SubmissionError
        If nothing was submitted.
    """
    from hpckit.runs.run import find_run
    from hpckit.sites.site import scheduler_of
    from hpckit.submissions.idle import runner_of
    from hpckit.submissions.submission import latest

    found = find_run(Path(run))
    last = latest(found.path)
    if last is None:
        raise SubmissionError(f"{found.path}: nothing was submitted yet", hint="`hpckit submit CAMPAIGN --site SITE`")
    scheduler = scheduler_of(last.site)
    return found, last, scheduler, runner_of(last.site, scheduler)


def refresh(run: Run, submission: Submission, console: Console, *, details: bool = False) -> list[ElementState]:
    """State of a submission in the scheduler; a warning and an empty list if it does not answer.

    Parameters
    ----------
    details : bool
        Also ask what elements used.
    """
    from hpckit.sites.site import scheduler_of
    from hpckit.submissions.follow import look
    from hpckit.submissions.idle import runner_of

    scheduler = scheduler_of(submission.site)
    runner = runner_of(submission.site, scheduler)
    try:
        return look(submission, scheduler, runner, details=details)
    except HpckitError as error:
        console.warn(f"{error}; the journals say what is done")
        return []
