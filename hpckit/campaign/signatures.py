"""Signatures: statistics of zones, per acquisition and band, as a campaign asks for them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hpckit.campaign.indices import bands_named, require_indices
from hpckit.campaign.metres import Metres
from hpckit.campaign.model import Model
from hpckit.errors import VectorError
from hpckit.sensors.registry import MASK
from hpckit.space.attributes import Names, require_names

if TYPE_CHECKING:
    from hpckit.space.zones import ZoneLayer


class Mask(Model):
    """Which pixels a signature leaves out, by a band of classes or bits; the defaults are those of the sensor."""

    band: str = MASK.name
    exclude: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=lambda: list(MASK.hide))
    """Codes of classes, or numbers of bits, of which the lowest is 0."""


class SignatureReduction(Model):
    """Statistics of zones, per acquisition and band."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["signatures"] = "signatures"
    zones: Path
    """Polygon layer in any format and CRS that OGR reads, or GeoParquet."""
    layer: str | None = None
    """Needed where the file has several."""
    id: str
    """Field of the layer that identifies a zone; any type, unique. `fid`: the number of the feature."""
    crs: str | None = None
    """CRS of the layer, where the file has none or a wrong one: `EPSG:25832`."""
    encoding: str | None = None
    """Encoding of text, where the file says none or a wrong one: `cp1252`, `UTF-8`."""
    invalid: Literal["drop", "refuse"] = "drop"
    """Features without a usable polygon (none at all, damaged, lines, points) are left out and listed, or refused."""
    buffer: Metres = 0.0
    """By how much zones are widened, or narrowed: `-5m`. Zones of which nothing is left are listed, and left out."""
    attributes: Literal["all"] | list[str] | dict[str, str] = Field(default_factory=list)
    """Fields of the layer that go with the zones into store, views and exports: `[crop, holding]`, with other names
    `{holding: OBJ_ID}`, or `all`. By default none, since they may be personal data. They change no result."""
    bands: Annotated[list[str], Field(min_length=1)]
    indices: dict[str, str] = Field(default_factory=dict)
    """Derived bands by name: expressions over bands, `(B08 - B04) / (B08 + B04)`, in reflectance. `B04@20m` is a band
    at that resolution; without, its native one, or the only one that the cube has."""
    mask: Mask | None = Field(default_factory=Mask)
    coverage: Literal["centre", "fraction"] = "centre"
    percentiles: list[Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=lambda: [25.0, 50.0, 75.0])
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("crs", "encoding")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.field_name == "crs":
            from hpckit.space.vector.crs import parse_crs

            try:
                parse_crs(value)
            except VectorError as error:
                raise ValueError(f"{error.message}; {error.hint}") from error
        if value is not None and info.field_name == "encoding":
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError("no known encoding of text; write it like cp1252 or UTF-8") from None
        return value

    @field_validator("percentiles")
    @classmethod
    def _sorted_percentiles(cls, values: list[float]) -> list[float]:
        return sorted(set(values))

    @field_validator("indices")
    @classmethod
    def _expressions(cls, indices: dict[str, str]) -> dict[str, str]:
        require_indices(indices)
        return indices

    @model_validator(mode="after")
    def _attributes_have_free_names(self) -> SignatureReduction:
        if self.attributes != "all":
            require_names(list(self.attributes), self._taken)
            if self.id in self.attributes:
                raise ValueError(f"`attributes`: {self.id!r} is the identifier of the zones, which is there anyway")
        return self

    @property
    def _taken(self) -> Names:
        return Names((*self.bands, *self.indices))

    def read_zones(self, path: Path) -> ZoneLayer:
        """The zones, of the file that `zones` names.

        Raises
        ------
        ZoneError
            If they cannot be read.
        """
        from hpckit.space.zones import read_zones

        return read_zones(
            path,
            self.id,
            self.layer,
            crs=self.crs,
            encoding=self.encoding,
            invalid=self.invalid,
            buffer_m=self.buffer,
            attributes=self.attributes,
            taken=self._taken,
        )

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics of a continuous band, in the order in which they are stored."""
        return ("mean", "std", "min", "max", *(f"p{value:g}" for value in self.percentiles))

    def named_bands(self) -> list[str]:
        """Every band that must be in the cube, as written: bands, those of indices, that of the mask."""
        return bands_named(self.bands, self.indices, None if self.mask is None else self.mask.band)
