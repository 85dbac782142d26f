"""Dask on a site, for notebooks: workers are jobs of the site's scheduler, set up from its site file.

Only for looking at cubes interactively; productions are job arrays (`hpckit submit`). Whoever can talk to a Dask
scheduler runs code as its user, so that all of it is TLS: scheduler, workers and clients each show the certificate of
the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.account import expand
from hpckit.base.distribution import pip_install
from hpckit.base.quantities import format_walltime, parse_walltime
from hpckit.errors import HpckitError
from hpckit.jobs.certificates import private_folder, security, write_certificate
from hpckit.jobs.daskjobs import NAME
from hpckit.jobs.jobarrays import Request, share
from hpckit.sites.scheduler.model import Resources
from hpckit.sites.site import Site, find_site, identify_site, scheduler_of, site_here

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

_NOT_INSTALLED: Final = pip_install("dask")
_SHORTEST_S: Final = 300
_CONNECTION: Final = "connection.json"
_LOOPBACK: Final = "127.0.0.1:0"
_WORKER: Final = ("--no-dashboard", "--dashboard-address", _LOOPBACK)
"""A worker's pages would listen on all interfaces, without TLS."""


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
    shared: str | Path | None = None,
    **options: Any,
) -> Cluster:
    """Start a Dask cluster whose workers are jobs of a site; to be called on its login node.

    All connections are encrypted, and only who holds the cluster's certificate may connect; it lies in a folder that
    you alone can read, until the cluster is closed. The dashboard listens on the loopback interface.

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
    shared : path, optional
        Folder for the certificate, on a file system of login node and compute nodes; `~/.cache/hpckit`, if not given.
    **options
        Passed to dask-jobqueue's cluster: `interface="ib0"` for the network that the nodes share.

    Returns
    -------
    Cluster
        `dask_jobqueue.SLURMCluster` or `PBSCluster`; on a site without scheduler a `distributed.LocalCluster`.

    Raises
    ------
    HpckitError
        If dask-jobqueue is not installed, the site cannot give what is asked for, or a job is refused.

    Examples
    --------
    >>> import hpckit, xarray
    >>> with hpckit.cluster("snellius", jobs=4) as workers:  # doctest: +SKIP
    ...     client = workers.get_client()
    ...     xarray.open_zarr("cube.zarr/31UFU/r10m").B04.mean("time").compute()
    """
    found = site_here(_find(site))
    resources = share(
        found, Request(account=account, partition=partition), cores, memory_mib, parse_walltime(walltime)
    )
    _require_tls(options)
    try:
        made = _start(found, resources, logs, expand(shared) if shared else None, options)
    except ImportError as error:
        raise HpckitError("Dask on clusters is not installed", hint=_NOT_INSTALLED) from error
    if jobs and not scheduler_of(found).here:
        _submit(made, jobs)
    return made


def connect(folder: str | Path) -> Client:
    """Connect to a cluster that `hpckit dask` started, from another process of the same user.

    Parameters
    ----------
    folder : path
        The folder that `hpckit dask` prints.

    Returns
    -------
    Client
        To be closed by the caller.

    Raises
    ------
    HpckitError
        If there is no such cluster any more, or Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise HpckitError("Dask is not installed", hint=_NOT_INSTALLED) from error

    try:
        address = json.loads((Path(folder) / _CONNECTION).read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HpckitError(
            f"{folder}: no Dask cluster of hpckit",
            hint="`hpckit dask SITE` prints the folder; it is gone when the cluster has ended",
        ) from error
    return Client(address, security=security(Path(folder)))


def _find(site: str | Site | None) -> Site:
    if isinstance(site, Site):
        return site
    name = site or identify_site([Path.cwd()])
    if name is None:
        raise HpckitError("this machine belongs to no site that is known", hint="give the name of a site")
    return find_site(name, [Path.cwd()])


def _require_tls(options: dict[str, Any]) -> None:
    protocols = [options.get("protocol"), options.get("scheduler_options", {}).get("protocol")]
    if any(protocol and not str(protocol).startswith("tls") for protocol in protocols):
        raise HpckitError(
            "a Dask scheduler without TLS runs the code of everybody who reaches its port",
            hint="leave `protocol` out; hpckit makes the certificates",
        )


def _start(
    site: Site, resources: Resources, logs: str | Path | None, shared: Path | None, options: dict[str, Any]
) -> Any:
    from hpckit.jobs.daskjobs import closing, jobs_of

    scheduler = scheduler_of(site)
    kind = scheduler.dask_cluster()
    folder = private_folder(shared)
    path = Path(folder.name)
    write_certificate(path)
    tls = {"security": security(path), "protocol": "tls://"}
    if scheduler.here:
        local = {"n_workers": 1, "threads_per_worker": resources.cores, "dashboard_address": _LOOPBACK}
        local |= {"worker_dashboard_address": _LOOPBACK, **tls}
        made = closing(kind, folder)(**{**local, **options})
    else:
        asked = {"job_cls": jobs_of(scheduler), **_asked(site, resources, logs), **tls, **options}
        asked["scheduler_options"] = _scheduler_options(options)
        asked["worker_extra_args"] = [*asked["worker_extra_args"], *_WORKER]
        made = closing(kind, folder)(**asked)
    made.certificates = path
    connection = json.dumps({"address": made.scheduler_address})
    (path / _CONNECTION).write_text(connection, encoding="utf-8")
    return made


def _asked(site: Site, resources: Resources, logs: str | Path | None) -> dict[str, Any]:
    lifetime = max(_SHORTEST_S / 2, resources.walltime_s - _SHORTEST_S)
    return {
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
        "job_name": NAME,
    }


def _scheduler_options(options: dict[str, Any]) -> dict[str, Any]:
    """Listen at one address, that workers are given, and not on every network of a login node."""
    from distributed.utils import get_ip

    given = {"dashboard_address": _LOOPBACK, **options.get("scheduler_options", {})}
    if not (options.get("interface") or given.get("interface") or given.get("host")):
        given["host"] = get_ip()
    return given


def _submit(made: Any, jobs: int) -> None:
    """Submit jobs, and end the cluster where one is refused."""

    async def settle() -> None:
        await made

    for _ in range(jobs):
        made.worker_spec.update(made.new_worker_spec())
    try:
        made.sync(settle)
    except HpckitError:
        made.close()
        raise


def _directives(site: Site, resources: Resources) -> Sequence[str]:
    more = [f"--qos={scheduler_of(site).directive(resources.qos)}"] if resources.qos else []
    return [*more, *resources.directives]


def _prologue(site: Site) -> list[str]:
    import shlex

    lines = [f"export {name}={shlex.quote(value)}" for name, value in site.environment.items()]
    lines += [f"module load {shlex.quote(module)}" for module in site.modules]
    return lines + ([site.setup] if site.setup else [])
