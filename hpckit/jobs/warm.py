"""Compile kernels where the jobs of a site find them, so that no rank does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hpckit.base.compiled import instruction_set
from hpckit.base.console import Console
from hpckit.base.findings import Finding
from hpckit.production.compiling import lacking
from hpckit.production.kernels import of_signatures
from hpckit.sites.command import hpckit_command
from hpckit.sites.installed import python_of
from hpckit.sites.site import Site, scheduler_of

_LEVELS: Final = ("x86-64-v3", "x86-64-v4")
"""Of the nodes that clusters have; login nodes are often of another kind."""
_TIMEOUT_S: Final = 300
_DECIDING: Final = frozenset({"HPCKIT_KERNELS", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "PYTHONPATH"})
"""Variables that may lead to other kernels or another hpckit."""


def warm_site(site: Site, names: Sequence[str], console: Console) -> str | None:
    """Compile kernels for the processors that nodes may have; images bring theirs along.

    Parameters
    ----------
    names : sequence of str
        Tasks of `hpckit.production.kernels`.

    Returns
    -------
    str or None
        Why the nodes will have to compile by themselves; None if they will not.
    """
    missing = [] if site.runtime == "apptainer" or not names else list(_missing(site, names))
    if not missing:
        return None
    command = [*hpckit_command(site), "kernels", "--lacking"]
    command += [word for level in filter(None, missing) for word in ("--level", level)]
    with console.progress("compile kernels"):
        environment = {**os.environ, **site.environment}
        try:
            subprocess.run(
                [*command, *names],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=_TIMEOUT_S * len(missing),
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip()
            return f"kernels cannot be compiled here: {said.splitlines()[-1] if said else error}"
    return None


def check_kernels(site: Site) -> Finding:
    """Compile the kernels of signatures, and say whether the jobs of a site will find them."""
    if site.runtime == "apptainer":
        return Finding("compiled kernels", True, "the image brings them")
    reason = warm_site(site, of_signatures(), Console(quiet=True))
    kinds = ", ".join(filter(None, _levels(site))) or "this processor"
    return Finding(
        "compiled kernels",
        None if reason else True,
        reason or f"for {kinds}",
        "jobs compile them when they start, which takes some seconds on each node",
    )


def _levels(site: Site) -> list[str]:
    own = instruction_set()
    return sorted({own, *_LEVELS}) if own in _LEVELS and not scheduler_of(site).here else [own]


def _missing(site: Site, names: Sequence[str]) -> Iterator[str]:
    """Levels for which something is to be compiled; all of them where another Python or folder is used."""
    python = python_of(hpckit_command(site))
    others = {name for name in _DECIDING & site.environment.keys() if site.environment[name] != os.environ.get(name)}
    here = python is not None and Path(python) == Path(sys.executable) and not others
    return (level for level in _levels(site) if not (here and not lacking(names, level)))
