"""`hpckit markers`: events of zones, by the rules of a campaign."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True))
@click.option("--zone", metavar="ID", help="Print the markers of this zone.")
@click.option("--rule", "rules", multiple=True, metavar="NAME", help="Only markers of this rule; may be repeated.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the markers to a file: .csv or .parquet.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--csv", "form", flag_value="csv", help="Print the markers as CSV.")
@click.option("--json", "form", flag_value="json", help="Print the markers as JSON.")
@click.option("--as-is", is_flag=True, help="Compute nothing, and change nothing in the store.")
def markers(
    campaign: Path,
    zone: str | None,
    rules: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    form: str | None,
    as_is: bool,
) -> None:
    """Bring the markers of a campaign up to date: mowing, ploughing, harvest, or events of your own rules.

    Reads the series of the store, and writes what is new or changed to the table `markers` of the store. `run`,
    `sync` and `update` do this, too. Without a change, nothing is computed. Prints a line for each rule, or the
    markers of a zone.

    CAMPAIGN is a campaign file or a run directory.

    \b
    Examples:
      hpckit markers campaign.yaml
      hpckit markers campaign.yaml --zone 17
      hpckit markers campaign.yaml --rule mowing -o mowing.parquet
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.look.markers import as_csv, as_json, check_output, shown, summary, write_markers

    if output is not None and form is not None:
        raise click.UsageError("give either --output or --csv or --json")
    if output is not None:
        check_output(output, overwrite=overwrite)
    console = Console(quiet=False)
    if as_is:
        if not api.has_current_markers(campaign):
            console.warn("the markers are not up to date: `hpckit markers` without --as-is computes them")
    else:
        click.echo(api.find_markers(campaign, console=console).describe(), err=True)
    frame = api.markers(campaign, zone, rules)
    if output is not None:
        write_markers(frame, output, overwrite=overwrite)
        click.echo(output)
    elif form is not None:
        click.echo(as_json(frame) if form == "json" else as_csv(frame), nl=form == "json")
    elif zone is not None and not sys.stdout.isatty():
        click.echo(as_csv(frame), nl=False)
    else:
        _print(shown(frame) if zone is not None else summary(frame, api.open_campaign(campaign).campaign))


def _print(frame: pd.DataFrame) -> None:
    from hpckit.cli.tables import print_out, table

    made = table(*map(str, frame.columns))
    for row in frame.itertuples(index=False):
        made.add_row(*("-" if value is None else str(value) for value in row))
    print_out(made)
