"""`hpckit metrics`: the state of runs for monitoring."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A `.prom` file. Default: stdout."
)
@click.option("--no-scheduler", is_flag=True, help="Do not ask the scheduler for the state of elements.")
def metrics(runs: tuple[Path, ...], output: Path | None, no_scheduler: bool) -> None:
    """Write the state of runs as metrics for Prometheus: units, failures, core time, jobs, free space.

    The file is for the textfile collector of node_exporter; call the command from cron. A run that cannot be
    read is a metric too (`hpckit_run_readable` is 0), and does not keep the others back.

    RUN is a campaign file or a run directory.

    \b
    Example:
      hpckit metrics wheat/campaign.yaml maize/campaign.yaml -o /var/lib/node_exporter/hpckit.prom
    """
    from hpckit import api
    from hpckit.base.console import Console

    text = api.metrics(runs, output=output, ask_scheduler=not no_scheduler, console=Console())
    if output is None:
        click.echo(text, nl=False)
