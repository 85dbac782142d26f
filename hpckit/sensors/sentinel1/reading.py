"""How a campaign wants its Sentinel-1 products brought to the cube."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpckit.sensors.sentinel1.model import Radiometry

if TYPE_CHECKING:
    from hpckit.space.warp import Resampling


@dataclass(frozen=True, slots=True)
class RadarReading:
    """How Sentinel-1 products are brought to a cube."""

    resampling: Resampling = "bilinear"
    erode_px: int = 1
    """Product pixels beside nodata that are left out."""
    radiometry: Radiometry = "gamma0"
    """What raw GRD is calibrated to."""
    noise: bool = True
    """Take thermal noise off raw GRD."""
    ellipsoid: bool = False
    """Correct raw GRD on the ellipsoid at a mean height, without a DEM."""
    dem: str | None = None
    """Heights for raw GRD, a raster."""
    geoid: str | float = 0.0
    """What to add to the heights to get those above the ellipsoid, metres: a raster, or one number."""

    contents: tuple[tuple[str, str], ...] = ()
    """Digests of these rasters, by option, where they are known."""

    @property
    def key(self) -> list[Any]:
        """What pixels depend on."""
        known = dict(self.contents)
        heights = [known.get("dem", self.dem), known.get("geoid", self.geoid)]
        return [self.resampling, self.erode_px, self.radiometry, self.noise, self.ellipsoid, *heights]
