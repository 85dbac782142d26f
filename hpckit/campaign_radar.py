"""The part of a campaign file that only Sentinel-1 needs: `scenes.radar`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hpckit.scenes.model import Level

COLLECTIONS: Final[dict[str, Level]] = {
    "sentinel-1-grd": "GRD",
    "sentinel-1-card-bs": "CARD-BS",
    "sentinel-1-card-coh6": "CARD-COH6",
    "sentinel-1-rtc": "RTC",
    "sentinel-1-nrb": "NRB",
}
"""Level of the products of each Sentinel-1 collection."""


class RadarOptions(BaseModel):
    """How Sentinel-1 products are brought onto the grid."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    orbit: Literal["ascending", "descending"] | None = None
    """Only passes of this direction; both if not given, kept apart in the results by acquisition."""
    relative_orbits: list[Annotated[int, Field(ge=1, le=175)]] | None = None
    """Only these tracks."""
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = "bilinear"
    """How product pixels come to the grid's, in linear power."""
    erode: Annotated[int, Field(ge=0, le=100)] = 1
    """Product pixels beside nodata that are left out: lines between frames are often half empty."""
    radiometry: Literal["gamma0", "sigma0"] = "gamma0"
    """Raw GRD: what it is calibrated to."""
    noise: bool = True
    """Raw GRD: take the thermal noise off."""
    terrain: Literal["dem", "ellipsoid"] = "dem"
    """Raw GRD: with heights from `dem`; or, knowingly, without: up to kilometres off in mountains."""
    dem: Path | None = None
    """Raw GRD: raster of heights in any CRS, a VRT for example, that covers the area."""
    geoid: float | Path | None = None
    """Raw GRD: metres to add to the DEM to get heights above the ellipsoid: 0 for a DEM that has them, a raster of
    the geoid's undulation (EGM2008 for the Copernicus DEM), or one number for a small area."""

    @model_validator(mode="after")
    def _heights_known(self) -> RadarOptions:
        if self.terrain == "dem" and self.dem is not None and self.geoid is None:
            raise ValueError(
                "dem needs geoid, the height of its zero above the ellipsoid: 0 for ellipsoidal heights, else a "
                "raster (EGM2008 for the Copernicus DEM) or one number, about 45 in western Europe"
            )
        if self.terrain == "ellipsoid" and self.dem is not None:
            raise ValueError("give either dem or `terrain: ellipsoid`, not both")
        return self
