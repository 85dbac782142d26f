"""What a campaign file says of images of one's own: `scenes.rasters`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hpckit.base.files import digest_json
from hpckit.sensors.bands import Band, Kind
from hpckit.sensors.masks import MaskBand
from hpckit.sensors.model import Dropped, Scene
from hpckit.sensors.options import SensorOptions
from hpckit.sensors.rasters.bands import BandFile, coding, plain_coding
from hpckit.sensors.rasters.pattern import Pattern
from hpckit.sensors.rasters.sensor import Rasters
from hpckit.sensors.sensor import Sensor

_COMMON: Final = ("coastal", "blue", "green", "red", "rededge", "nir", "nir08", "swir16", "swir22")
"""Common names of STAC's extension eo that bands have by their own name alone."""
_AXES: Final = {"reflectance": " reflectance", "power": ", dB"}

Pixel = Annotated[int, Field(ge=1, le=99_999)]
Flags = Annotated[
    dict[Annotated[int, Field(ge=0, le=255)], str],
    BeforeValidator(
        lambda value: {code: str(code) for code in value} if isinstance(value, list) else value,
        json_schema_input_type=dict[int, str] | list[int],
    ),
    Field(min_length=1),
]


def _number_or_none(value: Any) -> Any:
    if isinstance(value, str) and value != "none":
        raise ValueError("write a number, or none")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)


class RasterBand(_Model):
    """One band of the images: a file for each date, or a layer of one."""

    file: str | None = None
    """Text that `{band}` in the pattern stands for; the name of the band if not given."""
    layer: Annotated[int, Field(ge=1)] | None = None
    """Number of the band in its file, from 1 on."""
    pixel: Pixel | None = None
    """Size of the pixels in metres, where it differs from `rasters.pixel`."""
    kind: Literal["value", "reflectance", "power", "temperature"] = "value"
    """What the numbers are, for pictures; `power` (linear) is shown in dB."""
    classes: Flags | None = None
    """Codes of classes, with their names or as a list: signatures count the pixels of each. 0 is no class."""
    bits: Flags | None = None
    """Numbers of bits, 0 (the lowest) to 7, with their names or as a list."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Physical value = number in the file * `scale` + `offset`."""
    offset: float | None = None
    nodata: Annotated[float | Literal["none"] | None, BeforeValidator(_number_or_none)] = None
    """Number of pixels without data; as the file says if not given; `none` if there is none. NaN never is a value."""
    valid: tuple[float, float] | None = None
    """Least and greatest physical value; others are no data. Needed for fractions and negative values."""
    strict: bool = False
    """Values beyond `valid` fail their date, instead of being no data."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Difference of two values that the cube can tell apart: `scale`, or what the range allows, if not given."""
    units: str = "1"
    title: str = ""
    """What the band is, for readers of the cube."""
    common_name: str = ""
    """`red`, `green`, `blue`, `nir`, … of STAC, for pictures and `max_ndvi`; the band's name where it is one."""

    @model_validator(mode="after")
    def _sound(self) -> RasterBand:
        if self.classes is not None and self.bits is not None:
            raise ValueError("a band holds either classes or bits")
        flags = self.classes or self.bits
        if flags and any(value is not None for value in (self.scale, self.offset, self.valid, self.step)):
            raise ValueError("scale, offset, valid and step have no meaning for classes and bits; remove them")
        if self.classes is not None and 0 in self.classes:
            raise ValueError(
                "class 0 cannot be told from pixels without data: give it another code in the files, or, for a mask "
                "of 0 and 1, write `valid: [0, 1]` instead of classes; the mean is then the share of 1"
            )
        if self.bits is not None and max(self.bits) > 7:
            raise ValueError("bits are 0 to 7; a cube holds the lowest eight")
        if self.valid is not None and not self.valid[0] < self.valid[1]:
            raise ValueError("valid is [LEAST, GREATEST]")
        self.stored("band", 1)
        return self

    def stored(self, name: str, pixel_m: int) -> Band:
        """How the cube holds it."""
        title, flags = self.title or name, tuple(sorted((self.classes or self.bits or {}).items()))
        if flags:
            kind: Kind = "bits" if self.bits else "class"
            return Band(name, pixel_m, kind, (pixel_m,), dtype="uint8", long_name=title, flags=flags, beyond="refuse")
        offset = self.offset or 0.0
        if self.valid is None:
            found = plain_coding(self.scale or 1.0, offset, self.step, self.nodata)
        else:
            found = coding(self.valid, self.scale, offset, self.step)
        return Band(
            name,
            pixel_m,
            self.kind,
            (pixel_m,),
            long_name=title,
            common_name=self.common_name or (name.lower() if name.lower() in _COMMON else ""),
            scale=found.scale,
            offset=found.offset,
            units=self.units,
            valid=(1, found.most),
            beyond="refuse" if self.valid is None or self.strict else "leave out",
            axis=_AXES.get(self.kind, "" if self.units == "1" else f", {self.units}"),
        )


class RasterMask(_Model):
    """Which pixels reductions leave out unless told otherwise: by classes or bits of one of the bands."""

    band: str
    exclude: Annotated[list[int], Field(min_length=1)]
    """Codes of classes, or numbers of bits."""
    cloudy: list[int] | None = None
    """Those of clouds, for `cube.skip_cloudy`, pictures and the distance from clouds; `exclude` if not given."""


@dataclass(frozen=True, slots=True)
class RasterReading:
    """What pixels depend on besides files: what their numbers mean."""

    digest: str

    @property
    def key(self) -> list[Any]:
        """The digest of the options."""
        return [self.digest]


class RasterOptions(SensorOptions):
    """A folder of dated GeoTIFF files: what their names say, and which bands there are."""

    pattern: str
    """Names of the files: `{date}_{band}.tif`, `{date:%Y}/S2_{tile}_{date:%Y%m%d}.tif`. `*` is any text."""
    bands: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,30}$")], RasterBand | None], Field(min_length=1)
    ]
    """By name; `ndvi:` alone holds whole numbers from 0 on."""
    pixel: Pixel | None = None
    """Size of the images' pixels in metres; only needed where they are not resampled (`grid: native`)."""
    mask: RasterMask | None = None
    """Pixels to leave out; none if not given."""
    source: Annotated[str, Field(min_length=1, max_length=80)] = "Images"
    """What the images are, in captions: `Landsat mosaics`."""

    @model_validator(mode="after")
    def _sound(self) -> RasterOptions:
        if len({name.lower() for name in self.bands}) < len(self.bands):
            raise ValueError("two bands have names that differ in upper and lower case only; rename one")
        has_band = self.files_named.has_band
        for name, band in self._bands():
            if not has_band and band.file is not None:
                raise ValueError(f"band {name}: file is the text of {{band}}, which the pattern does not have")
            if not has_band and band.layer is None and len(self.bands) > 1:
                raise ValueError(f"band {name} needs its layer: the pattern has no {{band}}, so bands share files")
        if self.mask is not None:
            self._require_mask(self.mask)
        return self

    def _require_mask(self, mask: RasterMask) -> None:
        flags = dict(self.made.bands[mask.band].flags) if mask.band in self.bands else {}
        if not flags:
            raise ValueError(f"mask.band is {mask.band}, which is no band with classes or bits")
        unknown = [flag for flag in (*mask.exclude, *(mask.cloudy or ())) if flag not in flags]
        if unknown:
            raise ValueError(f"mask names {unknown[0]}, which is not among the classes or bits of band {mask.band}")

    def _bands(self) -> list[tuple[str, RasterBand]]:
        return [(name, band or RasterBand()) for name, band in self.bands.items()]

    @cached_property
    def files_named(self) -> Pattern:
        """Names of the files."""
        return Pattern(self.pattern, tuple(dict.fromkeys(band.file or name for name, band in self._bands())))

    @cached_property
    def made(self) -> Rasters:
        """Images with these bands."""
        files = tuple(self._file(name, band) for name, band in self._bands())
        digest = digest_json([self.pattern, _numbers(files)])[:16]
        sized = all(band.pixel or self.pixel for _, band in self._bands())
        return Rasters(self.files_named, files, self._mask(files), self.source, digest, sized)

    def _file(self, name: str, band: RasterBand) -> BandFile:
        flags = bool(band.classes or band.bits)
        return BandFile(
            band.stored(name, band.pixel or self.pixel or 1),
            (band.file or name) if self.files_named.has_band else "",
            band.layer or 1,
            band.scale or 1.0,
            band.offset or 0.0,
            band.nodata,
            takes_fractions=flags or any(value is not None for value in (band.valid, band.step, band.scale)),
            says_scale=flags or band.scale is not None or band.offset is not None,
        )

    def _mask(self, files: Sequence[BandFile]) -> MaskBand | None:
        if self.mask is None:
            return None
        band = next((file.band for file in files if file.band.name == self.mask.band), None)
        if band is None:
            return None
        exclude, cloudy = tuple(self.mask.exclude), tuple(self.mask.cloudy or self.mask.exclude)
        return MaskBand(band, exclude, cloudy, cloudy, (), band.resolutions_m)

    def sensor(self, general: Sensor) -> Sensor:
        """Images with these bands."""
        return self.made

    def reading(self, level: str, resolve: Callable[[Path], Path], contents: Mapping[str, str]) -> RasterReading:
        """What numbers mean, and which pixels count as cloud where windows are left out for clouds."""
        mask = self.made.mask
        return RasterReading(digest_json([_numbers(self.made.files), mask and [mask.name, mask.clouds]])[:16])

    def choose(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """Scenes that were read with these options; those of earlier options are of files that are gone."""
        reason = "its files are gone, and `scenes.rasters` has changed since they were read"
        chosen = [scene for scene in scenes if scene.details == self.made.digest]
        others = [scene for scene in scenes if scene.details != self.made.digest]
        return chosen, [Dropped(scene.id, reason, "scenes.rasters") for scene in others]


def _numbers(files: Sequence[BandFile]) -> list[Any]:
    """Where numbers lie, what they mean and how they are stored."""
    return [
        [
            *[file.band.name, file.file, file.layer, file.scale, file.offset, file.nodata],
            *[file.band.scale, file.band.offset, file.band.valid, file.band.beyond],
            [code for code, _ in file.band.flags],
            file.band.kind == "bits",
        ]
        for file in files
    ]
