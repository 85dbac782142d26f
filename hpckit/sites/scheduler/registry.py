"""The schedulers that there are: those of hpckit, and those that installed packages add by an entry point.

Only the class that a site names is imported: a worker asks no scheduler, and should start soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

from hpckit.base.plugins import added, load
from hpckit.errors import SiteError
from hpckit.sites.scheduler.base import Scheduler

GROUP: Final = "hpckit.schedulers"
"""Group of entry points, each the name of a scheduler and its class."""
_OWN: Final = {
    "slurm": "hpckit.sites.scheduler.slurm:Slurm",
    "pbs": "hpckit.sites.scheduler.pbs:Pbs",
    "local": "hpckit.sites.scheduler.local:Local",
}


def scheduler_names() -> list[str]:
    """Names of all schedulers, those of hpckit first."""
    return list(_places())


@cache
def scheduler_named(name: str) -> Scheduler:
    """Scheduler by the name that site files give it.

    Raises
    ------
    SiteError
        If there is none, or the package that has it cannot be imported.
    """
    place = _OWN.get(name) or _places().get(name)
    if place is None:
        raise SiteError(
            f"there is no scheduler {name!r}",
            hint=f"there are {', '.join(scheduler_names())}; a package with an entry point of {GROUP} adds others",
        )
    found = load(f"scheduler {name!r}", place, SiteError, make=lambda kind: kind())
    if not isinstance(found, Scheduler) or found.name != name:
        raise SiteError(f"scheduler {name!r}: {place} is no hpckit scheduler of this name")
    return found


def schedulers() -> Iterator[Scheduler]:
    """All schedulers that can be loaded, those of hpckit first."""
    for name in scheduler_names():
        try:
            yield scheduler_named(name)
        except SiteError:
            continue  # said where it is asked for


def _places() -> dict[str, str]:
    """Module and class by name; packages cannot replace those of hpckit."""
    return _OWN | {name: place for name, place in added(GROUP).items() if name not in _OWN}
