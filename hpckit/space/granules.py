"""Products that stay on their own tiles and keep their own pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from hpckit.base.frozendict import frozen
from hpckit.errors import GridError
from hpckit.space.frame import Edges, Extent, Frame

if TYPE_CHECKING:
    import shapely

    from hpckit.space.overlap import Candidates
    from hpckit.space.tile import Tile


@dataclass(frozen=True, slots=True)
class Granules:
    """The tiles that products were cut into by those who made them: `mgrs` for Sentinel-2.

    Pixels are taken over as they are. Windows follow the blocks of the products' files.
    """

    name: str
    """As a campaign file has it, and, in capitals, before the name of a tile in STAC's `grid:code`."""
    windows: Mapping[int, Edges]
    """How rasters are cut, by pixel size in metres."""
    candidates: Callable[[shapely.Geometry, float], Candidates] | None = None
    """Tiles that may touch an area: an area in longitude and latitude, and metres by which it is widened, give pairs
    of the area in a CRS and tiles of that CRS. None where tiles are known from the products only."""

    resampled: ClassVar[bool] = False
    pixel_m: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Make it a value that can be hashed, whatever mapping was given."""
        object.__setattr__(self, "windows", frozen(self.windows))

    def __str__(self) -> str:
        """As a campaign file has it."""
        return self.name

    def tiles(self, area: shapely.Geometry, buffer_m: float = 0.0) -> list[Tile]:
        """Tiles that share some area with an area; see `Grid.tiles`.

        Raises
        ------
        GridError
            If the tiles are known from the products only.
        """
        from hpckit.space.overlap import touched  # shapely and pyproj take time to import

        if self.candidates is None:
            raise GridError(f"tiles of grid {self} are known only from the products on them")
        return touched(area, buffer_m, self.candidates)

    def frame(self, tile: str, resolutions_m: Iterable[int], own: Frame | None = None) -> Frame:
        """Frame of a tile: that of the products on it, with all of their pixel sizes.

        Raises
        ------
        GridError
            If no product's frame is given.
        """
        if own is None:
            raise GridError(f"tile {tile}: the frame of a tile of grid {self} is that of its products")
        return replace(own, tile=tile, edges={size: edges.window for size, edges in self.windows.items()})

    def edges(self, resolution_m: int) -> Edges:
        """How a raster is cut."""
        return self.windows[resolution_m]

    def require_pixels(self, resolution_m: int) -> None:
        """Any size of pixels is right that a product has."""

    def assign(self, area: shapely.Geometry, products: Sequence[Extent]) -> list[list[str]]:
        """The tile of each product; for one that lies across tiles, those that it shares area with in an area."""
        return [[product.tile] if product.tile else self._across(area, product) for product in products]

    def _across(self, area: shapely.Geometry, product: Extent) -> list[str]:
        import shapely

        if product.footprint is None:
            return []
        held = shapely.intersection(shapely.make_valid(product.footprint), area)
        return [tile.tile for tile in self.tiles(held)] if held.area > 0 else []

    def treatment(self, resampling: str) -> list[Any]:
        """Nothing: pixels are as the products have them."""
        return []

    def attributes(self, tile: str, *, pixels: bool = False) -> dict[str, str]:
        """Code of a tile by STAC's grid extension."""
        return {"grid:code": f"{self.name.upper()}-{tile}"}
