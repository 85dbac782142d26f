"""A first site file from what a cluster said of itself."""

from __future__ import annotations

import json
from datetime import date

from hpckit.probe.facts import Facts
from hpckit.quantities import format_walltime
from hpckit.site import Partition


def site_file(facts: Facts, name: str) -> str:
    """YAML text of a site file, commented; every value is one that the cluster told."""
    lines = [
        f"# Written by `hpckit site probe` on {date.today():%Y-%m-%d}; {facts.scheduler} {facts.version}.",
        "# Read it, add what the cluster does not tell (account, login, modules, setup), then `hpckit site check`.",
        f"name: {name}",
        f"scheduler: {facts.scheduler}",
    ]
    lines += ["partitions:   # the default first; cores are physical ones, memory in MiB"] if facts.partitions else []
    lines += [f"- {_flow(partition)}" for partition in facts.partitions]
    if facts.array_size is not None:
        lines += ["arrays:", f"  max_size: {facts.array_size}"]
    if not facts.memory_is_shared_out:
        lines.append("memory_request: none   # this Slurm does not share memory out")
    lines += _accounts(facts)
    lines += _mpi(facts)
    lines += _storage(facts)
    if facts.has_modules:
        lines += ["# modules: [Python/3.11]   # what hpckit needs, if it comes from modules"]
    if facts.containers:
        lines += [f"# found: {', '.join(facts.containers)}"]
    lines += [f"# could not be asked: {note}" for note in facts.notes]
    lines += ["stages:", "  default: {ranks: 8, cores: 1, walltime: 2h}"]
    return "\n".join(lines) + "\n"


def _flow(partition: Partition) -> str:
    values = partition.model_dump(mode="json", exclude_defaults=True)
    parts = []
    for key, value in values.items():
        if value is None:
            continue
        text = f'"{format_walltime(value)}"' if key == "walltime" else json.dumps(value)
        parts.append(f"{key}: {text}")
    return "{" + ", ".join(parts) + "}"


def _accounts(facts: Facts) -> list[str]:
    if not facts.accounts:
        return []
    return ["account:", f"  default: {json.dumps(facts.accounts[0])}   # yours: {', '.join(facts.accounts)}"]


def _mpi(facts: Facts) -> list[str]:
    offered = [name for name in facts.mpi_flavours if name != "none"]
    lines = [f"# srun --mpi offers: {', '.join(offered)}"] if offered else []
    lines += [f"# launchers found: {', '.join(facts.launchers)}"] if facts.launchers else []
    return [*lines, "mpi: {launcher: none}   # processes of one node; see docs/how-to/sites.md for MPI"]


def _storage(facts: Facts) -> list[str]:
    if not facts.file_systems:
        return []
    shown = ", ".join(f"{place} ({kind})" for place, kind in sorted(facts.file_systems.items())[:8])
    kind = next(iter(facts.file_systems.values()))
    return [f"# shared file systems: {shown}", f"storage: {{kind: {kind}}}"]
