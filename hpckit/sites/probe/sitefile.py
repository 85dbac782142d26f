"""A first site file from what a cluster said of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import Final

from pydantic import ValidationError
from ruamel.yaml import YAML

from hpckit.base.quantities import format_walltime
from hpckit.errors import SiteError
from hpckit.sites.parts import Partition
from hpckit.sites.probe.here import fastest, flavour
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.registry import scheduler_named
from hpckit.sites.site import Site

_RANKS: Final = 16
"""Ranks of an element, where nodes are shared: a share that starts soon."""
_SHOWN: Final = 8


def site_file(facts: Facts, name: str, hostname: str = "") -> str:
    """YAML text of a site file, commented; every value was reported by the cluster.

    Parameters
    ----------
    hostname : str
        Full name of this host, by which the cluster will be recognised.

    Raises
    ------
    SiteError
        If the name is none for a site.
    """
    lines = [
        *_head(facts, name, hostname),
        *_partitions(facts),
        *_arrays(facts),
        *_accounts(facts),
        *_mpi(facts),
        *_stages(facts),
        *_storage(facts),
        *_programs(facts),
        *_comments("Settings of the scheduler", [f"{key} = {value}" for key, value in facts.settings.items()]),
        *_comments("Could not be asked, or is to be thought of", facts.notes),
        '# login: {host: ssh.cluster.example, user: "{user}"}    # for `hpckit login` and `hpckit --host`',
    ]
    text = "\n".join(lines) + "\n"
    _require_valid(text)
    return text


def host_pattern(hostname: str) -> str | None:
    """Regular expression of the hosts that are called like this one; None if its name says nothing.

    >>> host_pattern("login12.cluster.example"), host_pattern("localhost.localdomain"), host_pattern("vm")
    ('login[0-9]+\\\\.cluster\\\\.example', None, None)
    """
    first, _, domain = hostname.partition(".")
    if not domain or first == "localhost" or domain in ("local", "localdomain", "internal"):
        return None
    return re.sub(r"\d+", "[0-9]+", re.escape(first)) + "\\." + re.escape(domain)


def _head(facts: Facts, name: str, hostname: str) -> list[str]:
    scheduler = f"{scheduler_named(facts.scheduler).title} {facts.version}".strip()
    pattern = host_pattern(hostname)
    return [
        f"# Written by `hpckit site probe` on {date.today():%Y-%m-%d}; {scheduler}.",
        "# Read it, add what the cluster does not report (account, login, modules, setup), then `hpckit site check`.",
        f"name: {json.dumps(name)}",
        f"title: {json.dumps(f'{facts.cluster or name} ({scheduler})')}",
        f"scheduler: {facts.scheduler}",
        *(["identify:", f"  hostname: {json.dumps(pattern)}"] if pattern else []),
    ]


def _partitions(facts: Facts) -> list[str]:
    lines = [f"# takes no jobs of yours: {_one_line(f'{name} ({why})')}" for name, why in facts.closed.items()]
    if facts.partitions:
        lines += ["partitions:   # the default first; cores are physical ones, memory in MiB"]
        lines += [f"- {_flow(partition)}" for partition in facts.partitions]
    if not facts.memory_is_shared_out:
        lines.append(
            f"memory_request: none   # this {scheduler_named(facts.scheduler).title} does not share memory out"
        )
    return lines


def _flow(partition: Partition) -> str:
    values = partition.model_dump(mode="json", exclude_defaults=True)
    parts = []
    for key, value in values.items():
        if value is not None:
            text = f'"{format_walltime(value)}"' if key == "walltime" else json.dumps(value)
            parts.append(f"{key}: {text}")
    return "{" + ", ".join(parts) + "}"


def _arrays(facts: Facts) -> list[str]:
    if facts.array_size is None:
        return ["# arrays: {max_size: …}   # unknown; the scheduler's own default is assumed"]
    return [f"arrays: {{max_size: {facts.array_size}}}" if facts.array_size else "arrays: {supported: false}"]


def _accounts(facts: Facts) -> list[str]:
    if not facts.accounts:
        return ["# account: {required: true, default: …}"]
    return [
        f"account: {{default: {json.dumps(facts.accounts[0])}}}   # yours: {_one_line(', '.join(facts.accounts))}",
        *([f"# QoS that you may use: {_one_line(', '.join(facts.qos))}"] if facts.qos else []),
    ]


def _mpi(facts: Facts) -> list[str]:
    offered = [name for name in facts.mpi_flavours if name != "none"]
    lines = ["mpi: {launcher: none}   # processes of one node; ranks of several nodes need mpi4py, and:"]
    lines += [f"# srun --mpi= offers {', '.join(offered)}"] if offered else []
    lines += [f"# found without modules: {', '.join(facts.launchers)}"] if facts.launchers else []
    kind = flavour(facts.mpirun)
    if kind is not None:
        node_file = scheduler_named(facts.scheduler).variables.node_file
        hosts = f", hostfile: ${node_file}" if facts.mpi_asks_scheduler is False else ""
        lines.append(f"# mpi: {{launcher: mpirun, flavour: {kind}{hosts}}}   # {facts.mpirun}")
    return lines


def _stages(facts: Facts) -> list[str]:
    default = facts.partitions[0] if facts.partitions else Partition(name="")
    cores = default.cores or _RANKS
    ranks = cores if default.exclusive else min(_RANKS, cores)
    return ["stages:", f"  default: {{ranks: {ranks}, cores: 1, walltime: 2h}}   # one rank per core"]


def _storage(facts: Facts) -> list[str]:
    if not facts.file_systems:
        return []
    places = sorted(facts.file_systems.items())
    shown = ", ".join(f"{place} ({kind})" for place, kind in places[:_SHOWN])
    more = f", and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return [
        f"# shared file systems: {_one_line(shown)}{more}",
        f"storage: {{kind: {fastest(facts.file_systems)}}}   # add scratch: and project:, as they are written there",
    ]


def _programs(facts: Facts) -> list[str]:
    found = ", ".join(f"{name} {version}".strip() for name, version in facts.containers.items())
    return [
        *([f"# {facts.modules}: modules: [Python/3.11], if hpckit needs any"] if facts.modules else []),
        *([f"# containers: {found}"] if found else []),
        "# setup: source /path/to/venv/bin/activate",
        "# command: /path/to/venv/bin/hpckit   # on a file system that all nodes see",
    ]


def _comments(title: str, lines: Sequence[str]) -> list[str]:
    return [f"# {title}:", *(f"#   {_one_line(line)}" for line in lines)] if lines else []


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _require_valid(text: str) -> None:
    try:
        Site.model_validate(YAML(typ="safe").load(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SiteError(
            f"what the cluster says makes no valid site file: {where}: {first['msg']} (it is {first['input']!r})",
            hint="give another --name" if where == "name" else "report it with what the scheduler's commands print",
        ) from None
