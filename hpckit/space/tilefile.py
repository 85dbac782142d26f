"""Tiles as files: GeoJSON, GeoPackage or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from hpckit.base.files import atomic_path, write_text
from hpckit.errors import GridError
from hpckit.space.tile import Tile

FORMATS = (".geojson", ".json", ".gpkg", ".parquet")


def to_geojson(tiles: Sequence[Tile]) -> dict[str, Any]:
    """FeatureCollection of tiles by RFC 7946: WGS 84, cut at the antimeridian."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(shapely.set_precision(tile.footprint(), 1e-7)),
                "properties": _properties(tile),
            }
            for tile in tiles
        ],
    }


def write_tiles(path: Path, tiles: Sequence[Tile]) -> None:
    """Write tiles to a file; the suffix chooses the format.

    Raises
    ------
    GridError
        If the suffix is unknown or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise GridError(f"{path}: unknown format {suffix!r}; known are {', '.join(FORMATS)}")
    try:
        if suffix in (".geojson", ".json"):
            write_text(path, json.dumps(to_geojson(tiles)) + "\n")
        elif suffix == ".gpkg":
            _write_gpkg(path, tiles)
        else:
            _write_parquet(path, tiles)
    except OSError as error:
        raise GridError(f"{path}: cannot be written") from error


def _properties(tile: Tile) -> dict[str, Any]:
    names = ("tile", "epsg", "xmin", "ymin", "xmax", "ymax")
    return {**{name: getattr(tile, name) for name in names}, "aoi_fraction": round(tile.aoi_fraction, 6)}


def _columns(tiles: Sequence[Tile]) -> dict[str, list[Any]]:
    rows = [_properties(tile) for tile in tiles]
    return {name: [row[name] for row in rows] for name in _properties(tiles[0])} if rows else {}


def _shapes(tiles: Sequence[Tile]) -> list[bytes]:
    footprints = [tile.footprint() for tile in tiles]
    return [shapely.to_wkb(f if f.geom_type == "MultiPolygon" else shapely.MultiPolygon([f])) for f in footprints]


def _write_gpkg(path: Path, tiles: Sequence[Tile]) -> None:
    from hpckit.base.ogr import pyogrio

    columns = _columns(tiles)
    with atomic_path(path) as temporary:
        pyogrio.raw.write(
            temporary,
            geometry=np.array(_shapes(tiles), dtype=object),
            field_data=[np.array(values) for values in columns.values()],
            fields=list(columns),
            geometry_type="MultiPolygon",
            crs="EPSG:4326",
            layer="tiles",
            driver="GPKG",
        )


def _write_parquet(path: Path, tiles: Sequence[Tile]) -> None:
    """GeoParquet 1.0."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    geo = {
        "version": "1.0.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["MultiPolygon"]}},
    }
    table = pa.table({**_columns(tiles), "geometry": pa.array(_shapes(tiles), pa.binary())})
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), temporary)
