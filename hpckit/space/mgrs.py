"""Granules of Sentinel-2: 109.8 km squares over the 100 km squares of MGRS, overlapping their neighbours by 9.8 km.

Their upper left corner is that of the square, moved outwards to a multiple of 60 m counted from the origin of the UTM
zone, which lies at 10,000 km north for southern zones: this holds for each of the 18,367 tiles on and near land whose
names are shipped as a table, and for all products seen. Where the table has no tile (small islands, open sea) squares
are named by the rules of MGRS, with the latitude band of their centre.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np
import pyproj
import shapely

from hpckit.errors import GridError
from hpckit.space.lattice import squares, widen_degrees, zones
from hpckit.space.overlap import Candidates, in_crs
from hpckit.space.tile import Tile, footprints

GRANULE_M: Final = 109_800
"""Edge of a granule in metres."""
_COARSE_M: Final = 100.0
"""Tolerance of footprints that find candidates."""
_COARSE_DEGREES: Final = 0.01
"""More than `_COARSE_M` is in longitude, up to 84 degrees north and south."""
_COLUMNS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ROWS: Final = "ABCDEFGHJKLMNPQRSTUV"
_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"


def mgrs_tile(name: str) -> Tile:
    """Granule of Sentinel-2 by its name, `31UFU` or `T31UFU`.

    Raises
    ------
    GridError
        If MGRS has no such square.
    """
    wanted = name.upper().removeprefix("T").zfill(5)
    match = re.fullmatch(r"(\d\d)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", wanted)
    if match is None or not 1 <= int(match[1]) <= 60:
        raise GridError(f"{name!r} is no MGRS tile", hint="write it like 31UFU")
    zone, band, column, row = int(match[1]), match[2], match[3], match[4]
    easting = _COLUMNS.index(column) - 8 * ((zone - 1) % 3) + 1
    middle = (_BANDS.index(band) * 8 - 80 + (6 if band == "X" else 4)) * 110_946 / 100_000
    north = band >= "N"
    least = _ROWS.index(row) - (0 if zone % 2 else 5)
    # Row letters come again every 2000 km: the one nearest to the middle of the band is meant.
    northing = least + 20 * round((middle + (0 if north else 100) - least - 0.5) / 20)
    if not 1 <= easting <= 8:
        raise GridError(f"{name!r}: zone {zone} has no column {column}", hint="write it like 31UFU")
    return _granule(wanted, zone, north, easting, northing)


def _granule(name: str, zone: int, north: bool, easting: int, northing: int) -> Tile:
    """Granule over the 100 km square whose lower left corner is given in units of 100 km."""
    origin = 0 if north else 10_000_000
    x = easting * 100_000 // 60 * 60
    y = origin - (origin - (northing + 1) * 100_000) // 60 * 60
    epsg = (32600 if north else 32700) + zone
    return Tile(name, epsg, float(x), float(y - GRANULE_M), float(x + GRANULE_M), float(y))


def candidates(area: shapely.Geometry, buffer_m: float) -> Candidates:
    """By CRS, the area in it and granules that may touch it."""
    tiles, tree = _listed()
    near = widen_degrees(area, buffer_m)
    rows = np.unique(tree.query(near, predicate="dwithin", distance=_COARSE_DEGREES))
    found = [tiles[row] for row in rows.tolist()]
    rest = _beyond(near, shapely.union_all(footprints(found, _COARSE_M))) if found else near
    if rest.area > 0:
        known = {tile.tile for tile in found}
        found += [tile for tile in _unlisted(rest) if tile.tile not in known]
    by_crs: dict[int, list[Tile]] = {}
    for tile in found:
        by_crs.setdefault(tile.epsg, []).append(tile)
    for epsg, mine in by_crs.items():
        around = None if buffer_m > 0 else footprints(mine, _COARSE_M)
        yield in_crs(area, epsg, around, _COARSE_DEGREES), mine


def _beyond(area: shapely.Geometry, known: shapely.Geometry) -> shapely.Geometry:
    """What lies outside of a known area; parts that lie inside, as most of many do, need no cutting."""
    parts = shapely.get_parts(area)
    shapely.prepare(known)
    beyond = parts[~shapely.covers(known, parts)]
    return shapely.union_all(shapely.difference(beyond, known))


def _unlisted(area: shapely.Geometry) -> Iterator[Tile]:
    """Granules by the rules of MGRS over an area that the table does not reach."""
    for zone, north, strip in zones(area):
        epsg = (32600 if north else 32700) + zone
        for square in squares(in_crs(strip, epsg), epsg, 100_000.0, 0.0):
            easting, northing = round(square.xmin / 1e5), round(square.ymin / 1e5)
            _, latitude = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True).transform(
                square.xmin + 5e4, square.ymin + 5e4
            )
            band = _BANDS[min(19, max(0, int((latitude + 80) // 8)))]
            column = _COLUMNS[(8 * ((zone - 1) % 3) + easting - 1) % 24]
            row = _ROWS[(northing + (0 if zone % 2 else 5)) % 20]
            if 1 <= easting <= 8:
                yield _granule(f"{zone:02d}{band}{column}{row}", zone, north, easting, northing)


@lru_cache(maxsize=1)
def _listed() -> tuple[list[Tile], shapely.STRtree]:
    """Tiles of the table, and a tree of their footprints."""
    with resources.files("hpckit").joinpath("data/mgrs.npz").open("rb") as file, np.load(file) as data:
        zones, letters = data["zone"].tolist(), data["letters"]
    tiles = [mgrs_tile(f"{zone:02d}{bytes(text).decode()}") for zone, text in zip(zones, letters, strict=True)]
    return tiles, shapely.STRtree(footprints(tiles, _COARSE_M))
