"""Where the rasters of a tile lie, whatever was sensed: the target of ingest, and the frame of all that reads.

A `Frame` is one tile: a CRS, an upper left corner, and one raster for each pixel size, cut into windows. A
`GridSpec` is a grid of a campaign, `utm:10240@10`, and makes the frames of its tiles from their names alone:
equal campaigns have equal pixels, wherever and whenever they run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Final

from affine import Affine

from hpckit.errors import GridError

if TYPE_CHECKING:
    import shapely
    from odc.geo.geobox import GeoBox

    from hpckit.grid import Tile

MOST_WINDOW: Final = 2048
"""Longest edge of a window of a gridded cube, in pixels. Every window decodes a rim (from zip files whole JPEG 2000
tiles of 1024²) that its neighbour decodes again; larger windows do so less, and take more memory."""
_CHUNK: Final = 256
"""Edge of a chunk that is aimed at, in pixels."""
_GRID: Final = re.compile(r"(?i)(?:utm|epsg:(?P<epsg>\d+)):(?P<size>\d+)@(?P<pixel>\d+)m?")
_NAME: Final = re.compile(r"(?:(?P<zone>\d\d)(?P<half>[NS])_)?E(?P<x>m?\d{4,})N(?P<y>m?\d{4,})")
_MOST_PIXELS: Final = 50_000


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

    def transform(self, resolution_m: int) -> Affine:
        """Affine transform from (column, row) to easting and northing, metres."""
        return Affine(resolution_m, 0, self.ulx, 0, -resolution_m, self.uly)

    def windows(self, resolution_m: int) -> tuple[int, int]:
        """Window rows and columns of a raster."""
        rows, columns = self.shapes[resolution_m]
        edge = self.edges[resolution_m]
        return -(-rows // edge), -(-columns // edge)

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
class GridSpec:
    """A grid onto which scenes are resampled: square tiles of square pixels, in UTM zones or in one CRS.

    Tile borders are multiples of the tile's size, counted from the origin of the CRS (for UTM of each zone and
    hemisphere, in the coordinates of EPSG:326xx and 327xx). Hence pixels of neighbouring tiles lie on one
    lattice, and where pixel sizes are multiples of each other, so do pixels of different sizes.
    """

    epsg: int | None
    """None for UTM, where each tile has its own zone."""
    size_m: int
    """Edge of a tile."""
    pixel_m: int
    """Edge of a pixel, unless a band asks for another one."""

    @classmethod
    @lru_cache(maxsize=64)
    def parse(cls, text: str) -> GridSpec:
        """Read `utm:10240@10` or `EPSG:3035:10000@20`: CRS, metres of a tile's edge, metres of a pixel's.

        Raises
        ------
        GridError
            If it is malformed, the CRS is unknown, geographic or not in metres, or the tile is no whole number
            of pixels.
        """
        match = _GRID.fullmatch(text.strip())
        if match is None:
            raise GridError(f"{text!r} is no grid", hint="grids are mgrs, utm:10240@10 and EPSG:3035:10000@20")
        epsg = None if match["epsg"] is None else int(match["epsg"])
        grid = cls(epsg, int(match["size"]), int(match["pixel"]))
        if epsg is not None:
            from hpckit.grid import require_metres

            require_metres(epsg)
        grid.pixels(grid.pixel_m)
        return grid

    def __str__(self) -> str:
        """As a campaign file has it."""
        return f"{self.name}@{self.pixel_m}"

    @property
    def name(self) -> str:
        """The tiling, as `hpckit tile --grid` has it: without pixels."""
        return f"{'utm' if self.epsg is None else f'EPSG:{self.epsg}'}:{self.size_m}"

    def pixels(self, resolution_m: int) -> int:
        """Pixels along the edge of a tile.

        Raises
        ------
        GridError
            If the pixels do not fill the tile, or are too many.
        """
        if resolution_m <= 0 or self.size_m <= 0 or self.size_m % resolution_m:
            fit = [
                size
                for size in (10, 20, 40, 50, 60, 80, 100, 160, 200, 320)
                if self.size_m and not self.size_m % size
            ]
            raise GridError(
                f"grid {self.name}: tiles of {self.size_m} m are no whole number of pixels of {resolution_m} m",
                hint=f"pixels of {', '.join(map(str, fit))} m fit" if fit else "choose tiles of 10240 or 10000 m",
            )
        count = self.size_m // resolution_m
        if count > _MOST_PIXELS:
            raise GridError(
                f"grid {self.name}: tiles of {count} x {count} pixels are too large",
                hint="choose tiles of 100 km or less",
            )
        return count

    def tiles(self, area: shapely.Geometry) -> list[Tile]:
        """Tiles that share some area with an area in longitude and latitude."""
        from hpckit.grid import tile_aoi

        return tile_aoi(area, self.name)

    def edge(self, resolution_m: int) -> int:
        """Edge of a window in pixels: as few equal windows as fit, in whole chunks."""
        return self.chunk(resolution_m) * self._chunks_per_window(resolution_m)

    def chunk(self, resolution_m: int) -> int:
        """Edge of a chunk in pixels, a divisor of the window's."""
        return ceil(self._window(resolution_m) / self._chunks_per_window(resolution_m))

    def _window(self, resolution_m: int) -> int:
        count = self.pixels(resolution_m)
        return ceil(count / ceil(count / MOST_WINDOW))

    def _chunks_per_window(self, resolution_m: int) -> int:
        return max(1, round(self._window(resolution_m) / _CHUNK))

    def frame(self, tile: str, resolutions_m: Iterable[int]) -> Frame:
        """Frame of a tile, from its name.

        Raises
        ------
        GridError
            If the grid has no tile of that name.
        """
        match = _NAME.fullmatch(tile)
        if match is None or (match["zone"] is None) != (self.epsg is not None):
            raise GridError(f"{tile!r} is no tile of grid {self}")
        epsg = self.epsg or (32600 if match["half"] == "N" else 32700) + int(match["zone"])
        column, row = (int(match[axis].replace("m", "-")) for axis in "xy")
        sizes = sorted(set(resolutions_m))
        return Frame(
            tile,
            epsg,
            float(column * self.size_m),
            float((row + 1) * self.size_m),
            {size: (self.pixels(size), self.pixels(size)) for size in sizes},
            {size: self.edge(size) for size in sizes},
        )
