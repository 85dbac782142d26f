"""What a campaign file says of STAC items: `scenes.items`, for items of no known catalogue, or with wrong offsets."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hpckit.sensors.sentinel1.bands import BANDS as RADAR_BANDS
from hpckit.sensors.sentinel2.bands import BANDS


class ItemOptions(BaseModel):
    """How STAC items are read where their catalogue is unknown, or where they are wrong."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    assets: dict[str, str] | None = None
    """Key of the asset of each band, `{B04: red_band}` or `{VV: gamma0}`; only these are used."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance = number * scale + offset, or power = number * scale; what the items say if not given."""
    offset: float | None = None
    """0 if the pixels contain the reflectance without an offset, -0.1 for those of ESA since baseline 04.00."""
    nodata: float | None = None
    """Number in the files that is no value; what the files say if not given."""

    @field_validator("assets")
    @classmethod
    def _bands(cls, assets: dict[str, str] | None) -> dict[str, str] | None:
        unknown = [band for band in assets or () if band not in BANDS and band not in RADAR_BANDS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no band; bands are {', '.join([*BANDS, *RADAR_BANDS])}")
        if len({band in BANDS for band in assets or ()}) > 1:
            raise ValueError("its bands are of Sentinel-2 and of Sentinel-1: make a campaign for each")
        return assets

    @property
    def is_radar(self) -> bool:
        """Whether bands of Sentinel-1 are described."""
        return any(band in RADAR_BANDS for band in self.assets or ())
