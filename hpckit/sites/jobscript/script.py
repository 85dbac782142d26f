"""Job scripts: templates of `jobscripts/` filled in. What comes out is plain bash that needs no template."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.quantities import format_walltime
from hpckit.base.version import __version__
from hpckit.errors import SubmissionError
from hpckit.sites.jobscript.container import expandable, in_image
from hpckit.sites.jobscript.launch import launch, mpi_abi, processes
from hpckit.sites.places import operator_folders, templates_folder, user_folder
from hpckit.sites.scheduler.base import Scheduler, one_line
from hpckit.sites.scheduler.model import Job, Variables
from hpckit.sites.site import Site, scheduler_of

if TYPE_CHECKING:
    import jinja2

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
    frozen: str = "",
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
    frozen : str
        Digest of the frozen inputs that the job works from.

    Raises
    ------
    SubmissionError
        If a template is wrong, or a value cannot be said to this scheduler.
    """
    import jinja2

    scheduler = scheduler_of(site)
    try:
        template = _environment(scheduler, folders).get_template(scheduler.template)
    except jinja2.TemplateNotFound:
        raise SubmissionError(
            f"{scheduler.template}: {scheduler.title} has no template of job scripts",
            hint=f"the package that brings the scheduler should have it in {scheduler.templates}",
        ) from None
    except jinja2.TemplateSyntaxError as error:
        raise SubmissionError(f"{error.filename}:{error.lineno}: the template is wrong") from error
    try:
        values = _values(job, site, scheduler, run, submission, command, binds, program)
        text = template.render({**values, "frozen": frozen})
    except jinja2.TemplateError as error:
        raise SubmissionError(f"{template.filename}: the template cannot be filled in") from error
    return text.rstrip("\n") + "\n"


def early_s(walltime_s: int) -> int:
    """Seconds before the end of the walltime at which ranks are asked to end."""
    return max(30, min(_EARLY_S, int(walltime_s * _EARLY_SHARE)))


def _values(
    job: Job,
    site: Site,
    scheduler: Scheduler,
    run: Path,
    submission: int,
    command: Sequence[str],
    binds: Sequence[Path],
    program: Sequence[str],
) -> Mapping[str, Any]:
    return {
        "title": f"{job.stage} of {one_line(run.name)}, submission {submission}",
        "version": __version__,
        "job": job,
        "site": site,
        "told": _told(scheduler.variables),
        "keeps_output": scheduler.keeps_output,
        "partition": site.partition(job.resources.partition or None),
        "resources": job.resources,
        "run": run,
        "submission": submission,
        "gated": job.gates,
        "command": list(command),
        "program": list(program),
        "container": in_image(site, scheduler.variables.passed, binds, gpus=bool(job.resources.gpus)),
        "launch": [] if job.alone else [expandable(word) for word in launch(site.mpi, job.resources)],
        "processes": job.resources.ranks if job.alone else processes(site.mpi, job.resources),
        "mpi_abi": mpi_abi(site.mpi),
        "environment": site.environment,
        "modules": site.modules,
        "setup": site.setup,
        "margin_s": early_s(job.resources.walltime_s),
        "log": str(job.logs / job.script.stem),
        **scheduler.script_words(job),
    }


def _told(variables: Variables) -> Mapping[str, str]:
    """Bash expressions for the variables that a scheduler sets in a job."""
    return {
        "index": _value(variables.index, "${HPCKIT_INDEX:-0}"),
        "folder": _value(variables.folder, "$PWD"),
        "job": _value(variables.job, ""),
    }


def _value(variable: str, otherwise: str) -> str:
    return f"${{{variable}:-{otherwise}}}" if variable else otherwise


def _environment(scheduler: Scheduler, folders: Sequence[Path]) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    kept = [folder.with_name("jobscripts") for folder in (user_folder(), *operator_folders())]
    places = [*folders, *kept, scheduler.templates, templates_folder()]
    # A template that somebody else wrote must not run Python while its script is only looked at.
    environment = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader([str(place) for place in places]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # bash, not HTML: every value goes through `sh` or `directive`
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    environment.filters["walltime"] = format_walltime
    environment.filters["directive"] = scheduler.directive
    return environment
