"""What is to be thought of before ranks are started here: warnings that save a first job."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator

from hpckit.base.distribution import pip_install
from hpckit.sites.probe.here import flavour
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.facts import Facts, ask
from hpckit.sites.scheduler.model import Runner


def describe(facts: Facts, scheduler: Scheduler, runner: Runner) -> None:
    """Add what an Open MPI says of itself, and notes."""
    if scheduler.mpi_part and flavour(facts.mpirun) == "openmpi":
        name = next((name for name in ("prte_info", "ompi_info") if shutil.which(name)), None)
        if name is not None:
            facts.mpi_asks_scheduler = has_part(ask(runner, facts, name), scheduler.mpi_part)
    facts.notes += _notes(facts)
    if facts.mpi_asks_scheduler is False:
        facts.notes.append(f"{without_part(scheduler)}: set mpi.hostfile: ${scheduler.variables.node_file}")


def has_part(text: str, part: str) -> bool | None:
    """Whether `ompi_info`, or `prte_info` of Open MPI 5, lists the part that asks a scheduler for nodes.

    >>> has_part("  MCA plm: rsh (MCA v2.1.0)\\n  MCA plm: tm (MCA v2.1.0)", "tm")
    True
    >>> has_part("  MCA plm: rsh (MCA v2.1.0)", "tm"), has_part("Open MPI: 5.0.3", "tm")
    (False, None)
    """
    launchers = re.findall(r"MCA (?:plm|ras): (\w+)", text)
    return part in launchers if launchers else None


def without_part(scheduler: Scheduler) -> str:
    """That an Open MPI lacks the part, in words."""
    return f"this Open MPI does not ask {scheduler.title} for the nodes of a job (no {scheduler.mpi_part})"


def _notes(facts: Facts) -> Iterator[str]:
    if not facts.launchers:
        return
    if importlib.util.find_spec("mpi4py") is None:
        yield f"this hpckit has no mpi4py, which ranks need: `{pip_install('mpi')}`, or leave mpi.launcher: none"
    kind = flavour(facts.mpirun)
    if kind is not None or "pmix" in " ".join(facts.mpi_flavours):
        named = f"mpi.flavour: {kind}" if kind is not None else "mpi.flavour"
        yield f"with ranks, set {named}: by default, mpi4py's wheels load the first MPI that they find"
    if facts.mpirun.startswith("Open MPI 5"):
        yield "Open MPI 5 ignores `--mca orte_…`: write its own names into mpi.options (`--prtemca …`)"
