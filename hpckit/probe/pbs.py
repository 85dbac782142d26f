"""What OpenPBS or PBS Pro says of itself."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from hpckit.errors import SiteError
from hpckit.probe.facts import Facts, ask
from hpckit.quantities import parse_walltime
from hpckit.scheduler.runner import Runner
from hpckit.site import Partition


def gather(runner: Runner) -> Facts:
    """Ask PBS.

    Raises
    ------
    SiteError
        If it is Torque.
    """
    facts = Facts("pbs")
    version = ask(runner, facts, "qstat", "--version")
    facts.version = require_pbs(version)
    server = read_server(ask(runner, facts, "qstat", "-Bf"))
    nodes = read_nodes(ask(runner, facts, "pbsnodes", "-av"))
    queues = read_queues(ask(runner, facts, "qstat", "-Qf"))
    facts.partitions = sorted(
        (_partition(name, values, nodes) for name, values in queues.items() if _takes_jobs(values)),
        key=lambda partition: partition.name != server.get("default_queue"),
    )
    facts.array_size = int(server["max_array_size"]) if server.get("max_array_size", "").isdigit() else None
    if server.get("job_history_enable") != "True":
        facts.notes.append("the server keeps no history of jobs: how elements ended is told by the journals alone")
    return facts


def require_pbs(version: str) -> str:
    """Version of OpenPBS or PBS Pro, from `qstat --version`.

    Raises
    ------
    SiteError
        If it is Torque, whose `-t` arrays, states and dependencies are others.
    """
    match = re.search(r"pbs_version\s*=\s*(\S+)", version)
    if match is not None:
        return match.group(1)
    if re.search(r"torque|^\s*version:\s*\d", version, re.IGNORECASE | re.MULTILINE):
        raise SiteError(
            "this cluster runs Torque, which is not supported: its arrays and dependencies are unlike those of PBS",
            hint="Slurm 22.05 and newer, OpenPBS and PBS Pro 20 and newer are",
        )
    return ""


def read_server(text: str) -> dict[str, str]:
    """`qstat -Bf`: attributes of the server."""
    return _attributes(text)


def read_queues(text: str) -> dict[str, dict[str, str]]:
    """`qstat -Qf`: attributes of each queue."""
    parts = re.split(r"^Queue:\s*", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].strip(): _attributes(part) for part in parts}


def read_nodes(text: str) -> list[tuple[int, int]]:
    """`pbsnodes -av`: cores and MiB of each node."""
    found = []
    for part in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        values = _attributes(part)
        if values.get("resources_available.ncpus", "").isdigit():
            memory = _mib(values.get("resources_available.mem", ""))
            found.append((int(values["resources_available.ncpus"]), memory))
    return found


def _attributes(text: str) -> dict[str, str]:
    pairs = (line.strip().partition(" = ") for line in text.splitlines() if " = " in line)
    return {name: value.strip() for name, _, value in pairs}


def _takes_jobs(values: dict[str, str]) -> bool:
    return values.get("enabled", "True") == "True" and values.get("started", "True") == "True"


def _partition(name: str, values: dict[str, str], nodes: list[tuple[int, int]]) -> Partition:
    facts: dict[str, Any] = {"name": name}
    if nodes:
        cores, memory = Counter(nodes).most_common(1)[0][0]
        facts |= {"cores": cores, "memory_mib": memory or None}
    if values.get("resources_max.walltime"):
        facts["walltime"] = parse_walltime(values["resources_max.walltime"])
    if values.get("resources_max.ncpus", "").isdigit():
        facts["cores"] = min(int(values["resources_max.ncpus"]), facts.get("cores", 10**9))
    limit = re.search(r"\[u:PBS_GENERIC=(\d+)\]", values.get("max_queued", ""))
    return Partition.model_validate(facts | ({"max_submitted": int(limit.group(1))} if limit else {}))


def _mib(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmgt]?)b", text)
    return 0 if match is None else int(match.group(1)) * 1024 ** " kmgt".index(match.group(2) or " ") // 2**20
