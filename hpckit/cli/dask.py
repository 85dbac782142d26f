"""`hpckit dask`: workers for a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@click.command()
@click.argument("site")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Jobs; each is one worker.")
@click.option("--cores", type=click.IntRange(1), default=4, show_default=True, help="Cores of a job.")
@click.option("--memory", type=click.IntRange(256), default=8192, show_default=True, help="Memory of a job in MiB.")
@click.option("--walltime", default="1h", show_default=True, help="Walltime of a job.")
@click.option("--account", help="Account or project that pays.")
@click.option("--partition", help="Partition or queue.")
@click.option("--interface", help="Network interface that login node and compute nodes share, like ib0.")
@click.option(
    "--shared",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the certificate, visible to compute nodes. Default: ~/.cache/hpckit.",
)
def dask(
    site: str,
    jobs: int,
    cores: int,
    memory: int,
    walltime: str,
    account: str | None,
    partition: str | None,
    interface: str | None,
    shared: Path | None,
) -> None:
    """Start Dask workers as jobs of SITE, and print how to connect. Ctrl-C ends them.

    Connections are encrypted and need the certificate of this cluster, which only you can read.

    \b
    Example:
      hpckit dask snellius --jobs 4 --walltime 2h
      # then, in a notebook, the printed line: client = hpckit.connect("…")
    """
    import time

    from hpckit.base.quantities import parse_walltime
    from hpckit.jobs.interactive import cluster

    try:
        seconds = parse_walltime(walltime)
    except ValueError as error:
        raise click.UsageError(f"--walltime: {error}") from None
    options = {"interface": interface} if interface else {}
    with _ended_by_signals():
        made = cluster(
            site, jobs=jobs, cores=cores, memory_mib=memory, walltime=seconds, account=account,
            partition=partition, shared=shared, **options,
        )  # fmt: skip
        with made:
            _say_how_to_connect(made.scheduler_address, made.certificates, made.dashboard_link)
            while True:
                time.sleep(1)


def _say_how_to_connect(address: str, folder: Path, dashboard: str) -> None:
    import socket
    from urllib.parse import urlsplit

    from hpckit.base.console import Console

    console, port = Console(), urlsplit(dashboard).port
    click.echo(address)
    console.say(f'connect: client = hpckit.connect("{folder}")')
    console.say(
        f"dashboard: ssh -N -L {port}:127.0.0.1:{port} {socket.getfqdn()}, then http://127.0.0.1:{port}/status"
    )
    console.say("Ctrl-C ends the workers")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed session or `kill` ends the workers and removes the certificate, as Ctrl-C does."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    yield
