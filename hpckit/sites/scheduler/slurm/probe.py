"""What Slurm says of itself, in formats that hold from 22.05 to 26."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpckit.base.quantities import parse_walltime
from hpckit.sites.parts import Partition
from hpckit.sites.scheduler.facts import Facts, ask, user
from hpckit.sites.scheduler.model import Runner

_NODES: Final = "%R|%z|%m|%l|%G|%D|%h|%s"
"""Partition, sockets:cores:threads, MiB, time limit, GPUs, nodes, sharing, job size."""
_FLAVOURS: Final = ("pmix", "pmi2", "cray_shasta", "none")
_TOLD: Final = ("MaxJobCount", "MinJobAge", "KillWait", "JobRequeue", "MpiDefault", "SelectTypeParameters")
"""Settings that are shown as comments."""
_ANY: Final = ("", "ALL", "N/A", "(null)")


@dataclass(frozen=True, slots=True)
class Association:
    """What a user may do on one account."""

    account: str
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    max_submitted: int | None = None
    max_running: int | None = None


@dataclass(frozen=True, slots=True)
class Qos:
    """Limits of a QoS."""

    walltime: int | None = None
    max_submitted: int | None = None
    max_running: int | None = None


def gather(runner: Runner) -> Facts:
    """Ask Slurm."""
    facts = Facts("slurm")
    # `slurm 23.02.6`; Debian's says `slurm-wlm 22.05.8`.
    version = re.search(r"\d+\.\d+[\w.-]*", ask(runner, facts, "sinfo", "--version"))
    facts.version = version.group() if version is not None else ""
    config = read_config(ask(runner, facts, "scontrol", "show", "config"))
    _add_settings(facts, config)
    default = ask(runner, facts, "sinfo", "-h", "-o", "%P")
    partitions = read_partitions(ask(runner, facts, "sinfo", "-h", "-e", "-o", _NODES), default)
    rules = read_rules(ask(runner, facts, "scontrol", "-o", "show", "partition"))
    facts.mpi_flavours = read_mpi(ask(runner, facts, "srun", "--mpi=list", both=True))
    associations, qos = _ask_accounting(runner, facts) if partitions else ([], {})
    for partition in partitions:
        _add_partition(facts, partition, rules.get(partition.name, {}), associations, qos)
    return facts


def read_config(text: str) -> dict[str, str]:
    """`scontrol show config`: `Name   = value` lines."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_array_size(config: Mapping[str, str]) -> int | None:
    """Largest array: MaxArraySize, or what `max_array_tasks` of SchedulerParameters allows below it."""
    if not config.get("MaxArraySize", "").isdigit():
        return None
    tasks = re.search(r"max_array_tasks=(\d+)", config.get("SchedulerParameters", ""))
    return min(int(config["MaxArraySize"]), int(tasks.group(1)) if tasks is not None else 10**9)


def read_partitions(text: str, marked: str = "") -> list[Partition]:
    """Lines of `sinfo -o`, of which a partition with unlike nodes has several: what most of them have counts.

    Parameters
    ----------
    marked : str
        Names as `sinfo -o %P` prints them, the default one with a star.
    """
    kinds: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 8:
            kinds.setdefault(fields[0], []).append(fields)
    default = next((name.rstrip("*") for name in marked.split() if name.endswith("*")), None)
    found = [_partition(name, rows) for name, rows in kinds.items()]
    return sorted(found, key=lambda partition: partition.name != default)


def read_gpus(text: str) -> tuple[str | None, int]:
    """Type and number of the GPUs of a node, of the type that it has most of; the type may be anything.

    >>> read_gpus("gpu:1g.5gb:2"), read_gpus("gpu:a100_3g.20gb:4(S:0-1),mps:400"), read_gpus("gres/gpu:8")
    (('1g.5gb', 2), ('a100_3g.20gb', 4), (None, 8))
    >>> read_gpus("gpu:a100:no_consume:4(S:0),gpu:2g.10gb:7(S:1,3)"), read_gpus("gpu:tesla"), read_gpus("(null)")
    (('2g.10gb', 7), ('tesla', 1), (None, 0))
    """
    found: dict[str | None, int] = {}
    for item in re.sub(r"\([^)]*\)", "", text).split(","):
        words = item.strip().removeprefix("gres/").replace("=", ":").split(":")
        if words[0] != "gpu":
            continue
        rest = [word for word in words[1:] if word != "no_consume"]
        count = _first_number(rest.pop()) if rest and rest[-1].isdigit() else 1
        kind = rest[0] if rest else None
        found[kind] = found.get(kind, 0) + count
    return max(found.items(), key=lambda pair: pair[1], default=(None, 0))


def read_rules(text: str) -> dict[str, dict[str, str]]:
    """`scontrol -o show partition`: one line of `Name=value` words per partition."""
    lines = (dict(word.partition("=")[::2] for word in line.split()) for line in text.splitlines())
    return {line["PartitionName"]: line for line in lines if "PartitionName" in line}


def read_mpi(text: str) -> list[str]:
    """`srun --mpi=list`: one name per line after a heading, `pmix_v4` among them."""
    names = re.findall(r"^(?:srun:)?\s*(\w+)\s*$", text, re.MULTILINE)
    names += re.findall(r"\b(pmix\w*|pmi2|cray_shasta)\b", text)
    return sorted({name for name in names if name.startswith(_FLAVOURS)})


def read_associations(text: str) -> list[Association]:
    """`sacctmgr -n -P show assoc format=account,qos,defaultqos,maxsubmit,maxjobs`."""
    rows = (line.split("|") for line in text.splitlines())
    return [
        Association(row[0], tuple(row[1].split(",")) if row[1] else (), row[2], _count(row[3]), _count(row[4]))
        for row in rows
        if len(row) == 5 and row[0]
    ]


def read_qos(text: str) -> dict[str, Qos]:
    """`sacctmgr -n -P show qos format=name,maxwall,maxsubmitpu,maxjobspu`."""
    rows = (line.split("|") for line in text.splitlines())
    return {row[0]: Qos(_seconds(row[1]), _count(row[2]), _count(row[3])) for row in rows if len(row) == 4}


def apply_rules(
    partition: Partition, rules: Mapping[str, str], associations: Sequence[Association], qos: Mapping[str, Qos]
) -> tuple[Partition, str]:
    """Partition within what its rules and the user's accounts allow, and why it takes no jobs, if it takes none.

    Some sites (VSC, JASMIN) want a QoS or an account said with a partition: that is found here.
    """
    state, accounts = rules.get("State", "UP"), _names(rules.get("AllowAccounts", "ALL"))
    if state != "UP" or rules.get("RootOnly") == "YES":
        return partition, f"state {state}" if state != "UP" else "only for root"
    usable = [item for item in associations if accounts is None or item.account in accounts]
    if associations and not usable:
        return partition, f"only for accounts {', '.join(accounts or ())}"
    changes: dict[str, Any] = {}
    if usable and usable[0] is not associations[0]:
        changes["account"] = usable[0].account
    chosen = _choose_qos(partition.name, _names(rules.get("AllowQos", "ALL")), usable[0] if usable else None)
    default = usable[0].default_qos if usable else ""
    if chosen not in (None, default):
        changes["qos"] = chosen
    limits = [qos[name] for name in (rules.get("QoS", ""), chosen or default) if name in qos]
    limits += [Qos(None, item.max_submitted, item.max_running) for item in usable[:1]]
    for name in ("walltime", "max_submitted", "max_running"):
        values = [value for value in (getattr(partition, name), *(getattr(q, name) for q in limits)) if value]
        changes[name] = min(values, default=None)
    changes["memory_mib"] = _memory(partition, rules)
    cpus = _count(rules.get("MaxCPUsPerNode", ""))
    if cpus is not None and partition.cores is not None:
        changes["cores"] = min(partition.cores, cpus)
    return partition.model_copy(update=changes), ""


def _add_settings(facts: Facts, config: Mapping[str, str]) -> None:
    facts.cluster = config.get("ClusterName", "")
    facts.array_size = read_array_size(config)
    facts.memory_is_shared_out = "MEMORY" in config.get("SelectTypeParameters", "MEMORY").upper()
    facts.settings = {name: config[name] for name in _TOLD if config.get(name)}


def _ask_accounting(runner: Runner, facts: Facts) -> tuple[list[Association], dict[str, Qos]]:
    """The user's associations, the default account's first, and limits by QoS; none where accounting is closed."""
    who = [f"user={user()}", *([f"cluster={facts.cluster}"] if facts.cluster else [])]
    wanted = "format=account,qos,defaultqos,maxsubmit,maxjobs"
    found = read_associations(ask(runner, facts, "sacctmgr", "-n", "-P", "show", "assoc", *who, wanted))
    if not found:
        facts.notes.append("sacctmgr lists no accounts of yours: say which you use in `account`")
        return [], {}
    default = ask(runner, facts, "sacctmgr", "-n", "-P", "show", "user", user(), "format=defaultaccount").strip()
    found.sort(key=lambda item: item.account != default)
    facts.accounts = list(dict.fromkeys(item.account for item in found))
    facts.qos = sorted({name for item in found for name in item.qos})
    limits = ask(runner, facts, "sacctmgr", "-n", "-P", "show", "qos", "format=name,maxwall,maxsubmitpu,maxjobspu")
    return found, read_qos(limits)


def _add_partition(
    facts: Facts,
    partition: Partition,
    rules: Mapping[str, str],
    associations: Sequence[Association],
    qos: Mapping[str, Qos],
) -> None:
    applied, why = apply_rules(partition, rules, associations, qos)
    if why:
        facts.closed[partition.name] = why
    else:
        facts.partitions.append(applied)


def _partition(name: str, rows: Iterable[list[str]]) -> Partition:
    usual = max(rows, key=lambda fields: int(fields[5]) if fields[5].isdigit() else 0)
    sockets, _, rest = usual[1].partition(":")
    kind, gpus = read_gpus(usual[4])
    most = usual[7].rpartition("-")[2]
    memory = _first_number(usual[2])
    values: dict[str, Any] = {
        "name": name,
        # Partitions without nodes have none of either, and 1 MiB is what nodes have that nobody described.
        "cores": _first_number(sockets) * _first_number(rest) or None,
        "memory_mib": memory if memory > 1 else None,
        "exclusive": usual[6].upper() in ("EXCL", "EXCLUSIVE"),
        "max_nodes": int(most) if most.isdigit() else None,
        "walltime": _seconds(usual[3]),
    }
    if gpus:
        values |= {"gpus": gpus, "gpu_type": kind}
    return Partition.model_validate(values)


def _choose_qos(partition: str, allowed: Sequence[str] | None, mine: Association | None) -> str | None:
    """QoS to be said with a partition; None where the default one will do."""
    if allowed is None or mine is None or mine.default_qos in allowed:
        return None
    possible = [name for name in allowed if name in mine.qos] or list(allowed)
    return partition if partition in possible else possible[0]


def _memory(partition: Partition, rules: Mapping[str, str]) -> int | None:
    limits = [partition.memory_mib, _count(rules.get("MaxMemPerNode", ""))]
    per_cpu = _count(rules.get("MaxMemPerCPU", ""))
    if per_cpu is not None and partition.cores is not None:
        limits.append(per_cpu * partition.cores)
    return min((limit for limit in limits if limit), default=None)


def _names(text: str) -> list[str] | None:
    """Names of a list; None for all."""
    return None if text in _ANY else text.split(",")


def _count(text: str) -> int | None:
    return int(text) if text.isdigit() and int(text) > 0 else None


def _first_number(text: str) -> int:
    """`2`, `2+`, `491520+`, `4:1`; 0 where there is none."""
    match = re.match(r"\d+", text)
    return int(match.group()) if match is not None else 0


def _seconds(text: str) -> int | None:
    """`30:00` is minutes and seconds to Slurm, `5` minutes."""
    if text.isdigit():
        return int(text) * 60 or None
    days, dash, clock = text.rpartition("-")
    if not re.fullmatch(r"\d*(-?\d+)(:\d+){0,2}", text):
        return None
    if dash:
        # `1-12` is a day and twelve hours.
        clock += ":00" * (2 - clock.count(":"))
        return parse_walltime(f"{days}-{clock}")
    return parse_walltime(f"0:{clock}" if clock.count(":") == 1 else clock)
