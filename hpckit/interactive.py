"""Dask on a site, for notebooks: workers are jobs of the site's scheduler, set up from its site file.

Only for looking at cubes interactively; productions are job arrays (`hpckit submit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.arrays import Request, share
from hpckit.errors import HpckitError
from hpckit.quantities import format_walltime, parse_walltime
from hpckit.scheduler.model import Resources
from hpckit.scheduler.script import directive
from hpckit.site import Site, find_site, identify_site

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster

_NOT_INSTALLED: Final = "pip install 'hpckit[dask]'"
_SHORTEST_S: Final = 300


def cluster(
    site: str | Site | None = None,
    *,
    jobs: int = 0,
    cores: int = 4,
    memory_mib: int = 8192,
    walltime: str | int = "1h",
    account: str | None = None,
    partition: str | None = None,
    logs: str | Path | None = None,
    **options: Any,
) -> Cluster:
    """Start a Dask cluster whose workers are jobs of a site; to be called on its login node.

    Parameters
    ----------
    site : str or Site, optional
        Name or file of a site; the one that this machine belongs to, if not given.
    jobs : int
        Jobs to start with; more by `cluster.scale(jobs=…)` or `cluster.adapt(…)`.
    cores, memory_mib : int
        Of each job; one worker process with as many threads.
    walltime : str or int
        Of each job; `2h`. Workers retire in time before its end, so that no task dies with them.
    account, partition : str, optional
        Instead of those of the site file.
    logs : path, optional
        Existing folder for the output of the jobs.
    **options
        Passed to dask-jobqueue's cluster.

    Returns
    -------
    Cluster
        `dask_jobqueue.SLURMCluster` or `PBSCluster`; on a site without scheduler a `distributed.LocalCluster`.

    Raises
    ------
    HpckitError
        If dask-jobqueue is not installed, or the site cannot give what is asked for.

    Examples
    --------
    >>> import hpckit, xarray
    >>> with hpckit.cluster("snellius", jobs=4) as workers:  # doctest: +SKIP
    ...     client = workers.get_client()
    ...     xarray.open_zarr("cube.zarr/31UFU/r10m").B04.mean("time").compute()
    """
    found = _find(site)
    resources = share(
        found, Request(account=account, partition=partition), cores, memory_mib, parse_walltime(walltime)
    )
    try:
        made: Cluster = _start(found, resources, logs, options)
    except ImportError as error:
        raise HpckitError("Dask on clusters is not installed", hint=_NOT_INSTALLED) from error
    if jobs and found.scheduler != "local":
        made.scale(jobs=jobs)
    return made


def _find(site: str | Site | None) -> Site:
    if isinstance(site, Site):
        return site
    name = site or identify_site([Path.cwd()])
    if name is None:
        raise HpckitError("this machine belongs to no site that is known", hint="give the name of a site")
    return find_site(name, [Path.cwd()])


def _start(site: Site, resources: Resources, logs: str | Path | None, options: dict[str, Any]) -> Any:
    if site.scheduler == "local":
        import distributed

        return distributed.LocalCluster(n_workers=1, threads_per_worker=resources.cores, **options)
    import dask_jobqueue

    lifetime = max(_SHORTEST_S / 2, resources.walltime_s - _SHORTEST_S)
    common = {
        "cores": resources.cores,
        "memory": f"{resources.memory_mib} MiB",
        "processes": 1,
        "queue": resources.partition or None,
        "account": resources.account or None,
        "walltime": format_walltime(resources.walltime_s),
        "job_extra_directives": list(_directives(site, resources)),
        "job_script_prologue": _prologue(site),
        "worker_extra_args": ["--lifetime", f"{lifetime:.0f}s", "--lifetime-stagger", f"{lifetime / 10:.0f}s"],
        "log_directory": None if logs is None else str(logs),
        "job_name": "hpckit-dask",
    }
    kind = dask_jobqueue.SLURMCluster if site.scheduler == "slurm" else dask_jobqueue.PBSCluster
    return kind(**{**common, **options})


def _directives(site: Site, resources: Resources) -> Sequence[str]:
    more = [f"--qos={directive(site.scheduler, resources.qos)}"] if resources.qos else []
    return [*more, *resources.directives]


def _prologue(site: Site) -> list[str]:
    import shlex

    lines = [f"export {name}={shlex.quote(value)}" for name, value in site.environment.items()]
    lines += [f"module load {shlex.quote(module)}" for module in site.modules]
    return lines + ([site.setup] if site.setup else [])
