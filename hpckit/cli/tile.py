"""`hpckit tile`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("aoi")
@click.option("--grid", default="mgrs", show_default=True, help="mgrs, utm:SIZE or EPSG:CODE:SIZE, metres.")
@click.option("--buffer", "buffer_m", default=0.0, show_default=True, help="Widen the area by metres.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help=".geojson, .gpkg, .parquet")
def tile(aoi: str, grid: str, buffer_m: float, output: Path | None) -> None:
    """Cut an area of interest into the tiles of a grid.

    AOI is a vector file, WKT in longitude and latitude, or W,S,E,N in degrees. GeoJSON goes to stdout.

    \b
    Examples:
      hpckit tile france.gpkg -o tiles.gpkg
      hpckit tile 5.5,51.9,6.2,52.4 --grid EPSG:3035:10000
    """
    from hpckit.aoi import read_aoi
    from hpckit.grid import tile_aoi
    from hpckit.tilefile import to_geojson, write_tiles

    tiles = tile_aoi(read_aoi(aoi), grid, buffer_m)
    if output is None:
        click.echo(json.dumps(to_geojson(tiles)))
    else:
        write_tiles(output, tiles)
    zones = len({tile.epsg for tile in tiles})
    click.echo(f"{len(tiles)} tiles of {grid} in {zones} CRS", err=True)
