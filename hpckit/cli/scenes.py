"""`hpckit scenes scan` and `list`: catalogues of products."""

from __future__ import annotations

import csv
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpckit.base.quantities import format_count

_COLUMNS = (
    "tile",
    "sensed",
    "level",
    "baseline",
    "relative_orbit",
    "cloud_cover",
    "nodata",
    "missing",
    "acquisition_id",
    "id",
    "href",
)

if TYPE_CHECKING:
    from hpckit.api import Selection
    from hpckit.catalogue.catalogue import ScanReport
    from hpckit.catalogue.federation import SearchResult
    from hpckit.sensors.model import Scene


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def scenes() -> None:
    """Find Sentinel-1 and Sentinel-2 products, and list the content of a catalogue."""


@scenes.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--period", help="START/END, days, both included: which folders of object stores are searched.")
@click.option("--tile", "tiles", multiple=True, help="Tile, like 31UFU: which products of object stores are read.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Catalogue.")
@click.option("--partial", is_flag=True, help="Write the catalogue even if folders or products cannot be read now.")
@click.option("--json", "as_json", is_flag=True, help="Report in JSON on stdout.")
def scan(
    paths: tuple[str, ...], period: str | None, tiles: tuple[str, ...], output: Path, partial: bool, as_json: bool
) -> None:
    """Find Sentinel-1 and Sentinel-2 products below PATHS and write a catalogue (stac-geoparquet).

    Sentinel-2: L1C and L2A. Sentinel-1: GRD (SAFE folder or zip), CARD-BS and CARD-COH6 (BEAM-DIMAP, ENVI), and
    series of GeoTIFF files in gamma0 or sigma0, S1-NRB among them.

    Reads metadata only. Reports broken products and leaves them out. If the catalogue exists already, products
    that have not changed are taken from it.

    If a folder or a product cannot be read at the moment, the scan is incomplete: no catalogue is written, and the
    exit code is 75. --partial writes what could be read, and keeps the products that the existing catalogue lists
    at these places.

    PATHS may be folders of object stores. There, products are found by their names, and days by folders of year,
    month and day: give --period and --tile.

    \b
    Example:
      hpckit scenes scan /eodata/Sentinel-2/MSI /eodata/Sentinel-1/SAR/CARD-BS -o scenes.parquet
      hpckit scenes scan s3://eodata/Sentinel-2/MSI/L2A --period 2024-03-01/2024-03-31 --tile 31UFU -o scenes.parquet
    """
    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.base.reading import is_there
    from hpckit.errors import CatalogueError, FileUnavailableError

    for path in paths:
        if (
            "://" in path
            and not path.startswith("s3://")
            and not path.partition("?")[0].rstrip("/").endswith(".zarr")
        ):
            raise click.BadParameter(f"{path}: only folders and object stores can be searched", param_hint="PATHS")
        if "://" not in path and not is_there(Path(path)):
            raise click.BadParameter(f"{path}: no such folder or file", param_hint="PATHS")
    report, written = api.scan(
        paths,
        output,
        partial=partial,
        period=None if period is None else _period(period),
        tiles=sorted({name for text in tiles for name in _tile_names(text)}),
        console=Console(),
    )
    if as_json:
        click.echo(json.dumps({**_report(report), "written": written}, indent=1))
    else:
        _show_report(report)
    if not written and report.unread:
        unread = format_count(len(report.unread), "folder or product", "folders or products")
        raise FileUnavailableError(
            f"{output} is not written: {unread} cannot be read at the moment, so the scan is incomplete",
            hint="run the command again when file system or store answer; --partial accepts an incomplete catalogue",
        )
    if not written:
        raise CatalogueError(f"no usable product below {', '.join(paths)}")


@scenes.command()
@click.option(
    "--member",
    "members",
    multiple=True,
    required=True,
    metavar="URL",
    help="STAC API: its address, or cdse, earth-search, eopf, planetary-computer. May be repeated.",
)
@click.option(
    "--collection",
    "collections",
    multiple=True,
    help="May be repeated; each member is asked for those that it has. Default: that of campaigns.",
)
@click.option("--aoi", required=True, help="Vector file, WKT or W,S,E,N.")
@click.option("--period", required=True, help="START/END, days, both included; START/.. has no end.")
@click.option("--max-cloud", type=click.FloatRange(0, 100), help="Maximum cloud cover, percent.")
@click.option("--filter", "cql2", metavar="CQL2", help="Other conditions: \"platform = 'sentinel-2c'\".")
@click.option("--partial", is_flag=True, help="Exit code 0 although members failed.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Report in JSON on stdout.")
def search(
    members: tuple[str, ...],
    collections: tuple[str, ...],
    aoi: str,
    period: str,
    max_cloud: float | None,
    cql2: str | None,
    partial: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Search several STAC APIs at once, and write the items found (stac-geoparquet).

    Reads all pages of all members, in one order. Of a product that several members have, the item of the first one is
    taken. Exit code 1 if a member failed, 75 if it only did not answer; what was found is written all the same.

    \b
    Example:
      hpckit scenes search --member cdse --member earth-search --aoi parcels.gpkg \\
        --period 2024-03-01/2024-05-31 --max-cloud 60 -o items.parquet
    """
    from dataclasses import asdict

    from hpckit import api
    from hpckit.base.console import Console
    from hpckit.errors import EX_FAILED, EX_TEMPFAIL, CatalogueError

    clouds = None if max_cloud is None else f"eo:cloud_cover <= {max_cloud:g}"
    wanted = " AND ".join(f"({one})" for one in (clouds, cql2) if one) or None
    days = _period(period)
    found = api.search(
        output, members=members, collections=collections, aoi=aoi, period=days, cql2=wanted, console=Console()
    )
    if as_json:
        told = {"items": len(found.items), "members": [asdict(one) for one in found.members]}
        click.echo(json.dumps(told, indent=1))
    else:
        _show_members(found, output)
    if not found.items and not found.failed:
        raise CatalogueError(
            "no member has an item that fits", hint="correct --collection, --aoi, --period or the filter"
        )
    if found.failed and not partial:
        raise SystemExit(EX_TEMPFAIL if all(member.passes for member in found.failed) else EX_FAILED)


def _show_members(found: SearchResult, output: Path) -> None:
    for one in found.members:
        pages = format_count(one.pages, "page")
        line = f"{one.name}: {format_count(one.found, 'item')} on {pages}, {one.seconds:.1f} s"
        if one.copies:
            line += f"; {one.copies} of products that members before it have"
        if one.unfit:
            line += f"; {one.unfit} left out that do not fit"
        click.echo(line + (f"; FAILED: {one.error}" if one.error else ""), err=True)
    if found.items:
        click.echo(f"{output}: {format_count(len(found.items), 'item')}", err=True)


@scenes.command(name="list")
@click.argument("catalogue_file", metavar="CATALOGUE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--aoi", help="Vector file, WKT or W,S,E,N.")
@click.option("--layer", help="Layer of the file of --aoi, if it has several.")
@click.option("--period", help="START/END, days, both included; START/.. has no end.")
@click.option("--max-cloud", type=click.FloatRange(0, 100), default=100.0, help="Maximum cloud cover in percent.")
@click.option("--tile", "tiles", multiple=True, help="Tile, like 31UFU; may be repeated.")
@click.option("--level", metavar="LEVEL", help="Processing level, like L2A or GRD.")
@click.option("--all", "show_all", is_flag=True, help="Also show scenes that are not used, and why.")
@click.option("--json", "form", flag_value="json", help="STAC items, on stdout.")
@click.option("--csv", "form", flag_value="csv", help="A table with a header, on stdout.")
def list_scenes(
    catalogue_file: Path,
    aoi: str | None,
    layer: str | None,
    period: str | None,
    max_cloud: float,
    tiles: tuple[str, ...],
    level: str | None,
    show_all: bool,
    form: str | None,
) -> None:
    """List the scenes of a CATALOGUE that match: one line for each scene, with the newest baseline of each pass.

    \b
    Example:
      hpckit scenes list scenes.parquet --aoi 5.5,51.9,6.2,52.4 --period 2024-04-01/2024-06-30 --max-cloud 40
    """
    from hpckit import api

    found = api.scenes(
        catalogue_file,
        aoi=aoi,
        layer=layer,
        period=None if period is None else _period(period),
        max_cloud_cover=max_cloud,
        tiles=[name for text in tiles for name in _tile_names(text)],
        level=level,
    )
    _show_scenes(found, form)
    if show_all:
        for item in found.dropped:
            click.echo(f"- {item.scene_id}  {item.reason}", err=form is not None)
    click.echo(
        f"{format_count(len(found.scenes), 'scene')}, {format_count(len(found.acquisitions), 'acquisition')}; "
        f"{len(found.dropped)} not used",
        err=True,
    )


def _tile_names(text: str) -> set[str]:
    from hpckit import api

    try:
        return api.tile_names(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--tile") from None


def _show_scenes(found: Selection, form: str | None) -> None:
    if form == "json":
        click.echo(json.dumps(found.items(), indent=1))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_row(scene) for scene in found.scenes)
    else:
        for scene, words in found.described():
            note = f"  {format_count(len(scene.missing), 'file')} missing" if scene.missing else ""
            click.echo(f"{'  '.join([*words, scene.id])}{note}")


def _row(scene: Scene) -> list[Any]:
    cells = {
        **{name: getattr(scene, name) for name in _COLUMNS if name not in ("sensed", "missing")},
        "sensed": scene.sensed.isoformat().replace("+00:00", "Z"),
        "missing": len(scene.missing),
    }
    return [cells[name] for name in _COLUMNS]


def _period(text: str) -> tuple[date, date | None]:
    start, _, end = text.partition("/")
    try:
        if end == "..":
            return date.fromisoformat(start), None
        return date.fromisoformat(start), date.fromisoformat(end or start)
    except ValueError:
        raise click.BadParameter(f"{text!r}; write 2024-03-01/2024-10-31", param_hint="--period") from None


def _report(report: ScanReport) -> dict[str, Any]:
    return {
        "scenes": len(report.scenes),
        "reused": report.reused,
        "kept": len(report.kept),
        "complete": not report.unread,
        "tiles": sorted({scene.tile for scene in report.scenes} - {""}),
        "incomplete": [{"scene": scene.id, "missing": scene.missing} for scene in report.incomplete],
        "failures": [
            {"path": str(item.path), "reason": item.reason, "temporary": item.passes} for item in report.failures
        ],
    }


def _show_report(report: ScanReport) -> None:
    from collections import Counter

    counts = Counter((scene.level, scene.baseline) for scene in report.scenes)
    for (level, baseline), count in sorted(counts.items()):
        tiles = {scene.tile for scene in report.scenes if (scene.level, scene.baseline) == (level, baseline)} - {""}
        where = f" of {format_count(len(tiles), 'tile')}" if tiles else ""
        click.echo(f"{level}  N{baseline}  {format_count(count, 'product')}{where}", err=True)
    for scene in report.incomplete:
        shown = ", ".join(scene.missing[:3]) + (", …" if len(scene.missing) > 3 else "")
        click.echo(f"incomplete: {scene.id}: {format_count(len(scene.missing), 'file')} missing: {shown}", err=True)
    for failure in report.failures:
        click.echo(f"{'not readable now' if failure.passes else 'left out'}: {failure.reason}", err=True)
    total = len({scene.tile for scene in report.scenes} - {""})
    where = f" of {format_count(total, 'tile')}" if total else ""
    click.echo(
        f"{format_count(len(report.scenes), 'product')}{where} ({report.reused} known), "
        f"{len(report.failures)} left out",
        err=True,
    )
    if report.kept:
        click.echo(f"{format_count(len(report.kept), 'product')} kept that the catalogue lists there", err=True)
