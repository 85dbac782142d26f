"""`hpckit dask`: workers for a notebook."""

from __future__ import annotations

import click


@click.command()
@click.argument("site")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Jobs; each is one worker.")
@click.option("--cores", type=click.IntRange(1), default=4, show_default=True, help="Cores of a job.")
@click.option("--memory", type=click.IntRange(256), default=8192, show_default=True, help="MiB of a job.")
@click.option("--walltime", default="1h", show_default=True, help="Of a job.")
@click.option("--account", help="Account or project that pays.")
@click.option("--partition", help="Partition or queue.")
def dask(
    site: str, jobs: int, cores: int, memory: int, walltime: str, account: str | None, partition: str | None
) -> None:
    """Start Dask workers as jobs of SITE and print the scheduler's address; until Ctrl-C.

    \b
    Example:
      hpckit dask snellius --jobs 4 --walltime 2h
      # in a notebook: distributed.Client("tcp://…")
    """
    import time

    from hpckit.console import Console
    from hpckit.interactive import cluster
    from hpckit.quantities import parse_walltime

    try:
        seconds = parse_walltime(walltime)
    except ValueError as error:
        raise click.UsageError(f"--walltime: {error}") from None
    made = cluster(
        site, jobs=jobs, cores=cores, memory_mib=memory, walltime=seconds, account=account, partition=partition
    )
    console = Console()
    with made:
        click.echo(made.scheduler_address)
        console.say(f"dashboard: {made.dashboard_link}; Ctrl-C ends the workers")
        while True:
            time.sleep(1)
