"""What OpenPBS or PBS Pro says of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpckit.base.quantities import parse_walltime
from hpckit.errors import SiteError
from hpckit.sites.parts import Partition
from hpckit.sites.scheduler.facts import Facts, ask, user
from hpckit.sites.scheduler.model import Runner

_TOLD: Final = ("job_history_enable", "job_history_duration", "max_concurrent_provision", "flatuid")
"""Attributes of the server that are shown as comments."""
_OLDEST_PRO: Final = 12
"""Versions of PBS Pro begin here; those of Torque ended at 6."""


@dataclass(frozen=True, slots=True)
class Node:
    """A host: what jobs may have of it."""

    cores: int
    memory_mib: int
    gpus: int = 0
    queue: str = ""
    """The only queue that may use it, if there is one."""
    marks: tuple[tuple[str, str], ...] = ()
    """Resources by which queues choose nodes."""


def gather(runner: Runner) -> Facts:
    """Ask PBS.

    Raises
    ------
    SiteError
        If it is Torque.
    """
    facts = Facts("pbs")
    version = require_pbs(ask(runner, facts, "qstat", "--version", both=True))
    server = read_server(ask(runner, facts, "qstat", "-Bf"))
    facts.version = version or require_pbs(f"pbs_version = {server.get('pbs_version', '')}")
    if "max_array_size" not in server:
        server |= read_server(ask(runner, facts, "qmgr", "-c", "list server"))
    facts.cluster = server.get("Server", "")
    facts.settings = {name: server[name] for name in _TOLD if name in server}
    nodes = read_nodes(ask(runner, facts, "pbsnodes", "-av"))
    queues = read_queues(ask(runner, facts, "qstat", "-Qf"))
    for name, values in sorted(queues.items(), key=lambda item: item[0] != server.get("default_queue")):
        why = _closed(values)
        if why:
            facts.closed[name] = why
        else:
            facts.partitions.append(read_partition(name, values, server, nodes, user()))
    facts.array_size = _array_size(server, queues)
    if server.get("job_history_enable") != "True":
        facts.notes.append(
            "the server keeps no history of jobs: hpckit reads from outputs and journals how elements ended"
        )
    facts.notes.append(
        "outputs of jobs (`-k doe`) grow while they run only where `$usecp` in the nodes' mom_priv/config covers the "
        "campaign's file system; elsewhere they appear at the end: ask the admins"
    )
    return facts


def require_pbs(version: str) -> str:
    """Version of OpenPBS or PBS Pro, from `qstat --version`; empty if it does not contain one.

    Raises
    ------
    SiteError
        If it is Torque, whose `-t` arrays, states and dependencies are others.
    """
    match = re.search(r"pbs_version\s*=\s*(\S+)", version)
    torque = re.search(r"torque|^\s*version:\s*\d", version, re.IGNORECASE | re.MULTILINE)
    number = re.match(r"\d+", match.group(1)) if match is not None else None
    # Torque's server gives its own version under this name too.
    if torque is not None or (number is not None and int(number.group()) < _OLDEST_PRO):
        raise SiteError(
            "this cluster runs Torque, which is not supported: its arrays and dependencies are unlike those of PBS",
            hint="Slurm 22.05 and newer, OpenPBS and PBS Pro 20 and newer are",
        )
    return match.group(1) if match is not None else ""


def read_server(text: str) -> dict[str, str]:
    """`qstat -Bf`, or `list server` of qmgr: attributes of the server, its name as `Server`."""
    name = re.search(r"^Server:?\s+(\S+)", text, re.MULTILINE)
    return _attributes(text) | ({"Server": name.group(1)} if name is not None else {})


def read_queues(text: str) -> dict[str, dict[str, str]]:
    """`qstat -Qf`: attributes of each queue."""
    parts = re.split(r"^Queue:\s*", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].strip(): _attributes(part) for part in parts}


def read_nodes(text: str) -> list[Node]:
    """`pbsnodes -av`: hosts that are not down; virtual nodes of one host are taken together."""
    hosts: dict[str, Node] = {}
    for part in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        values = _attributes(part)
        states = set(values.get("state", "free").split(","))
        if not values.get("resources_available.ncpus", "").isdigit() or states & {"down", "offline", "state-unknown"}:
            continue
        host = values.get("resources_available.host") or part.split()[0]
        hosts[host] = _together(hosts.get(host), _node(values))
    return list(hosts.values())


def read_free_cores(text: str) -> int | None:
    """`pbsnodes -av`: cores of nodes that take jobs, less those that are assigned."""
    free = []
    for part in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        values = _attributes(part)
        cores, used = (values.get(f"resources_{what}.ncpus", "") for what in ("available", "assigned"))
        if cores.isdigit():
            takes = values.get("state", "free") == "free"
            free.append(max(0, int(cores) - int(used if used.isdigit() else 0)) if takes else 0)
    return sum(free) if free else None


def read_partition(
    name: str, values: Mapping[str, str], server: Mapping[str, str], nodes: Sequence[Node], who: str
) -> Partition:
    """A queue: what most of its nodes have, within its limits and those of the server for one user."""
    mine = _nodes_of(name, values, nodes)
    usual = Counter(mine).most_common(1)[0][0] if mine else None
    limits = {what: _count(values.get(f"resources_max.{what}", "")) for what in ("ncpus", "ngpus", "nodect")}
    memory = _mib(values.get("resources_max.mem", ""))
    facts: dict[str, Any] = {
        "name": name,
        "cores": _least(usual.cores if usual is not None else None, limits["ncpus"]),
        "memory_mib": _least((usual.memory_mib or None) if usual is not None else None, memory or None),
        "walltime": parse_walltime(values["resources_max.walltime"]) if "resources_max.walltime" in values else None,
        "max_nodes": limits["nodect"],
        "max_submitted": _least(*(_limit(source.get("max_queued", ""), who) for source in (values, server))),
        "max_running": _least(*(_limit(source.get("max_run", ""), who) for source in (values, server))),
    }
    if usual is not None and usual.gpus and limits["ngpus"] != 0:
        facts |= {"gpus": usual.gpus, "gpu_request": "ngpus"}
    return Partition.model_validate(facts)


def _attributes(text: str) -> dict[str, str]:
    # Long values go on in the next line, after a tab.
    joined = re.sub(r"\n\t", "", text)
    pairs = (line.strip().partition(" = ") for line in joined.splitlines() if " = " in line)
    return {name: value.strip() for name, _, value in pairs}


def _closed(values: Mapping[str, str]) -> str:
    """Why a queue takes no jobs; empty if it does."""
    if values.get("enabled", "True") != "True":
        return "not enabled"
    if values.get("started", "True") != "True":
        return "not started"
    return "takes jobs from other queues only" if values.get("from_route_only") == "True" else ""


def _array_size(server: Mapping[str, str], queues: Mapping[str, Mapping[str, str]]) -> int | None:
    default = queues.get(server.get("default_queue", ""), {})
    return _least(*(_count(source.get("max_array_size", "")) for source in (server, default)))


def _nodes_of(name: str, values: Mapping[str, str], nodes: Sequence[Node]) -> list[Node]:
    """Nodes that jobs of a queue may get."""
    chosen = {
        key.removeprefix("default_chunk."): value for key, value in values.items() if key.startswith("default_chunk.")
    }
    own = [node for node in nodes if node.queue == name]
    found = own or [node for node in nodes if not node.queue]
    for resource, value in chosen.items():
        found = [node for node in found if value in dict(node.marks).get(resource, value).split(",")]
        marked = [node for node in found if resource in dict(node.marks)]
        found = marked or found
    if _count(values.get("resources_min.ngpus", "")):
        found = [node for node in found if node.gpus] or found
    return found


def _node(values: Mapping[str, str]) -> Node:
    known = ("ncpus", "mem", "ngpus", "host", "vnode", "arch", "vmem", "hpmem")
    available = {
        name.removeprefix("resources_available."): value
        for name, value in values.items()
        if name.startswith("resources_available.")
    }
    marks = tuple(sorted((name, value) for name, value in available.items() if name.endswith(("list", "queue"))))
    return Node(
        cores=int(available["ncpus"]),
        memory_mib=_mib(available.get("mem", "")),
        gpus=_count(available.get("ngpus", "")) or 0,
        queue=values.get("queue", ""),
        marks=tuple(mark for mark in marks if mark[0] not in known),
    )


def _together(one: Node | None, other: Node) -> Node:
    if one is None:
        return other
    return Node(
        one.cores + other.cores, one.memory_mib + other.memory_mib, one.gpus + other.gpus, one.queue, one.marks
    )


def _limit(text: str, who: str) -> int | None:
    """Limit of one user: `[u:PBS_GENERIC=300],[u:ada=500]`."""
    limits = {name: int(count) for name, count in re.findall(r"\[u:([^=\]]+)=(\d+)\]", text)}
    return limits.get(who, limits.get("PBS_GENERIC"))


def _least(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _count(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _mib(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmgt]?)b", text, re.IGNORECASE)
    if match is None:
        return 0
    factor: int = 1024 ** " kmgt".index(match.group(2).lower() or " ")
    return int(match.group(1)) * factor // 2**20
