"""The part of a campaign file that says which area is meant."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Tag


class AreaFile(BaseModel):
    """A vector file whose polygons are an area of interest."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    path: str
    """A file that OGR reads, or GeoParquet."""
    layer: str | None = None
    """Needed where the file has several."""
    crs: str | None = None
    """CRS of the layer, where the file has none or a wrong one: `EPSG:25832`."""


def _form(value: Any) -> str:
    if isinstance(value, (dict, AreaFile)):
        return "[file]"
    return "[box]" if isinstance(value, (list, tuple)) else "[text]"


Area = Annotated[
    Annotated[str, Tag("[text]")] | Annotated[list[float], Tag("[box]")] | Annotated[AreaFile, Tag("[file]")],
    Discriminator(_form),
]
"""A file or WKT, a bounding box, or a file with its layer and CRS."""
