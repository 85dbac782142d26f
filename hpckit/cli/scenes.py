"""`hpckit scenes scan` and `list`: catalogues of products."""

from __future__ import annotations

import csv
import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpckit.scenes.bands import RADAR_LEVELS

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
    from hpckit.scenes.catalogue import ScanReport
    from hpckit.scenes.model import Scene


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def scenes() -> None:
    """Find Sentinel-1 and Sentinel-2 products, and list what a catalogue has."""


@scenes.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Catalogue.")
@click.option("--json", "as_json", is_flag=True, help="Report in JSON on stdout.")
def scan(paths: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Find Sentinel-1 and Sentinel-2 products below PATHS and write a catalogue (stac-geoparquet).

    Sentinel-2: L1C and L2A. Sentinel-1: GRD (SAFE folder or zip), CARD-BS and CARD-COH6 (BEAM-DIMAP, ENVI), and
    series of GeoTIFF files in gamma0 or sigma0, S1-NRB among them.

    Only metadata are read. Broken products are reported and left out. If the catalogue is there already,
    products that have not changed are taken from it.

    \b
    Example:
      hpckit scenes scan /eodata/Sentinel-2/MSI /eodata/Sentinel-1/SAR/CARD-BS -o scenes.parquet
    """
    from hpckit.console import Console
    from hpckit.errors import CatalogueError
    from hpckit.scenes import catalogue

    with Console().progress("scan products") as progress:
        report = catalogue.scan(paths, previous=output, progress=progress)
    if as_json:
        click.echo(json.dumps(_report(report), indent=1))
    else:
        _show_report(report)
    if not report.scenes:
        raise CatalogueError(f"no usable product below {', '.join(map(str, paths))}")
    catalogue.write(output, report.scenes)


@scenes.command(name="list")
@click.argument("catalogue_file", metavar="CATALOGUE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--aoi", help="Vector file, WKT or W,S,E,N.")
@click.option("--period", help="START/END, days, both included.")
@click.option("--max-cloud", type=click.FloatRange(0, 100), default=100.0, help="Percent.")
@click.option("--tile", "tiles", multiple=True, help="Tile, like 31UFU; may be repeated.")
@click.option("--level", type=click.Choice(["L1C", "L2A", *RADAR_LEVELS]), help="Processing level.")
@click.option("--all", "show_all", is_flag=True, help="Show also what is not used, and why.")
@click.option("--json", "form", flag_value="json", help="STAC items, on stdout.")
@click.option("--csv", "form", flag_value="csv", help="A table with a header, on stdout.")
def list_scenes(
    catalogue_file: Path,
    aoi: str | None,
    period: str | None,
    max_cloud: float,
    tiles: tuple[str, ...],
    level: str | None,
    show_all: bool,
    form: str | None,
) -> None:
    """List the scenes of a CATALOGUE that fit: one line per scene, the newest baseline of each pass.

    \b
    Example:
      hpckit scenes list scenes.parquet --aoi 5.5,51.9,6.2,52.4 --period 2024-04-01/2024-06-30 --max-cloud 40
    """
    from hpckit.aoi import read_aoi
    from hpckit.scenes import catalogue

    days = None if period is None else _period(period)
    chosen, unfit = catalogue.select(
        catalogue.read(catalogue_file),
        aoi=None if aoi is None else read_aoi(aoi),
        period=days,
        max_cloud_cover=max_cloud,
        tiles=[name.upper().removeprefix("T").zfill(5) for name in tiles] or None,
        level=level,  # type: ignore[arg-type]
    )
    found, superseded = catalogue.acquisitions(chosen)
    used = [scene for acquisition in found for scene in acquisition.scenes]
    _show_scenes(used, form)
    if show_all:
        for item in [*superseded, *unfit]:
            click.echo(f"- {item.scene_id}  {item.reason}", err=form is not None)
    click.echo(f"{len(used)} scenes, {len(found)} acquisitions; {len(superseded) + len(unfit)} not used", err=True)


def _show_scenes(used: list[Scene], form: str | None) -> None:
    from hpckit.scenes.stac import to_item

    if form == "json":
        click.echo(json.dumps([to_item(scene) for scene in used], indent=1))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_row(scene) for scene in used)
    else:
        for scene in used:
            click.echo(_line(scene))


def _row(scene: Scene) -> list[Any]:
    cells = {
        **{name: getattr(scene, name) for name in _COLUMNS if name not in ("sensed", "missing")},
        "sensed": scene.sensed.isoformat().replace("+00:00", "Z"),
        "missing": len(scene.missing),
    }
    return [cells[name] for name in _COLUMNS]


def _line(scene: Scene) -> str:
    cloud = "  ? %" if scene.cloud_cover is None else f"{scene.cloud_cover:3.0f} %"
    note = f"  {len(scene.missing)} files missing" if scene.missing else ""
    if scene.radar is not None:
        orbit = f"{scene.radar.orbit_state[:3]} {scene.relative_orbit:03d}"
        bands = "+".join(scene.radar.polarisations)
        return f"{scene.level:<9}  {scene.sensed:%Y-%m-%d %H:%M}  {orbit}  {bands}  {scene.id}{note}"
    return f"{scene.tile}  {scene.sensed:%Y-%m-%d %H:%M}  {cloud}  N{scene.baseline}  {scene.id}{note}"


def _period(text: str) -> tuple[date, date]:
    start, _, end = text.partition("/")
    try:
        return date.fromisoformat(start), date.fromisoformat(end or start)
    except ValueError:
        raise click.BadParameter(f"{text!r}; write 2024-03-01/2024-10-31", param_hint="--period") from None


def _report(report: ScanReport) -> dict[str, Any]:
    return {
        "scenes": len(report.scenes),
        "reused": report.reused,
        "tiles": sorted({scene.tile for scene in report.scenes} - {""}),
        "incomplete": [{"scene": scene.id, "missing": scene.missing} for scene in report.incomplete],
        "failures": [{"path": str(item.path), "reason": item.reason} for item in report.failures],
    }


def _show_report(report: ScanReport) -> None:
    from collections import Counter

    counts = Counter((scene.level, scene.baseline) for scene in report.scenes)
    for (level, baseline), count in sorted(counts.items()):
        tiles = {scene.tile for scene in report.scenes if (scene.level, scene.baseline) == (level, baseline)} - {""}
        where = f" of {len(tiles)} tiles" if tiles else ""
        click.echo(f"{level}  N{baseline}  {count} products{where}", err=True)
    for scene in report.incomplete:
        shown = ", ".join(scene.missing[:3]) + (", …" if len(scene.missing) > 3 else "")
        kind = "image files" if scene.radar is None else "files"
        click.echo(f"incomplete: {scene.id}: {len(scene.missing)} {kind} are missing: {shown}", err=True)
    for failure in report.failures:
        click.echo(f"left out: {failure.reason}", err=True)
    total = len({scene.tile for scene in report.scenes} - {""})
    where = f" of {total} tiles" if total else ""
    click.echo(
        f"{len(report.scenes)} products{where} ({report.reused} known), {len(report.failures)} left out",
        err=True,
    )
