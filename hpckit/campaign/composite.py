"""What a campaign file says of a composite."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hpckit.campaign.expression import Expression
from hpckit.campaign.indices import bands_named, require_indices
from hpckit.campaign.model import Model
from hpckit.sensors.bands import BandRef
from hpckit.sensors.registry import MASK

CHOOSING: Final = ("best", "max_ndvi", "medoid")
"""Methods that choose one date per pixel, the same for all bands."""
JOINT: Final = (*CHOOSING, "geomad")
"""Methods that look at several bands at once, which must have one resolution."""
STEPPING: Final = ("interpolate", "smooth")
"""Methods that give each period a value from the dates of the whole campaign."""
_SIMPLE: Final = ("median", "mean", "min", "max", "count", *STEPPING, *JOINT)
_LAYERS: Final = ("date", "smad", "emad", "bcmad")
"""What layers hold that are of no band."""
_PERCENTILE: Final = re.compile(r"^p(\d{1,2}(\.\d{1,2})?|100)$")


def _listed(resolutions: set[int]) -> str:
    return " and ".join(map(str, sorted(resolutions)))


class Rolling(Model):
    """Periods of equal length that begin in equal steps; they overlap where the step is shorter."""

    window: Annotated[int, Field(ge=1, le=3660)]
    """Days in a period."""
    step: Annotated[int, Field(ge=1, le=3660)]
    """Days from the begin of one period to that of the next."""


def _distance(value: Any) -> Any:
    """`60m` is metres, `3px` pixels of the mask; a number is metres."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m|px)\s*", value)
        if match is None:
            raise ValueError("write a distance like 60m or 3px")
        return {"metres": float(match[1])} if match[2] == "m" else {"pixels": float(match[1])}
    return {"metres": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class Distance(Model):
    """A distance in metres or in pixels of the mask."""

    metres: Annotated[float, Field(ge=0, le=5000)] = 0
    pixels: Annotated[float, Field(ge=0, le=250)] = 0

    def in_pixels(self, resolution_m: int) -> float:
        """The distance in pixels of a resolution."""
        return self.metres / resolution_m + self.pixels


Length = Annotated[Distance, BeforeValidator(_distance, json_schema_input_type=str | float | Distance)]


class CompositeMask(Model):
    """Which observations a composite leaves out, by a band of classes or bits; defaults are those of the sensor."""

    band: str = MASK.name
    exclude: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=lambda: list(MASK.hide))
    """Codes of classes, or numbers of bits, of which the lowest is 0."""
    dilate: Length = Distance()
    """How far around `dilate_classes` is left out too: `60m`, `3px`, or a number of metres."""
    dilate_classes: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=lambda: list(MASK.spread))


class Score(Model):
    """What makes an observation the best one: its day and its distance from what is masked."""

    day: Annotated[int, Field(ge=1, le=366)] | None = None
    """Day of the year that is liked most; the middle of the period if not given."""
    day_sigma: Annotated[float, Field(gt=0)] = 30
    """Days after which liking falls to exp(-1/2)."""
    day_weight: Annotated[float, Field(ge=0)] = 1
    cloud_distance: Length = Distance(metres=1000)
    """Distance from clouds and shadow from which on it no longer matters."""
    cloud_weight: Annotated[float, Field(ge=0)] = 1

    def reach(self, resolution_m: int) -> int:
        """Pixels of the mask in which a cloud is looked for."""
        return min(250, ceil(self.cloud_distance.in_pixels(resolution_m)))


class Smoothing(Model):
    """How the curve of the method `smooth` runs: Whittaker's smoother with second-order differences of days."""

    lam: Annotated[float, Field(alias="lambda", ge=0, le=1e9)] = 1000
    """How much smoothness counts over nearness to the observations; 0 interpolates. With an observation each d days,
    waves of 2 pi (lambda d)^(1/4) days keep half of their height: 53 days for 1000 and 5 days."""
    envelope: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    """Share of the weight that observations above the curve have, by band or index: `{NDVI: 0.9}` draws NDVI to its
    upper envelope, 0.5 is none, 0.1 the lower one."""
    extend: Annotated[int, Field(ge=0, le=366)] = 15
    """Days for which the curve continues as a line before the first and after the last observation of a pixel."""


class Mosaic(Model):
    """One GeoTIFF over all tiles in a CRS of your choice."""

    crs: Annotated[str, Field(pattern=r"^EPSG:\d{4,6}$")]
    resolution: Annotated[float, Field(gt=0)]
    """Metres, or degrees, as the CRS has."""


class Outputs(Model):
    """What is written beside the Zarr group."""

    path: Path = Path("composites")
    """Folder of the Zarr group, GeoTIFFs and STAC; relative to the campaign file."""
    cog: bool = True
    """Cloud-Optimised GeoTIFF per tile and period, with STAC items and a collection."""
    compress: Literal["deflate", "zstd", "lzw"] = "deflate"
    mosaic: Literal["vrt", "none"] | Mosaic = "vrt"
    """Over all tiles: a VRT for each UTM zone, or one GeoTIFF in a CRS."""


class Composite(Model):
    """Reductions of each pixel over the dates of each period."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["composite"]
    bands: Annotated[list[str], Field(min_length=1)]
    indices: dict[str, str] = Field(default_factory=dict)
    """Derived bands by name: expressions over bands of one resolution, in reflectance. `B04@20m` is a band at that
    resolution; without, the one at which the cube has all of them."""
    methods: Annotated[
        list[str],
        BeforeValidator(lambda v: [v] if isinstance(v, str) else v, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = Field(default_factory=lambda: ["median"])
    """`median`, `p10` (any percentile), `mean`, `min`, `max`, `count`, `best`, `max_ndvi`, `medoid`, `geomad`,
    `interpolate` (linear in time, to the middle of each period), `smooth` (a smooth curve, likewise)."""
    period: Literal["campaign", "month", "dekad", "season", "year"] | Rolling = "campaign"
    """One composite for all, or for each; `{window: 30, step: 10}` rolls, in days."""
    mask: CompositeMask | None = Field(default_factory=CompositeMask)
    score: Score = Field(default_factory=Score)
    """Of the method `best`."""
    smooth: Smoothing = Field(default_factory=Smoothing)
    """Of the method `smooth`."""
    outputs: Outputs = Field(default_factory=Outputs)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: list[str]) -> list[str]:
        for method in methods:
            if method not in _SIMPLE and not _PERCENTILE.match(method):
                raise ValueError(f"no method {method!r}; methods are {', '.join(_SIMPLE)}, and p5, p50, p97.5 …")
        return list(dict.fromkeys(methods))

    @field_validator("indices")
    @classmethod
    def _expressions(cls, indices: dict[str, str]) -> dict[str, str]:
        require_indices(indices, taken=(*_SIMPLE, *_LAYERS), underscores=False)
        return indices

    @model_validator(mode="after")
    def _envelopes_of_what_is_there(self) -> Composite:
        known = [*(text.partition("@")[0] for text in self.bands), *self.indices]
        for name in self.smooth.envelope:
            if name not in known:
                raise ValueError(f"smooth.envelope names {name!r}, which is no band or index of {self.name!r}")
        return self

    def reach(self, resolution_m: int) -> int:
        """Pixels of the mask around a pixel that have an influence on it; 0 without a mask."""
        if self.mask is None:
            return 0
        near = ceil(self.mask.dilate.in_pixels(resolution_m))
        return max(near, self.score.reach(resolution_m)) if "best" in self.methods else near

    def require_no_classes(self, ref: Callable[[str], BandRef]) -> None:
        """Refuse bands of which there is no mean.

        Parameters
        ----------
        ref : callable
            Band of the campaign's cube by its text.

        Raises
        ------
        ValueError
            Names the band.
        """
        for text in self.bands:
            if ref(text).band.is_categorical:
                raise ValueError(
                    f"reduction {self.name!r}: {text} holds classes, of which there is no composite; use it in mask"
                )

    def require_one_resolution(self, ref: Callable[[str], BandRef]) -> None:
        """Refuse what would need bands of several resolutions at once.

        Parameters
        ----------
        ref : callable
            Band of the campaign's cube by its text.

        Raises
        ------
        ValueError
            Names the index or the method.
        """
        for name, text in self.indices.items():
            resolutions = {ref(band).resolution_m for band in Expression.parse(text).bands}
            if len(resolutions) > 1:
                raise ValueError(
                    f"reduction {self.name!r}: index {name} mixes bands of {_listed(resolutions)} m; a composite's "
                    "takes one: write its bands like B04@20m, and put them into cube.bands"
                )
        joint = [method for method in self.methods if method in JOINT]
        texts = [*self.bands, *(band for text in self.indices.values() for band in Expression.parse(text).bands)]
        if joint and len({ref(band).resolution_m for band in texts}) > 1:
            raise ValueError(
                f"reduction {self.name!r}: {joint[0]} takes all bands at one resolution, those of indices too; write "
                "them like B04@20m, or make two reductions"
            )

    def percentile(self, method: str) -> float | None:
        """Percentile that a method stands for."""
        if method == "median":
            return 50.0
        return float(method[1:]) if _PERCENTILE.match(method) else None

    def red_and_infrared(self, ref: Callable[[str], BandRef]) -> tuple[BandRef, BandRef] | None:
        """Bands of NDVI at the resolution of the bands, where dates are chosen by it.

        Parameters
        ----------
        ref : callable
            Band of the campaign's cube by its text.
        """
        if "max_ndvi" not in self.methods:
            return None
        resolution_m = ref(self.bands[0]).resolution_m
        try:
            return _at(resolution_m, ("red",), ref), _at(resolution_m, ("nir", "nir08"), ref)
        except ValueError as error:
            raise ValueError(f"reduction {self.name!r}: max_ndvi: {error}") from error

    def source_bands(self, ref: Callable[[str], BandRef]) -> list[BandRef]:
        """Every band that must be in the cube.

        Parameters
        ----------
        ref : callable
            Band of the campaign's cube by its text.
        """
        return list(dict.fromkeys([*map(ref, self.named_bands()), *(self.red_and_infrared(ref) or ())]))

    def named_bands(self) -> list[str]:
        """Every band that the composite names, as written: bands, those of indices, that of the mask."""
        return bands_named(self.bands, self.indices, None if self.mask is None else self.mask.band)


def _at(resolution_m: int, names: Sequence[str], ref: Callable[[str], BandRef]) -> BandRef:
    """First of some bands that a cube can have at a resolution."""
    for name in names[:-1]:
        try:
            return ref(f"{name}@{resolution_m}m")
        except ValueError:
            continue
    return ref(f"{names[-1]}@{resolution_m}m")
