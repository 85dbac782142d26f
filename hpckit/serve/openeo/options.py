"""Options of batch jobs (`job_options`, processing parameters of API 1.3), checked against the site file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import write_json
from hpckit.base.quantities import format_walltime, parse_walltime
from hpckit.errors import SiteError
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.settings import AccountLimits
from hpckit.sites.parts import Partition, StageRequest
from hpckit.sites.site import Site

_MEMORY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_MIB: Final = {"": 1.0, "K": 2**-10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}
_MOST_RETRIES: Final = 5
_TEXT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,60}")

DESCRIBED: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "account": ("Account of the scheduler that pays.", {"type": "string"}),
    "partition": ("Partition or queue.", {"type": "string"}),
    "qos": ("Quality of service.", {"type": "string"}),
    "walltime": (
        "Longest time of a job: seconds, or a text such as `90min`, `4h`, `36:00:00`.",
        {"type": ["integer", "string"], "minimum": 60},
    ),
    "memory": (
        "Memory of each process: MiB, or a text such as `4G`; estimated if not given.",
        {"type": ["integer", "string"]},
    ),
    "cores": ("Cores of each process.", {"type": "integer", "minimum": 1}),
    "nodes": ("Nodes of each job, where the site starts processes by MPI.", {"type": "integer", "minimum": 1}),
    "gpus": ("GPUs of each node.", {"type": "integer", "minimum": 0}),
    "retries": (
        "How often units that failed are submitted again, with more memory or time where these ran out.",
        {"type": "integer", "minimum": 0, "maximum": _MOST_RETRIES},
    ),
}
"""Names of the options, with what they mean and their schemas."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a job; None where the site decides."""

    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    walltime_s: int | None = None
    memory_mib: int | None = None
    cores: int | None = None
    nodes: int | None = None
    gpus: int | None = None
    retries: int | None = None


def read_options(given: Mapping[str, Any], site: Site, limits: AccountLimits) -> Options:
    """Read and check the options of a job.

    Parameters
    ----------
    given : mapping
        `job_options` as the client wrote them.
    site : Site
        That will run it.
    limits : AccountLimits
        Of the account.

    Raises
    ------
    OpenEoError
        If an option is unknown, or more than the site or the account allows.
    """
    for name in given:
        if name not in DESCRIBED:
            close = difflib.get_close_matches(name, DESCRIBED, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(DESCRIBED)}"
            raise OpenEoError("ProcessingParameterUnsupported", f"there is no job option {name!r}", hint=hint)
    options = read_stored(given)
    _require_allowed(options, site, limits)
    return options


def read_stored(given: Mapping[str, Any]) -> Options:
    """Read options whose names were checked before."""
    values = {name: value for name, value in given.items() if value is not None}
    return Options(
        account=_text(values, "account"),
        partition=_text(values, "partition"),
        qos=_text(values, "qos"),
        walltime_s=_walltime(values.get("walltime")),
        memory_mib=_memory(values.get("memory")),
        cores=_whole(values, "cores", 1, 4096),
        nodes=_whole(values, "nodes", 1, 100_000),
        gpus=_whole(values, "gpus", 0, 64),
        retries=_whole(values, "retries", 0, _MOST_RETRIES),
    )


def chosen_partition(options: Options, limits: AccountLimits) -> str | None:
    """Partition of a job; the first of the account's where the job names none."""
    return options.partition or (limits.partitions[0] if limits.partitions else None)


def write_site(site: Site, options: Options, path: Path) -> None:
    """Write the file of a site with what a job asks for."""
    asked = {
        "walltime": options.walltime_s,
        "memory_mib": options.memory_mib,
        "cores": options.cores,
        "nodes": options.nodes,
        "gpus": options.gpus,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    stages = {
        name: StageRequest.model_validate(request.model_dump(exclude_unset=True) | changes)
        for name, request in {"default": StageRequest(), **site.stages}.items()
    }
    write_json(path, site.model_dump(mode="json", exclude_unset=True) | {"stages": _dumped(stages)})


def _dumped(stages: Mapping[str, StageRequest]) -> dict[str, Any]:
    return {name: request.model_dump(mode="json", exclude_unset=True) for name, request in stages.items()}


def _require_allowed(options: Options, site: Site, limits: AccountLimits) -> None:
    name = chosen_partition(options, limits)
    if limits.partitions and name not in limits.partitions:
        raise _invalid("partition", f"your account may use {', '.join(limits.partitions)}")
    try:
        partition = site.partition(name)
    except SiteError as error:
        raise _invalid("partition", f"{error.message}; {error.hint}") from None
    title = f"partition {partition.name}" if partition.name else f"site {site.name}"
    for option, asked, most, unit in _bounds(options, partition):
        if asked is not None and most is not None and asked > most:
            shown = format_walltime(most) if option == "walltime" else f"{most}{unit}"
            raise _invalid(option, f"{title} has no more than {shown}")
    if options.nodes is not None and options.nodes > 1 and site.mpi.launcher == "none":
        raise _invalid("nodes", f"{title} starts no processes on several nodes: leave it out")
    if options.gpus and not partition.gpus:
        raise _invalid("gpus", f"{title} has none")


def _bounds(options: Options, partition: Partition) -> list[tuple[str, int | None, int | None, str]]:
    return [
        ("walltime", options.walltime_s, partition.walltime, ""),
        ("memory", options.memory_mib, partition.memory_mib, " MiB on a node"),
        ("cores", options.cores, partition.cores, " on a node"),
        ("nodes", options.nodes, partition.max_nodes, ""),
        ("gpus", options.gpus, partition.gpus or None, " on a node"),
    ]


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not (isinstance(value, str) and _TEXT.fullmatch(value)):
        raise _invalid(name, "write a name of letters, digits, '.', '_', '@', '+' and '-'")
    return value


def _whole(values: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _invalid(name, f"write a whole number from {least} to {most}")
    return value


def _walltime(value: object) -> int | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError("write seconds, or a text such as 90min, 4h or 36:00:00")
        seconds = parse_walltime(value)
    except (ValueError, OverflowError) as error:
        raise _invalid("walltime", str(error)) from None
    if seconds < 60:
        raise _invalid("walltime", "write at least a minute")
    return seconds


def _memory(value: object) -> int | None:
    if value is None:
        return None
    match = _MEMORY.fullmatch(str(value).strip()) if isinstance(value, (int, str)) else None
    if match is None or isinstance(value, bool):
        raise _invalid("memory", "write MiB, or a text such as 4G")
    mib = int(float(match[1]) * _MIB[match[2].upper()])
    if not 64 <= mib <= 2**30:
        raise _invalid("memory", "write at least 64 MiB, and no more than a machine can have")
    return mib


def _invalid(name: str, why: str) -> OpenEoError:
    return OpenEoError("ProcessingParameterInvalid", f"job option {name!r}: {why}")
