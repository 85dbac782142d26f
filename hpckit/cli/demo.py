"""`hpckit demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"))
@click.option("--seed", default=7, show_default=True, help="Each number gives another landscape.")
@click.option("--dates", type=click.IntRange(1), help="Number of overpasses. Default: a season.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Worker processes.")
@click.option("--only-data", is_flag=True, help="Write products, parcels and campaign file, and stop.")
@click.option(
    "--reservoir", is_flag=True, help="With --only-data: a lake that falls dry in summer, for the example of graphs."
)
def demo(folder: Path, seed: int, dates: int | None, workers: int, only_data: bool, reservoir: bool) -> None:
    """Make a small Sentinel-2 series in FOLDER and run a campaign on it.

    The landscape is artificial, but the products have the true format: SAFE layout, metadata, tiled JPEG 2000 and
    two processing baselines, with clouds and crops during a season.

    \b
    Example:
      hpckit demo
    """
    from hpckit.base.console import Console
    from hpckit.demo import make_data, run_demo

    console = Console()
    if reservoir and not only_data:
        raise click.UsageError("--reservoir needs --only-data")
    if only_data:
        path = make_data(folder, console, seed=seed, dates=dates, workers=workers, reservoir=reservoir)
        console.say(f"now: hpckit run {path}")
        return
    raise SystemExit(run_demo(folder, console, seed=seed, dates=dates, workers=workers))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("hpckit-notebooks"))
@click.option("--data", is_flag=True, help="Make their data as well; else the first notebook does.")
def notebooks(folder: Path, data: bool) -> None:
    """Copy the teaching notebooks into FOLDER.

    They run there without a network, in JupyterLab or any other notebook, within a minute or two each. Notebooks
    that you have changed stay as they are.

    \b
    Example:
      pip install 'hpckit-eo[lessons]'
      hpckit notebooks course && jupyter lab course
    """
    from hpckit.base.console import Console
    from hpckit.demo.lessons import copy_notebooks, lesson_data

    console = Console()
    written, kept = copy_notebooks(folder)
    if kept:
        names = ", ".join(path.name for path in kept)
        console.warn(f"not copied, since other files of these names are there: {names}")
    if data:
        lesson_data(folder / "data", console=console)
    for path in written:
        click.echo(path)
    console.say(f"now: jupyter lab {folder}")
