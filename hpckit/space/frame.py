"""Where the rasters of a tile lie, whatever was sensed: the target of ingest, and the frame of all that reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from affine import Affine

from hpckit.base.frozendict import frozen

if TYPE_CHECKING:
    import shapely
    from odc.geo.geobox import GeoBox


class Edges(NamedTuple):
    """How a raster is cut, in pixels."""

    window: int
    """Edge of a window, which one shard holds."""
    chunk: int
    """Edge of a chunk in it, a divisor of the window's."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The rasters of one tile: north up, with one upper left corner."""

    tile: str
    epsg: int
    ulx: float
    """Easting of the upper left corner, metres."""
    uly: float
    shapes: Mapping[int, tuple[int, int]]
    """(rows, columns) by pixel size in metres."""
    edges: Mapping[int, int]
    """Edge of a window in pixels, by pixel size in metres."""

    def __post_init__(self) -> None:
        """Make it a value that can be hashed, whatever mappings were given."""
        object.__setattr__(self, "shapes", frozen(self.shapes))
        object.__setattr__(self, "edges", frozen(self.edges))

    def transform(self, resolution_m: int) -> Affine:
        """Affine transform from (column, row) to easting and northing, metres."""
        return Affine(resolution_m, 0, self.ulx, 0, -resolution_m, self.uly)

    def windows(self, resolution_m: int) -> tuple[int, int]:
        """Window rows and columns of a raster."""
        rows, columns = self.shapes[resolution_m]
        edge = self.edges[resolution_m]
        return -(-rows // edge), -(-columns // edge)

    def row_bytes(self, resolution_m: int, dtype: str) -> int:
        """Bytes of one row of windows, all columns, as numbers of a data type."""
        rows, columns = self.shapes[resolution_m]
        return min(rows, self.edges[resolution_m]) * columns * np.dtype(dtype).itemsize

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax in metres: of the finest raster."""
        resolution_m, (rows, columns) = min(self.shapes.items())
        return (self.ulx, self.uly - rows * resolution_m, self.ulx + columns * resolution_m, self.uly)

    def geobox(self, resolution_m: int) -> GeoBox:
        """Shape, affine transform and CRS of a raster."""
        from odc.geo.geobox import GeoBox

        return GeoBox(self.shapes[resolution_m], self.transform(resolution_m), f"EPSG:{self.epsg}")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a product lies: what a grid has to know of it."""

    tile: str
    """Name of its own tile; empty for a product that lies across tiles."""
    raster: Frame | None = None
    """Its own pixels; None where only the footprint says where it lies."""
    footprint: shapely.Geometry | None = None
    """Outline in longitude and latitude; None where the metadata have none."""
