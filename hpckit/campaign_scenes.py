"""The part of a campaign file that says which products to use: `scenes`, and that of steps which make some."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hpckit.campaign_radar import COLLECTIONS, RadarOptions
from hpckit.scenes.model import Level


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, Path)) else value


class Products(BaseModel):
    """Products of one kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    paths: Annotated[
        list[Path], BeforeValidator(_as_list, json_schema_input_type=str | list[str]), Field(min_length=1)
    ]
    """Folders that are searched for products at any depth, products, or a stac-geoparquet file."""
    collection: Literal[
        "sentinel-2-l2a",
        "sentinel-2-l1c",
        "sentinel-1-grd",
        "sentinel-1-card-bs",
        "sentinel-1-card-coh6",
        "sentinel-1-rtc",
        "sentinel-1-nrb",
    ] = "sentinel-2-l2a"
    max_cloud_cover: Annotated[float, Field(ge=0, le=100)] = 100
    """Percent, of the whole granule as its metadata tell."""
    tiles: list[str] | None = None
    """Only these tiles, `31UFU`."""

    @property
    def level(self) -> Level:
        """Processing level of the collection."""
        if self.collection in COLLECTIONS:
            return COLLECTIONS[self.collection]
        return "L1C" if self.collection == "sentinel-2-l1c" else "L2A"

    @property
    def is_radar(self) -> bool:
        """Whether the products are Sentinel-1's."""
        return self.collection in COLLECTIONS

    @field_validator("tiles")
    @classmethod
    def _tile_names(cls, tiles: list[str] | None) -> list[str] | None:
        for tile in tiles or ():
            if not re.fullmatch(r"T?\d{2}[C-HJ-NP-X][A-Z]{2}", tile.upper()):
                raise ValueError(f"{tile!r} is no MGRS tile name; write it like 31UFU")
        return None if tiles is None else [tile.upper().removeprefix("T").zfill(5) for tile in tiles]


class Scenes(Products):
    """Which products to use."""

    verify: bool = False
    """Check sizes and digests of the manifest before a file is decoded."""
    radar: RadarOptions = Field(default_factory=RadarOptions)
    """Of Sentinel-1 only."""

    @model_validator(mode="after")
    def _radar_fits(self) -> Scenes:
        if not self.is_radar and self.radar != RadarOptions():
            raise ValueError(f"radar is of Sentinel-1 only; the collection is {self.collection}")
        if self.collection == "sentinel-1-grd" and self.radar.terrain == "dem" and self.radar.dem is None:
            raise ValueError(
                "raw GRD is in radar geometry: give radar.dem (and radar.geoid) for terrain correction, or, for flat "
                "land and rough positions, `radar: {terrain: ellipsoid}`; or let a step of this campaign (`steps`) "
                "make gamma0 with SNAP or another processor, and use that as sentinel-1-card-bs or sentinel-1-rtc"
            )
        return self
