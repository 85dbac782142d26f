"""Limits of a site file that go beyond those of the operator's file of the same site.

The scheduler enforces limits, not hpckit: a person may write any site file. But nobody should go beyond the
operator's limits without being told, since a copy of the operator's file may be older than the cluster's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from hpckit.base.findings import Finding
from hpckit.base.quantities import format_bytes, format_duration
from hpckit.sites.places import operator_file
from hpckit.sites.site import Site, load_site

Show = Callable[[float], str]

_OF_PARTITIONS: Final[dict[str, Show]] = {
    "cores": str,
    "memory_mib": lambda mib: format_bytes(int(mib) * 2**20),
    "walltime": format_duration,
    "max_nodes": str,
    "gpus": str,
    "max_submitted": str,
    "max_running": str,
}
_OF_NODES: Final = ("cores", "memory_mib", "gpus")
"""What nodes have: left out it is unknown, and not unlimited."""
_PAUSES: Final = ("first_s", "longest_s", "submit_pause_s")
"""How often the scheduler is asked: here less is more."""


def limit_findings(site: Site) -> list[Finding]:
    """The limits of a site file beside those of the operator's file; empty where there is none, or it is the same.

    Raises
    ------
    SiteError
        If the operator's file is wrong.
    """
    path = operator_file(site.path.stem) or operator_file(site.name)
    if path is None or path == site.path:
        return []
    beyond = raised(site, load_site(path))
    if not beyond:
        return [Finding("limits of the operator", True, f"those of {path} are kept", needed=False)]
    remedy = f"the limits of {path} are the operator's: keep to them, or ask why they differ"
    return [Finding("limits of the operator", False, text, remedy, needed=False) for text in beyond]


def warnings(site: Site) -> Iterator[str]:
    """Sentences about limits that go beyond the operator's."""
    for finding in limit_findings(site):
        if finding.ok is False:
            yield f"{site.path}: {finding.says}; {finding.remedy}"


def raised(site: Site, operator: Site) -> list[str]:
    """What a site file allows beyond the operator's.

    Returns
    -------
    list of str
        One text for each field, as `partition standard: walltime 96 h 00 min, the operator's is 48 h 00 min`.
    """
    theirs = {partition.name: partition for partition in operator.partitions}
    found = []
    for partition in site.partitions:
        what = f"partition {partition.name or '(chosen by the site)'}"
        if partition.name not in theirs:
            if theirs:
                found.append(f"{what} is not in the operator's file")
            continue
        for name, show in _OF_PARTITIONS.items():
            mine, limit = getattr(partition, name), getattr(theirs[partition.name], name)
            if mine is None and name in _OF_NODES:
                continue
            found += _more(f"{what}: {name}", mine, limit, show)
    for name in ("max_size", "throttle"):
        found += _more(f"arrays.{name}", getattr(site.arrays, name), getattr(operator.arrays, name), str)
    for name in _PAUSES:
        mine, least = getattr(site.poll, name), getattr(operator.poll, name)
        if mine < least:
            found.append(f"poll.{name} {mine:g}, the operator's is {least:g}")
    return found


def _more(what: str, mine: float | None, limit: float | None, show: Show) -> list[str]:
    """Nothing, or the text; a limit that was left out is none."""
    if limit is None or (mine is not None and mine <= limit):
        return []
    return [f"{what} {'has no limit' if mine is None else show(mine)}, the operator's is {show(limit)}"]
