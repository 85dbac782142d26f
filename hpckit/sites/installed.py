"""What the hpckit of the nodes can use, seen from the machine that submits: whether it has mpi4py."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hpckit.base.account import expand
from hpckit.base.console import Console
from hpckit.base.distribution import pip_install
from hpckit.errors import ImageError, SiteError
from hpckit.sites.image.info import read_labels
from hpckit.sites.jobscript.launch import launch
from hpckit.sites.scheduler.model import Resources
from hpckit.sites.site import Site

_ASK: Final = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('mpi4py') else 3)"
_ABSENT: Final = 3
_TIMEOUT_S: Final = 60
_SHEBANG: Final = re.compile(rb"#!\s*(/\S*python[\d.]*)|#!/bin/sh\n'''exec' \"?([^\"\n]*?python[\d.]*)\"? ")
"""First lines of a program that pip installed; the second form is that of long paths and paths with spaces."""


def require_mpi4py(site: Site, stages: Iterable[Resources], command: Sequence[str], console: Console) -> None:
    """Refuse to start ranks by a hpckit that cannot join them; warn where modules may bring what it lacks.

    Parameters
    ----------
    stages : iterable of Resources
        Of the stages whose elements may have ranks.

    Raises
    ------
    SiteError
        If mpi4py is absent.
    """
    if not any(launch(site.mpi, resources) for resources in stages) or has_mpi4py(site, command) is not False:
        return
    where = site.container.image if site.runtime == "apptainer" else command[0]
    text = f"site {site.name} starts ranks by {site.mpi.launcher}, and {where} has no mpi4py"
    hint = (
        "build it with `hpckit image build --mpi openmpi` or `--mpi mpich`"
        if site.runtime == "apptainer"
        else f"`{pip_install('mpi')}` into its environment"
    ) + ", or set `mpi: {launcher: none}` in the site file: worker processes without MPI"
    if site.runtime != "apptainer" and (site.modules or site.setup):
        console.warn(f"{text}; elements fail unless `modules` or `setup` bring it. If they do not: {hint}")
        return
    raise SiteError(text, hint=hint)


def has_mpi4py(site: Site, command: Sequence[str]) -> bool | None:
    """Whether the hpckit that nodes start has mpi4py; None where this cannot be checked from here.

    Parameters
    ----------
    command : sequence of str
        How it is started there.
    """
    if site.runtime == "apptainer":
        return _in_image(site)
    python = python_of(command)
    if python is None:
        return None
    if Path(python) == Path(sys.executable) and "PYTHONPATH" not in site.environment:
        return importlib.util.find_spec("mpi4py") is not None
    return _ask([python, "-c", _ASK], site.environment)


def python_of(command: Sequence[str]) -> str | None:
    """Python that a command starts, by its first line; None for wrappers, and for what is not here."""
    path = expand(os.path.expandvars(command[0]))
    if path.name.startswith("python"):
        return str(path)
    try:
        with path.open("rb") as file:
            match = _SHEBANG.match(file.read(4096))
    except OSError:
        return None
    return None if match is None else os.fsdecode(match.group(1) or match.group(2))


def _in_image(site: Site) -> bool | None:
    """By the label of images that hpckit built; others are asked."""
    container = site.container
    path = expand(os.path.expandvars(container.image or ""))
    if not path.is_file():
        return None
    try:
        built = read_labels(path, container.command).get("org.hpckit.mpi")
    except ImageError:
        return None
    if built is not None:
        return built != "none"
    return _ask([container.command, "exec", *container.options, str(path), "python", "-c", _ASK], {})


def _ask(words: Sequence[str], environment: Mapping[str, str]) -> bool | None:
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: True, _ABSENT: False}.get(done.returncode)
