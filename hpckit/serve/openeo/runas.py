"""Submitting, resubmitting and cancelling a job: by this account, or by that of its owner on the cluster.

For owners, one line for sudo is needed, such as

    hpckit ALL=(%eo) NOPASSWD: /opt/hpckit/bin/hpckit submit /data/jobs/*, /opt/hpckit/bin/hpckit retry *, …

Nothing that clients write gets into the command but through names that were checked before.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from typing import Final

from hpckit import api
from hpckit.base.console import Console
from hpckit.errors import EX_TEMPFAIL, BusyError, HpckitError, SubmissionError
from hpckit.jobs.jobarrays import Request
from hpckit.runs.run import find_run
from hpckit.serve.openeo.jobfolder import JobFolder
from hpckit.submissions.submission import Submission, latest

SITE: Final = "site.yaml"
COMMAND: Final = "hpckit"
_USER: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,60}")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,60}")
_LONGEST_S: Final = 900


def submit(job: JobFolder, request: Request, console: Console) -> Submission | None:
    """Submit what is not done; None if nothing is left.

    Raises
    ------
    HpckitError
        As `api.submit`; where it ran as another user, `SubmissionError` with what the command said, or `BusyError`
        if that may pass.
    """
    site = str(job.path / SITE)
    if job.job().cluster_user is None:
        return api.submit(job.campaign, site, request=request, console=console)
    return _as_owner(job, "submit", ["--site", site, *_words(request)])


def retry(job: JobFolder, request: Request, console: Console) -> Submission | None:
    """Submit again what is not done, with more of what ran out; None if nothing is left."""
    if job.job().cluster_user is None:
        return api.retry(job.campaign, request=request, console=console)
    return _as_owner(job, "retry", _words(request))


def cancel(job: JobFolder) -> None:
    """Cancel what waits or runs."""
    if job.job().cluster_user is None:
        api.cancel(job.campaign)
    else:
        _as_owner(job, "cancel", [])


def share(job: JobFolder, group: str) -> None:
    """Let the members of a Unix group work in the folder of a job, and nobody else.

    Raises
    ------
    SubmissionError
        If this account is no member of it.
    """
    try:
        shutil.chown(job.path, group=group)
        job.path.chmod(0o2770)
    except (OSError, LookupError) as error:
        raise SubmissionError(f"folders of jobs cannot be given to the group {group!r}") from error


def _as_owner(job: JobFolder, verb: str, words: list[str]) -> Submission | None:
    """Run a command as the owner; gives the submission that it made, if it made one."""
    asked = job.job()
    user, command = asked.cluster_user or "", asked.command or COMMAND
    if not _USER.fullmatch(user):
        raise SubmissionError(f"{user!r} is no user of the cluster")
    before = _latest(job)
    argv = ["sudo", "-n", "-u", user, "--", command, verb, str(job.campaign), *words]
    code, said = _run(argv, f"`{verb}` as {user}")
    last = _latest(job)
    is_new = last is not None and (before is None or last.number > before.number)
    if last is not None and is_new and last.has("committed"):
        return last
    if code == EX_TEMPFAIL:  # such as: an earlier one, of a follower that was killed, has not ended
        raise BusyError(f"`{verb}` as {user}: {said}")
    if code != 0:
        raise SubmissionError(f"`{verb}` as {user} failed: {said or f'exit code {code}'}")
    return None


def _run(argv: list[str], what: str) -> tuple[int, str]:
    """Run a command; gives its exit code and the last line of its messages.

    Raises
    ------
    BusyError
        If it has not ended in time. It goes on: this account may not end it, and what it submits stands in the run.
    SubmissionError
        If it cannot be started.
    """
    with tempfile.TemporaryFile() as told:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told)
        except OSError as error:
            raise SubmissionError(f"{what} cannot be run") from error
        try:
            code = process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            raise BusyError(f"{what} has not ended after {_LONGEST_S} s", hint="it goes on") from None
        told.seek(0)
        lines = told.read().decode(errors="replace").strip().splitlines()
        return code, lines[-1] if lines else ""


def _words(request: Request) -> list[str]:
    found: list[str] = []
    for name, value in (("account", request.account), ("partition", request.partition), ("qos", request.qos)):
        if value is not None:
            if not _WORD.fullmatch(value):
                raise SubmissionError(f"{name}: {value!r} is no name")
            found += [f"--{name}", value]
    return found


def _latest(job: JobFolder) -> Submission | None:
    """The last submission of a job; None before the first, when there is no run."""
    try:
        return latest(find_run(job.campaign).path)
    except HpckitError:
        return None
