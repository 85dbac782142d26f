"""What this machine offers besides a scheduler: file systems, modules, containers, launchers of ranks."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hpckit.sites.scheduler.facts import Facts, ask
from hpckit.sites.scheduler.model import Runner

_PARALLEL: Final = {
    "lustre": "lustre",
    "gpfs": "gpfs",
    "beegfs": "beegfs",
    "fhgfs": "beegfs",
    "ceph": "ceph",
    "fuse.ceph": "ceph",
    "nfs": "nfs",
    "weka": "weka",
}
"""Our names by what types of file systems begin with in /proc/mounts."""
_FAST: Final = ("lustre", "gpfs", "beegfs", "weka", "ceph", "nfs")
"""In the order in which data would rather lie on them."""


def describe(facts: Facts, runner: Runner) -> None:
    """Add what this machine offers."""
    facts.file_systems = parallel_file_systems(Path("/proc/mounts").read_text(errors="replace"))
    facts.modules = module_system(os.environ)
    for name in ("apptainer", "singularity"):
        if shutil.which(name):
            facts.containers[name] = _number(ask(runner, facts, name, "--version"))
    facts.launchers = [name for name in ("srun", "mpirun", "mpiexec") if shutil.which(name)]
    if "mpirun" in facts.launchers:
        facts.mpirun = read_mpirun(ask(runner, facts, "mpirun", "--version", both=True))


def parallel_file_systems(mounts: str) -> dict[str, str]:
    """Kind by mount point, of the file systems that several machines share.

    >>> parallel_file_systems("10.0.0.1@o2ib:/work /work lustre rw 0 0\\ntmpfs /tmp tmpfs rw 0 0")
    {'/work': 'lustre'}
    """
    found = {}
    for line in mounts.splitlines():
        fields = line.split()
        type_ = fields[2] if len(fields) > 2 else ""
        kind = next((ours for name, ours in _PARALLEL.items() if type_.startswith(name)), None)
        # nfsd is the server's own control file system.
        if kind is not None and type_ != "nfsd":
            found[fields[1].replace("\\040", " ")] = kind
    return found


def fastest(kinds: Mapping[str, str]) -> str | None:
    """Kind of file system that data would rather lie on, of those by mount point."""
    return next((kind for kind in _FAST if kind in kinds.values()), None)


def shared_kind(path: Path, kinds: Mapping[str, str]) -> str | None:
    """Kind of the shared file system that a path lies on, if it lies on one."""
    folder = path.resolve()
    return next((kinds[str(parent)] for parent in (folder, *folder.parents) if str(parent) in kinds), None)


def module_system(environment: Mapping[str, str]) -> str:
    """Name and version of the system of environment modules, from the variables that it sets.

    >>> module_system({"LMOD_CMD": "/opt/lmod/libexec/lmod", "LMOD_VERSION": "8.7.30", "MODULESHOME": "/opt/lmod"})
    'Lmod 8.7.30'
    """
    if "LMOD_CMD" in environment or "LMOD_VERSION" in environment:
        return f"Lmod {environment.get('LMOD_VERSION', '')}".strip()
    if "MODULESHOME" in environment or "MODULES_CMD" in environment:
        return f"Environment Modules {environment.get('MODULE_VERSION', '')}".strip()
    return ""


def read_mpirun(text: str) -> str:
    """`mpirun --version`: which MPI it is of.

    >>> read_mpirun("mpirun (Open MPI) 4.1.4\\n\\nReport bugs to http://www.open-mpi.org/community/help/\\n")
    'Open MPI 4.1.4'
    """
    for name, pattern in (
        ("Open MPI", r"Open MPI\)?\s+v?([\d.]+)"),
        ("Intel MPI", r"Intel\(R\) MPI Library.*?Version ([\d.]+)"),
        ("MPICH", r"HYDRA.*?Version:\s*([\d.]+)"),
    ):
        match = re.search(pattern, text, re.DOTALL)
        if match is not None:
            return f"{name} {match.group(1)}"
    return ""


def flavour(mpirun: str) -> str | None:
    """`mpi.flavour` of a site file, from what `read_mpirun` made of it."""
    known = {"Open MPI": "openmpi", "Intel MPI": "intel", "MPICH": "mpich"}
    return next((ours for name, ours in known.items() if mpirun.startswith(name)), None)


def _number(text: str) -> str:
    match = re.search(r"\d+\.\d+[\w.+-]*", text)
    return match.group() if match is not None else ""
