"""Tiles: squares with a name, each in a projected CRS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.space.vector.project import TOLERANCE_M, to_degrees


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of a grid."""

    tile: str
    epsg: int
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    aoi_fraction: float = math.nan
    """Fraction of the tile's area within the area of interest."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax in metres."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def polygon(self) -> shapely.Geometry:
        """The square, in the tile's CRS."""
        return shapely.box(*self.bounds)

    def footprint(self) -> shapely.Geometry:
        """The square in longitude and latitude, its edges as they bend there, cut at the antimeridian."""
        whole = footprints([self])[0]
        return whole.geoms[0] if len(whole.geoms) == 1 else whole


def footprints(tiles: Sequence[Tile], tolerance_m: float = TOLERANCE_M) -> npt.NDArray[np.object_]:
    """Footprints of many tiles in longitude and latitude, cut at the antimeridian; one projection per CRS.

    Parameters
    ----------
    tolerance_m : float
        How far an edge may lie from where it belongs, metres.
    """
    footprints = np.empty(len(tiles), dtype=object)
    codes = np.array([tile.epsg for tile in tiles])
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        boxes = shapely.box(*np.array([tiles[row].bounds for row in rows.tolist()]).T)
        footprints[rows] = to_degrees(boxes, pyproj.CRS.from_epsg(int(code)), tolerance_m)
    return footprints
