"""`hpckit series`, `quicklook` and `report`: looking at results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import inf
from pathlib import Path

import click

CAMPAIGN = click.argument("campaign", type=click.Path(path_type=Path, exists=True))
PICTURE = click.Path(path_type=Path, dir_okay=False)


class _Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """Four numbers with commas between."""

    name = "xmin,ymin,xmax,ymax"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        try:
            west, south, east, north = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not four numbers; write {self.name}", param, ctx)
        if not (-inf < west < east < inf and -inf < south < north < inf):
            self.fail(f"{value!r} is empty; write {self.name}", param, ctx)
        return (west, south, east, north)


@click.command()
@CAMPAIGN
@click.option("--zone", "zones", multiple=True, required=True, metavar="ID", help="Zone; may be repeated.")
@click.option("--reduction", metavar="NAME", help="Reduction. Default: the first one of the campaign.")
@click.option("--band", metavar="BAND", help="Band, like B08, or SCL for pixels of each class. Default: NDVI.")
@click.option("--index", metavar="INDEX", help="Index of the reduction, like NDVI.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV. Default where stdout is no terminal.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--plot", type=PICTURE, metavar="FILE", help="Draw a picture instead: .png, .svg or .pdf.")
def series(
    campaign: Path,
    zones: tuple[str, ...],
    reduction: str | None,
    band: str | None,
    index: str | None,
    form: str | None,
    plot: Path | None,
) -> None:
    """Print or plot the time series of zones.

    CAMPAIGN is a campaign file or a run directory. A zone that was never observed is not an error; a line on
    stderr reports it.

    \b
    Examples:
      hpckit series campaign.yaml --zone 17
      hpckit series campaign.yaml --zone 17 --band B08 --csv > b08.csv
      hpckit series campaign.yaml --zone 17 --zone 18 --plot ndvi.png
    """
    if band and index:
        raise click.UsageError("give either --band or --index")
    from hpckit.api import open_campaign
    from hpckit.look.observed import never_observed
    from hpckit.look.style import check_format
    from hpckit.look.tables import print_series

    view = open_campaign(campaign)
    if plot is not None:
        check_format(plot)
    classes = view.class_band(band or index, reduction)
    read = view.series if classes is None else view.class_counts
    frames = {zone: read(zone, classes or band or index, reduction) for zone in zones}
    for unseen in filter(None, map(never_observed, frames, frames.values())):
        click.echo(unseen, err=True)
    if plot is not None:
        view.plot_series(zones, band or index, reduction).save(plot)
        click.echo(plot)
    if form is not None or plot is None:
        print_series(frames, classes or view.band(band or index, reduction), form)


@click.command()
@CAMPAIGN
@click.option("--tile", metavar="TILE", help="Tile, like 31UFU. Default: the only one.")
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Day. Default: the clearest date.")
@click.option("--time-index", type=int, help="Position on the time axis instead; -1 is the latest date.")
@click.option("--rgb", metavar="R,G,B", help="Bands as red, green, blue. Default: B04,B03,B02, NDVI, or a band.")
@click.option("--index", metavar="INDEX", help="NDVI, an index of the campaign, or a band.")
@click.option("--composite", metavar="NAME", help="Draw this composite instead of a date.")
@click.option("--period", metavar="LABEL", help="Period of the composite, like 2024-05. Default: the first.")
@click.option("--method", metavar="METHOD", help="Method of the composite, like median. Default: the first.")
@click.option("--zones/--no-zones", default=True, help="Outline the zones. Default: yes.")
@click.option("--clouds", is_flag=True, help="Outline the clouds of the scene classification.")
@click.option("--window", type=_Numbers(), help="Part of the tile: metres in its CRS, or degrees.")
@click.option(
    "--stretch", type=click.Choice(["fixed", "percentile"]), default="fixed", show_default=True, help="Contrast."
)
@click.option(
    "-o", "--output", type=PICTURE, metavar="FILE", help=".png, .svg or .pdf. Default: a name in this folder."
)
def quicklook(
    campaign: Path,
    tile: str | None,
    day: datetime | None,
    time_index: int | None,
    rgb: str | None,
    index: str | None,
    composite: str | None,
    period: str | None,
    method: str | None,
    zones: bool,
    clouds: bool,
    window: tuple[float, float, float, float] | None,
    stretch: str,
    output: Path | None,
) -> None:
    """Draw one date of the cube, or a period of a composite, with the zones on top.

    CAMPAIGN is a campaign file or a run directory. Prints the name of the picture. With --stretch fixed, visible
    bands have the range of reflectance 0 to 0.3 on every date; with percentile, its percentiles set the range.

    \b
    Examples:
      hpckit quicklook campaign.yaml
      hpckit quicklook campaign.yaml --date 2024-06-12 --index NDVI -o ndvi.png
      hpckit quicklook campaign.yaml --rgb B08,B04,B03 --clouds --window 5.1,51.2,5.2,51.3
      hpckit quicklook campaign.yaml --composite monthly --period 2024-06 --method median
    """
    if day and time_index is not None:
        raise click.UsageError("give either --date or --time-index")
    if rgb and index:
        raise click.UsageError("give either --rgb or --index")
    if composite is None and (period or method):
        raise click.UsageError("--period and --method select from a composite; give --composite NAME")
    if composite is not None and (day or time_index is not None or clouds):
        raise click.UsageError("a composite has neither --date nor --time-index nor --clouds; give --period")
    from hpckit.api import open_campaign
    from hpckit.look.style import check_format

    view = open_campaign(campaign)
    bands: Sequence[str] | None = rgb.split(",") if rgb else None
    path = output or Path(f"{view.campaign.name}-{view.tile(tile)}-{index or rgb or composite or 'quicklook'}.png")
    check_format(path)
    if composite is not None:
        from hpckit.look.composite import draw_composite

        outlined = view.zones() if zones and view.campaign.signatures else None
        draw_composite(
            view.campaign,
            view.tile(tile),
            composite,
            period=period,
            method=method,
            rgb=bands,
            index=index,
            window=window,
            zones=outlined,
            stretch=stretch,
        ).save(path)
        click.echo(path)
        return
    picture = view.quicklook(
        tile,
        when=day.date() if day else time_index,
        rgb=bands,
        index=index,
        zones=zones,
        clouds=clouds,
        window=window,
        stretch="percentile" if stretch == "percentile" else "fixed",
    )
    picture.save(path)
    click.echo(path)


@click.command()
@CAMPAIGN
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for them, where the cube cannot be written. Default: in the cube and composites.",
)
def overviews(campaign: Path, cache: Path | None) -> None:
    """Make overviews of the cube and of composites: pixels of 8 and 64 on a side, for maps of whole regions.

    Only what is missing or older than its shards is made, so call it after each run. It may be stopped at any time
    and called again. `hpckit serve` draws its maps from them, and other programs find them in the cube.

    CAMPAIGN is a campaign file or a run directory.

    \b
    Example:
      hpckit overviews campaign.yaml
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_count

    built = api.overviews(campaign, cache=cache, console=Console())
    click.echo(f"{format_count(built.planes, 'date')} of bands made, {built.kept:,} had not changed")
    for note in built.faults.notes:
        click.echo(note, err=True)
    if built.faults.shards:
        raise SystemExit(1)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Default: report.html in the run directory.",
)
def report(run: Path, output: Path | None) -> None:
    """Write a report of a run: one HTML page with timings, failures, throughput and pictures.

    For a run on a cluster, the page also shows the used and the requested resources of its jobs.

    RUN is a campaign file or a run directory. The page is a single file: mail it, or put it on a server.

    \b
    Example:
      hpckit report campaign.yaml -o report.html
    """
    from hpckit.api import energy_figures, refresh
    from hpckit.base.console import Console
    from hpckit.look.report import write_report
    from hpckit.runs.run import find_run
    from hpckit.submissions.submission import submissions

    found = find_run(run)
    for submission in submissions(found.path):
        refresh(found, submission, Console(), details=True)
    click.echo(write_report(found, output, energy_figures(found)))


@click.command()
@CAMPAIGN
@click.option("--reduction", metavar="NAME", help="Reduction. Default: the first one of the campaign.")
@click.option("--band", metavar="BAND", help="Band or index. Default: NDVI.")
@click.option("--from", "start", type=click.DateTime(["%Y-%m-%d"]), help="First day. Default: of the campaign.")
@click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
@click.option("--gap-days", type=click.FloatRange(0), default=30, show_default=True, help="Flag `gap` above this.")
@click.option("--pixels", type=click.FloatRange(0), default=30, show_default=True, help="Flag `small` below this.")
@click.option(
    "--inside", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Flag `outside` below this."
)
@click.option(
    "--std", type=click.FloatRange(0), default=0.1, show_default=True, help="Flag `heterogeneous` above this."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of CSV.")
def quality(
    campaign: Path,
    reduction: str | None,
    band: str | None,
    start: datetime | None,
    end: datetime | None,
    gap_days: float,
    pixels: float,
    inside: float,
    std: float,
    as_json: bool,
) -> None:
    """Print which zones have long gaps, are too small, half outside, or heterogeneous: one row for each zone.

    Columns: clear and observed acquisitions, the longest time without a clear one (gap_days), pixels, the share of
    the zone that is seen (inside), the median standard deviation (std), and a column for each flag.

    \b
    Examples:
      hpckit quality campaign.yaml > quality.csv
      hpckit quality campaign.yaml --from 2024-04-01 --to 2024-06-30 --gap-days 20
    """
    from hpckit.api import open_campaign
    from hpckit.base.quantities import format_count
    from hpckit.look.quality import Bounds, counted

    days = {name: None if day is None else day.date() for name, day in (("start", start), ("end", end))}
    bounds = Bounds(gap_days, pixels, inside, std)
    found = open_campaign(campaign).quality(band, reduction, bounds=bounds, **days)
    table = found.table()
    click.echo(table.to_json(orient="records") if as_json else table.to_csv(index=False), nl=as_json)
    flags = ", ".join(f"{name} {count}" for name, count in counted(found).items())
    counts = f"{format_count(len(table), 'zone')}, {format_count(found.acquisitions, 'acquisition')}"
    click.echo(f"{counts}; flagged: {flags}", err=True)
