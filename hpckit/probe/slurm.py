"""What Slurm says of itself, in formats that hold from 22.05 to 25."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from hpckit.probe.facts import Facts, ask, user
from hpckit.quantities import parse_walltime
from hpckit.scheduler.runner import Runner
from hpckit.site import Partition

_NODES: Final = "%R|%z|%m|%l|%G|%D|%h|%s"
"""Partition, sockets:cores:threads, MiB, time limit, GPUs, nodes, sharing, job size."""
_FLAVOURS: Final = ("pmix", "pmi2", "cray_shasta", "none")


def gather(runner: Runner) -> Facts:
    """Ask Slurm."""
    facts = Facts("slurm")
    # `slurm 23.02.6`; Debian's says `slurm-wlm 22.05.8`.
    version = re.search(r"\d+\.\d+[\w.-]*", ask(runner, facts, "sinfo", "--version"))
    facts.version = version.group() if version is not None else ""
    config = read_config(ask(runner, facts, "scontrol", "show", "config"))
    default = ask(runner, facts, "sinfo", "-h", "-o", "%P")
    facts.partitions = read_partitions(ask(runner, facts, "sinfo", "-h", "-e", "-o", _NODES), default)
    facts.array_size = int(config["MaxArraySize"]) if config.get("MaxArraySize", "").isdigit() else None
    facts.memory_is_shared_out = "MEMORY" in config.get("SelectTypeParameters", "MEMORY").upper()
    facts.mpi_flavours = read_mpi(ask(runner, facts, "srun", "--mpi=list"))
    accounts = ask(runner, facts, "sacctmgr", "-n", "-P", "show", "assoc", f"user={user()}", "format=account")
    facts.accounts = sorted(set(accounts.split())) or None
    return facts


def read_config(text: str) -> dict[str, str]:
    """`scontrol show config`: `Name   = value` lines."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


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


def _partition(name: str, rows: Iterable[list[str]]) -> Partition:
    usual = max(rows, key=lambda fields: int(fields[5]) if fields[5].isdigit() else 0)
    sockets, _, rest = usual[1].partition(":")
    cores = int(sockets) * int(rest.partition(":")[0])
    gpus = re.search(r"gpu:(?:([A-Za-z][\w.-]*):)?(\d+)", usual[4])
    most = usual[7].rpartition("-")[2]
    values: dict[str, Any] = {
        "name": name,
        "cores": cores,
        "memory_mib": int(usual[2].rstrip("+")),
        "exclusive": usual[6].upper() in ("EXCL", "EXCLUSIVE"),
        "max_nodes": int(most) if most.isdigit() else None,
    }
    if usual[3] not in ("infinite", "n/a", "UNLIMITED"):
        values["walltime"] = _seconds(usual[3])
    if gpus is not None:
        values |= {"gpus": int(gpus.group(2)), "gpu_type": gpus.group(1)}
    return Partition.model_validate(values)


def _seconds(text: str) -> int:
    """`30:00` is minutes and seconds to Slurm, `5` minutes."""
    if text.isdigit():
        return int(text) * 60
    return parse_walltime(f"0:{text}" if text.count(":") == 1 and "-" not in text else text)


def read_mpi(text: str) -> list[str]:
    """`srun --mpi=list`: one name per line after a heading, `pmix_v4` among them."""
    names = re.findall(r"^\s*(\w+)\s*$", text, re.MULTILINE)
    names += re.findall(r"\b(pmix\w*|pmi2|cray_shasta)\b", text)
    return sorted({name for name in names if name.startswith(_FLAVOURS)})
