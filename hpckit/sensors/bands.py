"""Bands: what a raster holds and how its numbers are stored, whichever sensor measured it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal[
    "reflectance", "class", "bits", "aot", "wvp", "probability", "power", "coherence", "angle", "temperature", "value"
]

_REF: Final = re.compile(r"(?P<name>\w+)(?:@(?P<size>[1-9]\d{0,4})m)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Band:
    """A raster that products carry, and how a cube stores it."""

    name: str
    """As in the file name: `B04`, `B8A`, `SCL`, `VV`, `COH_VV`."""
    native_m: int
    """Pixel size of the instrument in metres; of derived rasters, the finest one."""
    kind: Kind
    resolutions_m: tuple[int, ...]
    """All pixel sizes in metres at which a product carries it, the native one first."""
    wavelength_nm: int | None = None
    """Central wavelength."""
    common_name: str = ""
    """As the STAC extension eo has it: `red`, `nir`."""
    dtype: str = "uint16"
    """Data type in the cube."""
    nodata: int | None = 0
    """Stored integer that is no value; None if every integer is one. A cube fills what it lacks with 0."""
    scale: float = 1.0
    """Physical value = stored integer * `scale` + `offset`."""
    offset: float = 0.0
    units: str = "1"
    """Of physical values, for readers of the cube."""
    long_name: str = ""
    valid: tuple[int, int] | None = None
    """Least and greatest stored integer that is a value, where the cube states them."""
    beyond: Literal["clip", "leave out", "refuse"] = "clip"
    """What happens to numbers of a file beyond `valid`: they become the nearest one that is stored, or no data, or
    their date fails. Other than with `clip`, 0 in a file is a number like any other."""
    flags: tuple[tuple[int, str], ...] = ()
    """Of `class` the codes, of `bits` the numbers of the bits (the lowest is 0), with their meanings."""
    axis: str = ""
    """What follows its name at the axis of a plot: ` reflectance`, `, dB`."""

    @property
    def is_categorical(self) -> bool:
        """Whether it holds classes or bits, of which no mean can be made."""
        return self.kind in ("class", "bits")

    @property
    def is_mask(self) -> bool:
        """Whether it tells about the other bands: such bands are never interpolated nor left out for clouds."""
        return self.is_categorical or self.kind == "probability"


@dataclass(frozen=True, slots=True, order=True)
class BandRef:
    """A band at a pixel size, written `B04` (native) or `B04@60m`."""

    name: str
    resolution_m: int
    band: Band = field(compare=False, repr=False)
    """What the band is."""

    @classmethod
    def from_key(cls, key: str, bands: Mapping[str, Band]) -> BandRef:
        """What `key` gave, of some bands.

        Raises
        ------
        KeyError
            If none of them has the name.
        """
        name, size = split_key(key)
        return cls(name, size, bands[name])

    @property
    def key(self) -> str:
        """`B04@10m`: the key of an asset of a scene."""
        return f"{self.name}@{self.resolution_m}m"

    @property
    def group(self) -> str:
        """`r10m`: the group of a cube's tile that holds it."""
        return f"r{self.resolution_m}m"

    @property
    def coding(self) -> tuple[float, float]:
        """Scale and offset from the cube's integers to physical units."""
        return self.band.scale, self.band.offset

    @property
    def dtype(self) -> str:
        """Data type in the cube."""
        return self.band.dtype

    def at(self, resolution_m: int) -> BandRef:
        """The band at another pixel size."""
        return BandRef(self.name, resolution_m, self.band)

    def __str__(self) -> str:
        """`B04` at native resolution, else `B04@60m`."""
        return self.name if self.resolution_m == self.band.native_m else self.key


def split_key(key: str) -> tuple[str, int]:
    """Name and pixel size of `BandRef.key`."""
    name, _, size = key.partition("@")
    return name, int(size.removesuffix("m"))


def with_same_pixels(keys: Iterable[str], ref: BandRef, bands: Mapping[str, Band]) -> Iterator[BandRef]:
    """Other bands of reflectance that have the pixels of a band.

    Parameters
    ----------
    keys : iterable of str
        `BandRef.key` of those that there are.
    bands : mapping of str to Band
        All of the sensor.
    """
    others = (BandRef.from_key(key, bands) for key in keys)
    return (
        other
        for other in others
        if other != ref and other.resolution_m == ref.resolution_m and other.band.kind == "reflectance"
    )


def parse_ref(
    text: str,
    bands: Mapping[str, Band],
    *,
    of: str,
    pixel_m: int | None = None,
    spelt: Callable[[str], str] = str.upper,
    sizes: Callable[[Band], tuple[int, ...]] = lambda band: band.resolutions_m,
) -> BandRef:
    """Read `B04` or `B04@60m`, or `red`: a band by its common name, where that is of one band only.

    Parameters
    ----------
    bands : mapping of str to Band
        Those that products can have.
    of : str
        Whose bands they are, for messages: `Sentinel-2`.
    pixel_m : int, optional
        Size of the pixels that bands are resampled onto, metres: what `B04` stands for then, and `B04@30m` is
        possible. Without it the pixel sizes are those of the products.
    spelt : callable
        Name of a band as it is usually spelt.
    sizes : callable
        Pixel sizes in metres at which products carry a band, the usual one first.

    Raises
    ------
    ValueError
        If there is no such band, or not at that pixel size.
    """
    match = _REF.fullmatch(text.strip())
    band = None if match is None else _named(match["name"], bands, spelt)
    if match is None or band is None:
        first = next(iter(bands.values()))
        example = f"{first.name} or {first.name}@{sizes(first)[-1]}m"
        raise ValueError(f"{text!r} is no {of} band; bands are {', '.join(bands)}, as in {example}")
    size = int(match["size"]) if match["size"] else pixel_m or sizes(band)[0]
    if pixel_m is None and size not in sizes(band):
        raise ValueError(f"{band.name} does not come at {size} m in {of}; it comes at {sizes(band)} m")
    return BandRef(band.name, size, band)


def _named(name: str, bands: Mapping[str, Band], spelt: Callable[[str], str]) -> Band | None:
    if spelt(name) in bands:
        return bands[spelt(name)]
    common = [band for band in bands.values() if band.common_name == name.lower()]
    return common[0] if len(common) == 1 else None
