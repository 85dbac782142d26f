"""Batch schedulers: what they are asked, how, and what they answer."""

from __future__ import annotations

from hpckit.scheduler.model import Scheduler
from hpckit.site import Site


def scheduler_of(site: Site) -> Scheduler:
    """The scheduler of a site."""
    if site.scheduler == "slurm":
        from hpckit.scheduler.slurm import Slurm

        return Slurm()
    if site.scheduler == "pbs":
        from hpckit.scheduler.pbs import Pbs

        return Pbs()
    from hpckit.scheduler.local import Local

    return Local()
