"""Job scripts: templates of `jobscripts/` filled in. What comes out is plain bash that needs no template."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2

import hpckit
from hpckit.errors import SubmissionError
from hpckit.quantities import format_walltime
from hpckit.scheduler.container import in_image
from hpckit.scheduler.launch import launch, processes
from hpckit.scheduler.model import Job
from hpckit.site import Site, templates_folder, user_folder
from hpckit.steps.settings import is_step

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./^~-]*")
_EARLY_SHARE: Final = 0.1
_EARLY_S: Final = 300
"""Seconds before the end of the walltime at which ranks are asked to end: at most this, or a tenth."""


def render(
    job: Job,
    site: Site,
    *,
    run: Path,
    submission: int,
    command: Sequence[str],
    folders: Sequence[Path] = (),
    binds: Sequence[Path] = (),
    program: Sequence[str] = (),
) -> str:
    """Script of a job.

    Parameters
    ----------
    run : Path
        Run directory.
    submission : int
        Number of the submission within the run.
    command : sequence of str
        How `hpckit` is started on the nodes.
    folders : sequence of Path
        Searched for templates before the user's and those that come with hpckit.
    binds : sequence of Path
        What is seen inside the image, where the site runs jobs in one.
    program : sequence of str
        What ranks run inside the image in place of a worker: a test of it.

    Raises
    ------
    SubmissionError
        If a template is wrong, or a value cannot be said to this scheduler.
    """
    template = _environment(site.scheduler, folders).get_template(f"{site.scheduler}.sh.j2")
    try:
        text = template.render(_values(job, site, run, submission, command, binds, program))
    except jinja2.TemplateError as error:
        raise SubmissionError(f"{template.filename}: the template cannot be filled in") from error
    return text.rstrip("\n") + "\n"


def directive(scheduler: str, value: object) -> str:
    """A value as it stands in a directive line of a scheduler.

    Raises
    ------
    SubmissionError
        If the scheduler cannot be told it.
    """
    return _slurm_value(value) if scheduler == "slurm" else _pbs_value(value)


def early_s(walltime_s: int) -> int:
    """Seconds before the end of the walltime at which ranks are asked to end."""
    return max(30, min(_EARLY_S, int(walltime_s * _EARLY_SHARE)))


def _values(
    job: Job,
    site: Site,
    run: Path,
    submission: int,
    command: Sequence[str],
    binds: Sequence[Path],
    program: Sequence[str],
) -> Mapping[str, Any]:
    return {
        "title": f"{job.stage} of {_one_line(run.name)}, submission {submission}",
        "version": hpckit.__version__,
        "job": job,
        "site": site,
        "partition": site.partition(job.resources.partition or None),
        "resources": job.resources,
        "run": run,
        "submission": submission,
        "gated": "reduce",
        "command": list(command),
        "program": list(program),
        "container": in_image(site, binds, gpus=bool(job.resources.gpus)),
        "launch": [] if is_step(job.stage) else launch(site.mpi, job.resources),
        "processes": job.resources.ranks if is_step(job.stage) else processes(site.mpi, job.resources),
        "environment": site.environment,
        "modules": site.modules,
        "setup": site.setup,
        "margin_s": early_s(job.resources.walltime_s),
        "log": str(job.logs / job.script.stem),
    }


def _environment(scheduler: str, folders: Sequence[Path]) -> jinja2.Environment:
    places = [*folders, user_folder().with_name("jobscripts"), templates_folder()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([str(place) for place in places]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # bash, not HTML: every value goes through `sh` or `directive`
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    environment.filters["walltime"] = format_walltime
    environment.filters["directive"] = lambda value: directive(scheduler, value)
    return environment


def _slurm_value(value: object) -> str:
    """Value in an #SBATCH line; Slurm understands double quotes and backslashes there."""
    text = _one_line(str(value))
    return text if _PLAIN.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pbs_value(value: object) -> str:
    """Value in a #PBS line, where nothing can be quoted reliably."""
    text = _one_line(str(value))
    if not _PLAIN.fullmatch(text) or "," in text:
        raise SubmissionError(
            f"PBS cannot be told {text!r}: a value in a #PBS line has no spaces, quotes, commas or shell characters",
            hint="move the campaign to another path, or mend the value in the site file",
        )
    return text


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise SubmissionError(f"{text!r} holds a line break, which no scheduler takes; rename it")
    return text
