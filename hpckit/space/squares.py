"""Grids onto which products are resampled: squares in UTM zones, or in any projected CRS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hpckit.errors import GridError
from hpckit.space.frame import Edges, Extent, Frame

if TYPE_CHECKING:
    import shapely

    from hpckit.space.tile import Tile

MOST_WINDOW: Final = 2048
"""Longest edge of a window of a gridded cube, in pixels. Every window decodes a rim (from zip files whole JPEG 2000
tiles of 1024²) that its neighbour decodes again; larger windows do so less, and take more memory."""
_CHUNK: Final = 256
"""Edge of a chunk that is aimed at, in pixels."""
_NAME: Final = re.compile(r"(?:(?P<zone>\d\d)(?P<half>[NS])_)?E(?P<x>m?\d{4,})N(?P<y>m?\d{4,})")
_MOST_PIXELS: Final = 50_000
_USUAL_PIXELS: Final = (10, 20, 40, 50, 60, 80, 100, 160, 200, 320)


@dataclass(frozen=True, slots=True)
class Squares:
    """Square tiles of square pixels, in UTM zones or in one CRS, onto which products are resampled.

    Tile borders are multiples of the tile's size, counted from the origin of the CRS (for UTM of each zone and
    hemisphere, in the coordinates of EPSG:326xx and 327xx), or from another point of it. Hence pixels of neighbouring
    tiles lie on one lattice, and where pixel sizes are multiples of each other, so do pixels of different sizes. The
    name of a tile says where it lies: equal campaigns have equal pixels, wherever and whenever they run.
    """

    epsg: int | None
    """None for UTM, where each tile has its own zone."""
    size_m: float
    """Edge of a tile."""
    pixel_m: int | None
    """Edge of a pixel, unless a band asks for another one; None for a tiling of which no rasters are made."""
    corner: tuple[float, float] = (0.0, 0.0)
    """Easting and northing of the first border that is not negative."""

    resampled: ClassVar[bool] = True

    def __str__(self) -> str:
        """As a campaign file has it."""
        return self.name if self.pixel_m is None else f"{self.name}@{self.pixel_m}"

    @property
    def name(self) -> str:
        """The tiling, as `hpckit tile --grid` has it: without pixels."""
        shift = "".join(f"+{_plain(part)}" for part in self.corner) if any(self.corner) else ""
        return f"{'utm' if self.epsg is None else f'EPSG:{self.epsg}'}:{_plain(self.size_m)}{shift}"

    def tiles(self, area: shapely.Geometry, buffer_m: float = 0.0) -> list[Tile]:
        """Tiles that share some area with an area; see `Grid.tiles`.

        Raises
        ------
        GridError
            If there would be more than two million, or the CRS cannot show the area.
        """
        from hpckit.space.lattice import candidates  # shapely and pyproj take time to import
        from hpckit.space.overlap import touched

        return touched(
            area, buffer_m, lambda area, buffer_m: candidates(area, self.epsg, self.size_m, buffer_m, self.corner)
        )

    def frame(self, tile: str, resolutions_m: Iterable[int], own: Frame | None = None) -> Frame:
        """Frame of a tile, from its name.

        Raises
        ------
        GridError
            If the grid has no tile of that name, or its pixels do not fill the tile.
        """
        return _frame(self, tile, tuple(sorted(set(resolutions_m))))

    def edges(self, resolution_m: int) -> Edges:
        """How a raster is cut: as few equal windows as fit, in whole chunks."""
        count = self.pixels(resolution_m)
        window = ceil(count / ceil(count / MOST_WINDOW))
        per_window = max(1, round(window / _CHUNK))
        chunk = ceil(window / per_window)
        return Edges(chunk * per_window, chunk)

    def require_pixels(self, resolution_m: int) -> None:
        """Check that pixels of a size fill a tile; see `pixels`."""
        self.pixels(resolution_m)

    def pixels(self, resolution_m: int) -> int:
        """Pixels along the edge of a tile.

        Raises
        ------
        GridError
            If the pixels do not fill the tile, or are too many.
        """
        if resolution_m <= 0 or self.size_m <= 0 or self.size_m % resolution_m:
            fit = [size for size in _USUAL_PIXELS if self.size_m and not self.size_m % size]
            raise GridError(
                f"grid {self.name}: tiles of {_plain(self.size_m)} m are no whole number of pixels of "
                f"{resolution_m} m",
                hint=f"pixels of {', '.join(map(str, fit))} m fit" if fit else "choose tiles of 10240 or 10000 m",
            )
        if any(part % resolution_m for part in self.corner):
            raise GridError(
                f"grid {self.name}: its tiles begin between pixels of {resolution_m} m",
                hint=f"choose a corner of whole multiples of {resolution_m} m",
            )
        count = int(self.size_m // resolution_m)
        if count > _MOST_PIXELS:
            raise GridError(
                f"grid {self.name}: tiles of {count} x {count} pixels are too large",
                hint="choose tiles of 100 km or less",
            )
        return count

    def assign(self, area: shapely.Geometry, products: Sequence[Extent]) -> list[list[str]]:
        """Tiles within an area that each product reaches into, in the order of `tiles`."""
        from hpckit.space.reach import reached

        return reached(self.tiles(area), products)

    def treatment(self, resampling: str) -> list[Any]:
        """The grid, and how pixels come onto it."""
        return [str(self), resampling]

    def attributes(self, tile: str, *, pixels: bool = False) -> dict[str, str]:
        """The grid by its text: STAC's grid extension has no code of such tiles."""
        return {"hpckit:grid": str(self) if pixels else self.name}


@lru_cache(maxsize=4096)
def _frame(grid: Squares, tile: str, sizes: tuple[int, ...]) -> Frame:
    match = _NAME.fullmatch(tile)
    if match is None or (match["zone"] is None) != (grid.epsg is not None):
        raise GridError(f"{tile!r} is no tile of grid {grid}")
    epsg = grid.epsg or (32600 if match["half"] == "N" else 32700) + int(match["zone"])
    column, row = (int(match[axis].replace("m", "-")) for axis in "xy")
    return Frame(
        tile,
        epsg,
        float(column * grid.size_m + grid.corner[0]),
        float((row + 1) * grid.size_m + grid.corner[1]),
        {size: (grid.pixels(size), grid.pixels(size)) for size in sizes},
        {size: grid.edges(size).window for size in sizes},
    )


def _plain(length_m: float) -> str:
    return f"{length_m:.10g}"
