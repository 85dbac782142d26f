"""Parcels in JRC's columns: what and where they are, which lie in a polygon, which are peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyproj
import shapely

from hpckit.errors import ZoneError
from hpckit.serve.peers import peers
from hpckit.serve.zonemap import ZoneMap

MOST_IN_POLYGON: Final = 100
FARTHEST_PEER_M: Final = 5000.0
MOST_PEERS: Final = 10_000
_DEGREES: Final = 4326
_BATCH: Final = 5000

Columns = dict[str, list[Any]]


def find(zones: ZoneMap, pid: str) -> int | None:
    """Row of a parcel; None if there is none."""
    try:
        return zones.row(pid)
    except ZoneError:
        return None


def describe(zones: ZoneMap, rows: Sequence[int], *, geometry: bool, wgs84: bool) -> Columns:
    """Identifier, crop, CRS, area and middle of parcels; the outline as text of GeoJSON if it is asked for.

    Where the CRS of the layer has no number, outlines are in longitude and latitude.
    """
    crs = pyproj.CRS(zones.crs)
    srid = crs.to_epsg()
    in_degrees = wgs84 or srid is None
    to_degrees = pyproj.Transformer.from_crs(crs, _DEGREES, always_xy=True)
    found: Columns = {
        "pid": [zones.ids[row].as_py() for row in rows],
        "cropname": [zones.labels[row] for row in rows],
        "cropcode": [None if zones.codes is None else zones.codes[row] for row in rows],
        "srid": [_DEGREES if in_degrees and geometry else srid or _DEGREES for _ in rows],
    }
    shapes = [zones.geometry(row) for row in rows]
    if geometry:
        drawn = [zones.in_degrees(row) for row in rows] if in_degrees else shapes
        found["geom"] = [shapely.to_geojson(shape) for shape in drawn]
    middles = [to_degrees.transform(shape.centroid.x, shape.centroid.y) for shape in shapes]
    found["area"] = [round(zones.area_m2(row), 2) for row in rows]
    found["clon"] = [lon for lon, _ in middles]
    found["clat"] = [lat for _, lat in middles]
    return found


def in_polygon(zones: ZoneMap, corners: Sequence[tuple[float, float]]) -> list[int]:
    """Rows of the first parcels that touch a polygon in longitude and latitude, at most 100."""
    wanted = shapely.make_valid(shapely.Polygon(corners))
    densified = shapely.segmentize(wanted, 0.01)
    there = pyproj.Transformer.from_crs(_DEGREES, zones.crs, always_xy=True)
    mercator = pyproj.Transformer.from_crs(_DEGREES, 3857, always_xy=True)
    shape = shapely.transform(densified, there.transform, interleaved=False)
    box = shapely.bounds(shapely.transform(densified, mercator.transform, interleaved=False))
    if not np.isfinite(box).all() or not np.isfinite(shapely.bounds(shape)).all():
        return []
    shapely.prepare(shape)
    rows, found = zones.within(*box), list[int]()
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        found += part[shapely.intersects(shape, zones.outlines(part))].tolist()
        if len(found) >= MOST_IN_POLYGON:
            break
    return found[:MOST_IN_POLYGON]


def near(zones: ZoneMap, row: int, distance_m: float, most: int) -> Columns:
    """Peers of a parcel, nearest first."""
    found = peers(zones, row, min(distance_m, FARTHEST_PEER_M), min(most, MOST_PEERS))
    return {
        "pids": [zones.ids[peer].as_py() for peer, _ in found],
        "distance": [round(distance, 3) for _, distance in found],
    }
