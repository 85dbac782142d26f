"""The cube of a campaign: what it is made from, and how it is laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpckit.campaign.model import Model


class Cube(Model):
    """How the cube is laid out, and what it is made from."""

    keep: bool = True
    """Off: no cube is written, and statistics of zones, the same numbers, are computed straight from the products.
    Composites, pictures of the cube, and steps that work on it need one."""
    path: Path = Path("cube.zarr")
    bands: Annotated[list[str], Field(min_length=1)]
    """`B04` at its native resolution, `B04@60m` for another one that the products carry."""
    dates_per_block: Annotated[int, Field(ge=1, le=1000)] = 16
    """Dates in one shard: the unit of writing. Appending later scenes rewrites the last block only."""
    sharding: bool = True
    """Off: one chunk per file, for readers without the sharding codec (GDAL before 3.13)."""
    compression: Annotated[int, Field(ge=1, le=9)] = 3
    """Zstandard level inside Blosc with bit shuffle."""
    skip_cloudy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Windows with at least this fraction of cloud or nodata in the mask of the products (SCL) stay nodata and are
    never decoded."""
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = "bilinear"
    """How pixels come onto a grid other than mgrs; classes and probabilities are always `nearest`."""
    overlaps: Literal["newest", "least_cloudy"] = "newest"
    """Which granule of a pass wins where several cover a tile of a grid other than mgrs."""
    extent: Literal["aoi", "zones", "granule"] = "aoi"
    """Windows of a tile that are ingested: those that the area of interest touches and those of the zones that share
    area with it; only those that hold a zone of a reduction; or all. Later changes add windows, and remove none."""
    margin_m: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Metres by which the area, or with `extent: zones` the zones, are widened to find the windows."""

    @property
    def windows_by(self) -> Literal["aoi", "zones", "granule"]:
        """What chooses the windows that are decoded: without a cube nothing but zones needs any."""
        return self.extent if self.keep else "zones"

    @property
    def reach_m(self) -> float:
        """Metres around the area or the zones at which windows are decoded, too."""
        return self.margin_m if self.keep else 0.0

    @model_validator(mode="after")
    def _margin_of_something(self) -> Cube:
        if self.margin_m and self.extent == "granule":
            raise ValueError("`margin_m` has no meaning with `extent: granule`, which holds all windows; remove it")
        return self
