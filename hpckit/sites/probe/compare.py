"""Does a site file match the cluster that one stands on?"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from hpckit.base.account import expand
from hpckit.base.distribution import pip_install
from hpckit.base.findings import Finding
from hpckit.base.quantities import format_bytes, format_duration
from hpckit.sites.command import hpckit_command
from hpckit.sites.installed import has_mpi4py
from hpckit.sites.parts import Partition
from hpckit.sites.probe.mpi import without_part
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.registry import scheduler_named
from hpckit.sites.site import Site


def compare(site: Site, facts: Facts) -> list[Finding]:
    """Compare a site file with what the cluster says."""
    found = [
        Finding(
            "scheduler",
            site.scheduler == facts.scheduler,
            f"{facts.scheduler} {facts.version}".strip(),
            f"set scheduler: {facts.scheduler}",
        ),
        _version(facts),
    ]
    if facts.missing:
        says, remedy = ", ".join(facts.missing), "load the scheduler's module, or ask for its client commands"
        found.append(Finding("commands that are missing", False, says, remedy))
    found += [item for partition in site.partitions for item in _partition(partition, facts)]
    found += [*_arrays(site, facts), *_account(site, facts), *_mpi(site, facts), *_here(site)]
    return found


def _version(facts: Facts) -> Finding:
    number = re.match(r"(\d+)(?:\.(\d+))?", facts.version)
    scheduler = scheduler_named(facts.scheduler)
    ok = None if number is None else (int(number.group(1)), int(number.group(2) or 0)) >= scheduler.oldest
    return Finding("version", ok, facts.version or "unknown", f"{scheduler.oldest_title} or newer is needed")


def _partition(partition: Partition, facts: Facts) -> Iterator[Finding]:
    if not partition.name:
        return
    what = f"partition {partition.name}"
    there = next((item for item in facts.partitions if item.name == partition.name), None)
    if partition.name in facts.closed:
        yield Finding(what, False, facts.closed[partition.name], "it takes no jobs of yours: name another one")
        return
    if there is None:
        names = ", ".join(item.name for item in facts.partitions) or "none that you may see"
        yield Finding(what, False, "the cluster has none of this name", f"it has {names}")
        return
    yield Finding(what, True, "it is there")
    limits = (
        ("cores", partition.cores, there.cores, str),
        ("memory_mib", partition.memory_mib, there.memory_mib, lambda mib: format_bytes(mib * 2**20)),
        ("walltime", partition.walltime, there.walltime, format_duration),
        ("max_nodes", partition.max_nodes, there.max_nodes, str),
        ("gpus", partition.gpus or None, there.gpus, str),
        ("max_submitted", partition.max_submitted, there.max_submitted, str),
        ("max_running", partition.max_running, there.max_running, str),
    )
    for name, written, limit, show in limits:
        if written is not None and limit is not None:
            says = f"{show(written)} in the file, {show(limit)} on the cluster"
            yield Finding(f"{what}: {name}", written <= limit, says, f"set {name} to {limit} or less")


def _arrays(site: Site, facts: Facts) -> Iterator[Finding]:
    if site.arrays.max_size is not None and facts.array_size is not None:
        says = f"{site.arrays.max_size} in the file, {facts.array_size} on the cluster"
        ok = site.arrays.max_size <= facts.array_size
        yield Finding("arrays.max_size", ok, says, f"set it to {facts.array_size}")


def _account(site: Site, facts: Facts) -> Iterator[Finding]:
    account = site.account.default
    if account is None:
        return
    if facts.accounts is None:
        yield Finding("account", None, "the cluster does not list your accounts")
        return
    yield Finding(
        "account",
        account in facts.accounts,
        f"you have {', '.join(facts.accounts)}",
        "set account.default to one of them",
    )


def _mpi(site: Site, facts: Facts) -> Iterator[Finding]:
    launcher = site.mpi.launcher
    if launcher == "none":
        return
    there = launcher in facts.launchers
    remedy = (
        f"load the module that has {launcher}, or set mpi.launcher to one of {', '.join(facts.launchers) or 'none'}"
    )
    # Modules are loaded in jobs only.
    yield Finding(
        "mpi.launcher", True if there else (None if site.modules or site.setup else False), launcher, remedy
    )
    there_too = has_mpi4py(site, hpckit_command(site))
    says = {True: "it is there", False: "it is absent", None: "this cannot be checked from here"}[there_too]
    if there_too is False and site.runtime != "apptainer" and (site.modules or site.setup):
        there_too, says = None, "it is absent, unless `modules` or `setup` bring it"
    yield Finding("mpi4py of the nodes' hpckit", there_too, says, f"`{pip_install('mpi')}`, or mpi.launcher: none")
    told = site.mpi.flavour or "not given"
    yield Finding(
        "mpi.flavour", site.mpi.flavour is not None or None, told, "set it: it selects the MPI that mpi4py loads"
    )
    if facts.mpi_asks_scheduler is False and site.mpi.hostfile is None and not (site.modules or site.setup):
        scheduler = scheduler_named(facts.scheduler)
        remedy = f"set mpi.hostfile: ${scheduler.variables.node_file}"
        yield Finding("mpi.hostfile", False, without_part(scheduler), remedy)
    asked = next((word.partition("=")[2] for word in site.mpi.options if word.startswith("--mpi=")), None)
    if launcher == "srun" and asked is not None:
        offered = ", ".join(facts.mpi_flavours) or "nothing"
        ok = any(name == asked or name.startswith(f"{asked}_") for name in facts.mpi_flavours)
        yield Finding("mpi.options", ok, f"srun offers {offered}", "set --mpi= to one of them")


def _here(site: Site) -> Iterator[Finding]:
    command = hpckit_command(site)[0]
    found = shutil.which(command) is not None
    yield Finding("hpckit on the nodes", found, command, "set `command` to its path on the parallel file system")
    for name in ("scratch", "project"):
        text = getattr(site.storage, name)
        if text is None or "<" in text:
            continue
        import os

        path = expand(os.path.expandvars(text))
        ok = path.is_dir() and os.access(path, os.W_OK)
        yield Finding(f"storage.{name}", ok, str(path), "make the folder, or correct the path in the site file")
