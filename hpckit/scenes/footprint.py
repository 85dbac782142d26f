"""Footprints in longitude and latitude, right at the antimeridian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapely
import shapely.affinity


def polygon(ring: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """GeoJSON geometry of a ring of (longitude, latitude), cut where it crosses the antimeridian.

    A ring that spans more than 180 degrees is taken to cross it: no granule is that wide.
    """
    longitudes = [longitude for longitude, _ in ring]
    if max(longitudes) - min(longitudes) <= 180:
        return dict(shapely.geometry.mapping(shapely.make_valid(shapely.Polygon(ring))))
    east = shapely.make_valid(shapely.Polygon([(x + 360 if x < 0 else x, y) for x, y in ring]))
    parts = [
        shapely.intersection(east, shapely.box(0, -90, 180, 90)),
        shapely.affinity.translate(shapely.intersection(east, shapely.box(180, -90, 540, 90)), -360),
    ]
    polygons = [part for whole in parts for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]
    return dict(shapely.geometry.mapping(shapely.MultiPolygon(polygons)))
