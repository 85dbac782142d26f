"""What a grid is: which tiles there are, where their pixels lie, and whether products are resampled onto them.

`mgrs`
    Products stay on their own tiles: `Granules`. Other sensors have other names for theirs; `native` means the own
    tiles of whatever products a campaign uses.
`utm:SIZE@PIXEL`
    `Squares` of SIZE metres from the origin of each UTM zone, as far as they touch the zone's six degrees:
    without gaps, and overlapping only where two zones meet.
`EPSG:CODE:SIZE@PIXEL`
    `Squares` of SIZE metres from the origin of a projected CRS.
`utm:SIZE+EAST+NORTH@PIXEL`, `EPSG:CODE:SIZE+EAST+NORTH@PIXEL`
    The same, counted from the point (EAST, NORTH) of the CRS: some tile has a corner there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from hpckit.errors import GridError
from hpckit.space.frame import Edges, Extent, Frame
from hpckit.space.granules import Granules
from hpckit.space.squares import Squares

if TYPE_CHECKING:
    import shapely

    from hpckit.space.tile import Tile

NATIVE: Final = "native"
"""Text of the grid on which products stay on their own tiles, whatever these are called."""
_SQUARES: Final = r"(utm|epsg:(\d+)):(\d+(\.\d+)?)(\+(-?\d+)\+(-?\d+))?(@(\d+)m?)?"
PATTERN: Final = rf"(?i)^([a-z][a-z0-9]*|{_SQUARES})$"
"""Of the text of a grid, for JSON schemas and editors."""


class Grid(Protocol):
    """Tiles, and where their pixels lie."""

    @property
    def resampled(self) -> bool:
        """Whether pixels are resampled onto the grid; else each product keeps its own."""

    @property
    def pixel_m(self) -> int | None:
        """Edge of a pixel in metres of a band for which nothing else is said; None: as the products have it."""

    def __str__(self) -> str:
        """As a campaign file has it; `parse_grid` reads it."""

    def tiles(self, area: shapely.Geometry, buffer_m: float = 0.0) -> list[Tile]:
        """Tiles that share some area with an area.

        An area that reaches less than 0.5 m over the border of a tile does not share area with it, unless no other
        tile holds that part: an area cut along the grid has the tiles that it was cut from.

        Parameters
        ----------
        area : shapely geometry
            In longitude and latitude, within -180 to 180 degrees.
        buffer_m : float
            Widens the area by this many metres, in each tile's CRS.

        Returns
        -------
        list of Tile
            Sorted by name, with `aoi_fraction`.

        Raises
        ------
        GridError
            If the tiles cannot be told, or would be more than two million.
        """

    def frame(self, tile: str, resolutions_m: Iterable[int], own: Frame | None = None) -> Frame:
        """Where the rasters of a tile lie.

        Parameters
        ----------
        tile : str
        resolutions_m : iterable of int
            Sizes of the pixels of bands, metres.
        own : Frame, optional
            That of a product on the tile, for grids on which products keep their pixels.

        Raises
        ------
        GridError
            If the grid has no such tile.
        """

    def edges(self, resolution_m: int) -> Edges:
        """How rasters of a pixel size are cut into windows and chunks."""

    def require_pixels(self, resolution_m: int) -> None:
        """Check that tiles can have pixels of a size.

        Raises
        ------
        GridError
            If the pixels do not fill a tile, or are too many.
        """

    def assign(self, area: shapely.Geometry, products: Sequence[Extent]) -> list[list[str]]:
        """Names of the tiles that are made from each product.

        Parameters
        ----------
        area : shapely geometry
            Area of interest, in longitude and latitude.
        products : sequence of Extent

        Returns
        -------
        list of list of str
            As long as `products`.
        """

    def treatment(self, resampling: str) -> list[Any]:
        """What the pixels of a date depend on besides the products, for digests; values of JSON."""

    def attributes(self, tile: str, *, pixels: bool = False) -> dict[str, str]:
        """How metadata name the grid of a tile.

        Parameters
        ----------
        pixels : bool
            Whether with the size of pixels, where the grid sets one.
        """


def parse_grid(text: str, native: Granules) -> Grid:
    """Read the grid of a campaign file: `mgrs`, `utm:10240@10`, `EPSG:3035:10000@20`.

    Parameters
    ----------
    native : Granules
        Tiles on which the products lie.

    Raises
    ------
    GridError
        If the text is malformed, the CRS is unknown, geographic or not in metres, or a tile is no whole number of
        pixels.
    """
    if text.strip().lower() in (NATIVE, native.name):
        return native
    match = re.fullmatch(_SQUARES, text.strip(), re.IGNORECASE)
    if match is None or match[9] is None:
        raise GridError(f"{text!r} is no grid", hint=f"grids are {native}, utm:10240@10 and EPSG:3035:10000@20")
    return _squares(match[2], match[3], _corner(match), match[9])


def parse_tiling(text: str, native: Granules) -> Grid:
    """Read a grid of which only the tiles matter: a size of pixels may stand in the text, or not.

    Raises
    ------
    GridError
        If the text is malformed, the size of tiles is 0, or the CRS is unknown, geographic or not in metres.
    """
    if text.strip().lower() in (NATIVE, native.name):
        return native
    match = re.fullmatch(_SQUARES, text.strip(), re.IGNORECASE)
    if match is None:
        raise GridError(f"{text!r} is no grid", hint=f"grids are {native}, utm:10240 and EPSG:3035:10000")
    if not float(match[3]):
        raise GridError(f"{text!r}: tiles of 0 m make no sense")
    return _squares(match[2], match[3], _corner(match), None)


def _corner(match: re.Match[str]) -> tuple[int, int]:
    """Point from which tiles are counted."""
    return int(match[6] or 0), int(match[7] or 0)


@lru_cache(maxsize=64)
def _squares(epsg: str | None, size: str, corner: tuple[int, int], pixel: str | None) -> Squares:
    edge = float(size)
    shift = (corner[0] % edge, corner[1] % edge) if edge else (0.0, 0.0)  # a size of 0 is refused below
    grid = Squares(None if epsg is None else int(epsg), edge, None if pixel is None else int(pixel), shift)
    if grid.epsg is not None:
        from hpckit.space.lattice import require_metres  # pyproj takes time to import

        require_metres(grid.epsg)
    if grid.pixel_m is not None:
        grid.require_pixels(grid.pixel_m)
    return grid
