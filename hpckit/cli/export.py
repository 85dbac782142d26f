"""`hpckit export`: signatures of many zones into a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import IO

import click

_DAY = click.DateTime(["%Y-%m-%d"])


class _Equal(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """An attribute and a value."""

    name = "attribute=value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        attribute, equals, text = str(value).partition("=")
        if not equals or not attribute:
            self.fail(f"{value!r} does not say which value; write it like crop=wheat", param, ctx)
        return attribute, text


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path, exists=True))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--reduction", metavar="NAME", help="Reduction. Needed where the campaign has several with zones.")
@click.option("--band", "bands", multiple=True, metavar="BAND", help="Band or index; may be repeated. Default: all.")
@click.option(
    "--statistic", "statistics", multiple=True, metavar="NAME", help="mean, p50, valid_fraction, …; may be repeated."
)
@click.option("--from", "start", type=_DAY, help="First day, UTC.")
@click.option("--to", "end", type=_DAY, help="Last day, UTC.")
@click.option("--zone", "zones", multiple=True, metavar="ID", help="Zone; may be repeated.")
@click.option("--zones-from", type=click.File(), metavar="FILE", help="Zones, one in a line; - is standard input.")
@click.option(
    "--where", type=_Equal(), multiple=True, metavar="ATTRIBUTE=VALUE", help="Zones with this value; may be repeated."
)
@click.option("--wide", is_flag=True, help="A column for each band and statistic, instead of a row for each band.")
@click.option("--attributes/--no-attributes", default=True, help="Attributes of the zones. Default: yes.")
@click.option("--geometry", is_flag=True, help="Polygon of the zone in each row: GeoParquet, WKT, spatial layer.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def export(
    campaign: Path,
    file: Path,
    reduction: str | None,
    bands: tuple[str, ...],
    statistics: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    zones: tuple[str, ...],
    zones_from: IO[str] | None,
    where: tuple[tuple[str, str], ...],
    wide: bool,
    attributes: bool,
    geometry: bool,
    overwrite: bool,
) -> None:
    """Write signatures from the store to FILE: GeoParquet (.parquet), CSV (.csv) or GeoPackage (.gpkg).

    Without options it writes the signatures of all zones, bands and dates, with the attributes that the campaign
    names. It reads and writes some zones at a time, so memory does not grow with their number. FILE is there when
    it is whole; a file that is there already stays, unless --overwrite is given.

    Of several values of one attribute, one must fit; of several attributes, all.

    CAMPAIGN is a campaign file or a run directory.

    \b
    Example:
      hpckit export campaign.yaml signatures.parquet
      hpckit export campaign.yaml wheat.csv --band NDVI --statistic mean --where crop=wheat --wide
      hpckit export campaign.yaml may.gpkg --from 2024-05-01 --to 2024-05-31 --geometry
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.quantities import format_bytes, format_count

    named = [*zones, *(line.rstrip("\n") for line in zones_from or () if line.strip())]
    values: dict[str, list[str]] = {}
    for attribute, value in where:
        values.setdefault(attribute, []).append(value)
    with Console().progress("export") as progress:
        rows = api.export(
            campaign,
            file,
            reduction,
            bands=list(bands) or None,
            statistics=list(statistics) or None,
            start=None if start is None else start.date(),
            end=None if end is None else end.date(),
            zones=named if zones or zones_from is not None else None,
            where=values,
            form="wide" if wide else "tall",
            attributes=attributes,
            geometry=geometry,
            overwrite=overwrite,
            progress=progress,
        )
    click.echo(f"{file}: {format_count(rows, 'row')}, {format_bytes(file.stat().st_size)}", err=True)
