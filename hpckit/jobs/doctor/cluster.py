"""The cluster that this machine belongs to: scheduler, site file, Apptainer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from hpckit.base.apptainer import APPTAINER, find_program
from hpckit.base.findings import Finding
from hpckit.errors import ImageError, SiteError
from hpckit.sites.image.tools import command_of
from hpckit.sites.scheduler.registry import schedulers
from hpckit.sites.site import find_site, identify_site


def examine() -> Iterator[Finding]:
    """Commands of schedulers on the path, the site file that recognises this machine, and what starts images."""
    known = [each for each in schedulers() if each.asked_by]
    there = [each for each in known if shutil.which(each.asked_by)]
    yield Finding(
        "scheduler",
        True if there else None,
        ", ".join(f"{each.title} ({shutil.which(each.asked_by)})" for each in there) or "none on the path",
        "on a cluster, load the scheduler's module; on one machine none is needed",
        needed=False,
    )
    for each in there:
        if missing := each.missing():
            says, remedy = ", ".join(missing), "load the scheduler's module, or ask for its client commands"
            yield Finding(f"commands of {each.title} that are missing", False, says, remedy, needed=False)
    yield from _site(bool(there))
    yield _images()


def _site(has_scheduler: bool) -> Iterator[Finding]:
    name = identify_site([Path.cwd()])
    if name is None:
        if has_scheduler:
            says, remedy = (
                "no site file recognises this machine",
                "`hpckit site probe -o NAME.yaml` writes a first one",
            )
            yield Finding("site", None, says, remedy, needed=False)
        return
    try:
        found = find_site(name, [Path.cwd()])
    except SiteError as error:
        remedy = "`hpckit site validate FILE` names each line"
        yield Finding("site", False, str(error).splitlines()[0], remedy, needed=False)
        return
    yield Finding("site", True, f"{name} ({found.path}); `hpckit site check {name}` compares it", needed=False)


def _images() -> Finding:
    program = find_program()
    if program is None:
        says, remedy = (
            "not found",
            "load its module if jobs run in images (runtime: apptainer); otherwise none is needed",
        )
        return Finding("Apptainer", None, says, remedy, needed=False)
    try:
        found, kind, version = command_of(program)
    except ImageError as error:
        remedy = error.hint or f"load a module of Apptainer, or set {APPTAINER}"
        return Finding("Apptainer", False, str(error), remedy, needed=False)
    return Finding("Apptainer", True, f"{kind} {'.'.join(map(str, version))}, {found}", needed=False)
