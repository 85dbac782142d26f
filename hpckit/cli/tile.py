"""`hpckit tile`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("aoi")
@click.option("--grid", default="mgrs", show_default=True, help="mgrs, utm:SIZE or EPSG:CODE:SIZE, metres.")
@click.option(
    "--buffer", "buffer_m", default=0.0, show_default=True, help="Widen the area by this distance in metres."
)
@click.option("--layer", help="Layer of the file, if it has several.")
@click.option("--crs", help="CRS of the layer, if it has none or a wrong one, like EPSG:25832.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help=".geojson, .gpkg, .parquet")
def tile(aoi: str, grid: str, buffer_m: float, layer: str | None, crs: str | None, output: Path | None) -> None:
    """Cut an area of interest into the tiles of a grid.

    AOI is a vector file, WKT in longitude and latitude, or W,S,E,N in degrees (W > E: across the antimeridian, less
    than 180 degrees wide). GeoJSON goes to stdout.

    \b
    Examples:
      hpckit tile france.gpkg -o tiles.gpkg
      hpckit tile 5.5,51.9,6.2,52.4 --grid EPSG:3035:10000
    """
    from hpckit import api
    from hpckit.base.quantities import format_count

    found = api.tile(aoi, grid, buffer_m=buffer_m, layer=layer, crs=crs)
    if output is None:
        click.echo(json.dumps(found.geojson()))
    else:
        found.write(output)
    zones = len({tile.epsg for tile in found.tiles})
    click.echo(f"{format_count(len(found.tiles), 'tile')} of {grid} in {zones} CRS", err=True)
