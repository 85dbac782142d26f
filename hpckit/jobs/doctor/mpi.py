"""MPI: whether the library that mpi4py loads is that of the launcher on the path."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from hpckit.base.distribution import pip_install
from hpckit.base.findings import Finding
from hpckit.sites.probe.here import flavour, read_mpirun

_TIMEOUT_S: Final = 5
_LAUNCHERS: Final = ("mpirun", "mpiexec", "srun")


def examine() -> Iterator[Finding]:
    """Launcher, mpi4py, and whether both are of one kind."""
    there = [name for name in _LAUNCHERS if shutil.which(name)]
    launcher = _launcher(there)
    yield Finding(
        "MPI launcher",
        True if there else None,
        f"{', '.join(there)}{f' ({launcher})' if launcher else ''}" if there else "none of mpirun, mpiexec and srun",
        "load a module of MPI for ranks on several nodes; one process per element needs none (mpi.launcher: none)",
        needed=False,
    )
    if find_spec("mpi4py") is None:
        says, remedy = "not installed: elements have one process each", f"`{pip_install('mpi')}` for ranks"
        yield Finding("mpi4py", None, says, remedy, needed=False)
        return
    yield _library(launcher)


def _launcher(there: list[str]) -> str:
    """Kind and version of what starts ranks here, if it says so."""
    for name in ("mpirun", "mpiexec"):
        if name in there:
            done = subprocess.run(
                [name, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
            if found := read_mpirun(done.stdout + done.stderr):
                return found
    return ""


def _library(launcher: str) -> Finding:
    import mpi4py

    mpi4py.rc.initialize = False  # initialising asks the launcher, which login nodes may not allow
    try:
        from mpi4py import MPI

        says = " ".join(MPI.Get_library_version().replace("\0", " ").split())
    except (ImportError, RuntimeError) as error:
        remedy = "load the module of MPI that mpi4py was built for, or reinstall mpi4py with it loaded"
        return Finding("mpi4py", False, f"finds no MPI library: {str(error).splitlines()[0]}", remedy, needed=False)
    named = says.split(",")[0].split(" Release")[0][:60]
    ours, theirs = library_flavour(says), flavour(launcher)
    if ours is None or theirs is None:
        return Finding(
            "mpi4py", None, f"loads {named}; its launcher is unknown", "compare it with the site's MPI", False
        )
    # Intel MPI is of MPICH's kind: each starts ranks of the other.
    same = ours == theirs or {ours, theirs} == {"mpich", "intel"}
    return Finding(
        "mpi4py",
        same,
        f"loads {named}, and {'mpirun is of the same kind' if same else f'mpirun is {launcher}'}",
        "with different kinds each rank believes that it is alone: set mpi.flavour to that of the launcher, "
        "or load the module of the other MPI",
        needed=False,
    )


def library_flavour(text: str) -> str | None:
    """`mpi.flavour` of a site file, from `MPI_Get_library_version`.

    >>> library_flavour("Open MPI v4.1.4, package: Debian"), library_flavour("MPICH Version: 4.0.2")
    ('openmpi', 'mpich')
    >>> library_flavour("Intel(R) MPI Library 2021.10 for Linux* OS")
    'intel'
    """
    known = {"Open MPI": "openmpi", "Intel(R) MPI": "intel", "MPICH": "mpich"}
    return next((ours for name, ours in known.items() if name in text), None)
