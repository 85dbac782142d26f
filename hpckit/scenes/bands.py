"""The rasters of Sentinel products: names, native resolutions, meanings.

Source for Sentinel-2: Products Specification Document (S2-PDGS-TAS-DI-PSD), and real products. Sentinel-1 has one
raster per polarisation; its products have no fixed grid, so its bands come at the resolution that is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["reflectance", "class", "aot", "wvp", "probability", "power", "coherence", "angle"]

WINDOW: Final = {10: 1024, 20: 640, 60: 192}
"""Edge in pixels of the internal JP2 tiles of a band, by resolution in metres."""

RASTER: Final = {10: 10980, 20: 5490, 60: 1830}
"""Edge in pixels of a full granule, by resolution in metres."""

DN_OFFSET: Final = 1000
"""Offset with which every baseline is stored in a cube: reflectance = (DN - 1000) / 10000."""

SCL_CLASSES: Final = {
    0: "no data",
    1: "saturated or defective",
    2: "dark area",
    3: "cloud shadow",
    4: "vegetation",
    5: "bare soil",
    6: "water",
    7: "unclassified",
    8: "cloud medium probability",
    9: "cloud high probability",
    10: "thin cirrus",
    11: "snow",
}
"""Scene classification of Level-2A."""

CLOUDY_CLASSES: Final = (0, 1, 3, 8, 9, 10, 11)
"""SCL classes that are left out unless told otherwise: nodata, saturated, shadow, clouds, cirrus, snow."""

SPREADING_CLASSES: Final = (3, 8, 9, 10)
"""SCL classes whose surroundings are suspect too: shadow, clouds, cirrus."""


@dataclass(frozen=True, slots=True)
class Band:
    """A raster that a product carries."""

    name: str
    """As in the file name: `B04`, `B8A`, `SCL`; `CLD` and `SNW` for the probabilities; `VV`, `COH_VV` of radar."""
    native_m: int
    """Finest resolution in metres at which a Level-2A product carries it."""
    kind: Kind
    resolutions_m: tuple[int, ...]
    """All resolutions at which a Level-2A product carries it."""
    wavelength_nm: int | None = None
    """Central wavelength of Sentinel-2A."""


BANDS: Final = {
    band.name: band
    for band in (
        Band("B01", 20, "reflectance", (20, 60), 443),
        Band("B02", 10, "reflectance", (10, 20, 60), 492),
        Band("B03", 10, "reflectance", (10, 20, 60), 560),
        Band("B04", 10, "reflectance", (10, 20, 60), 665),
        Band("B05", 20, "reflectance", (20, 60), 704),
        Band("B06", 20, "reflectance", (20, 60), 741),
        Band("B07", 20, "reflectance", (20, 60), 783),
        Band("B08", 10, "reflectance", (10,), 833),
        Band("B8A", 20, "reflectance", (20, 60), 865),
        Band("B09", 60, "reflectance", (60,), 945),
        Band("B10", 60, "reflectance", (60,), 1374),
        Band("B11", 20, "reflectance", (20, 60), 1614),
        Band("B12", 20, "reflectance", (20, 60), 2202),
        Band("SCL", 20, "class", (20, 60)),
        Band("AOT", 10, "aot", (10, 20, 60)),
        Band("WVP", 10, "wvp", (10, 20, 60)),
        Band("CLD", 20, "probability", (20, 60)),
        Band("SNW", 20, "probability", (20, 60)),
        Band("VV", 10, "power", (10, 20)),
        Band("VH", 10, "power", (10, 20)),
        Band("HH", 10, "power", (10, 20)),
        Band("HV", 10, "power", (10, 20)),
        Band("COH_VV", 20, "coherence", (20, 10)),
        Band("COH_VH", 20, "coherence", (20, 10)),
        Band("INC", 20, "angle", (20, 10)),
    )
}
"""Bands by name. B01 exists at 20 m since baseline 04.00 only; B10 is in Level-1C only."""

L1C_RESOLUTION: Final = {
    name: 60 if name in ("B01", "B09", "B10") else band.native_m
    for name, band in BANDS.items()
    if band.kind == "reflectance"
}
"""Level-1C carries every band once, at its native resolution."""

RADAR_LEVELS: Final = ("GRD", "CARD-BS", "CARD-COH6", "RTC", "NRB")
"""Product levels of Sentinel-1, as campaigns and catalogues name them."""

RADAR_SCALE: Final = {"power": 1e-4, "coherence": 1e-4, "angle": 1e-2}
"""Physical units per stored integer of Sentinel-1 bands; 0 is nodata. Power is linear, angles are in degrees."""

CODING: Final[dict[str, tuple[float, float]]] = {
    "reflectance": (1e-4, -DN_OFFSET * 1e-4),
    "aot": (1e-3, 0.0),
    "wvp": (1e-3, 0.0),
    "probability": (1.0, 0.0),
    **{kind: (scale, 0.0) for kind, scale in RADAR_SCALE.items()},
}
"""Scale and offset from stored integers to physical units, by kind of band."""

_BAND_REF = re.compile(
    r"^(?P<name>B0?\d{1,2}|B8A|SCL|AOT|WVP|CLD|SNW|COH_V[VH]|[HV][HV]|INC)(?:@(?P<res>[1-9]\d{0,4})m)?$"
)


@dataclass(frozen=True, slots=True, order=True)
class BandRef:
    """A band at a resolution, written `B04` (native) or `B04@60m`."""

    name: str
    resolution_m: int

    @classmethod
    def parse(cls, text: str, *, level: str | None = None, pixel_m: int | None = None) -> BandRef:
        """Read `B04` or `B04@60m`; `B4` is taken for `B04`.

        Parameters
        ----------
        level : str, optional
            Of the products, `L2A` or `GRD`; without it any band of Level-2A or of Sentinel-1 will do.
        pixel_m : int, optional
            Size of the pixels that bands are resampled onto, metres: what `B04` stands for then, and `B04@30m` is
            possible. Without it resolutions are those of the products.

        Raises
        ------
        ValueError
            If there is no such band, or not at that resolution.
        """
        match = _BAND_REF.match(text.strip().upper().replace("M", "m"))
        level = level or _level_of(match["name"] if match else "")
        if match is None:
            raise ValueError(f"{text!r} is no {_mission(level)} band; {_listed(level)}, as in {_example(level)}")
        name = match["name"]
        if name not in BANDS:
            name = f"B{int(name[1:]):02d}"
        if name not in BANDS:
            raise ValueError(f"{text!r} is no {_mission(level)} band; {_listed(level)}")
        native = _resolution(name, None if pixel_m else match["res"], level)
        return cls(name, int(match["res"] or pixel_m) if pixel_m else native)

    @property
    def band(self) -> Band:
        """What the band is."""
        return BANDS[self.name]

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
        return CODING.get(self.band.kind, (1.0, 0.0))

    @property
    def dtype(self) -> str:
        """Data type in the cube."""
        return "uint8" if self.band.kind in ("class", "probability") else "uint16"

    def __str__(self) -> str:
        """`B04` at native resolution, else `B04@60m`."""
        return self.name if self.resolution_m == self.band.native_m else self.key


def is_radar(level: str) -> bool:
    """Whether products of a level are Sentinel-1's."""
    return level in RADAR_LEVELS


def _level_of(name: str) -> str:
    """A level whose products have a band."""
    kind = BANDS[name].kind if name in BANDS else ""
    return "CARD-COH6" if kind == "coherence" else "RTC" if kind in RADAR_SCALE else "L2A"


def bands_of(level: str) -> list[str]:
    """Names of the bands that products of a level can have."""
    if level == "CARD-COH6":
        return [name for name, band in BANDS.items() if band.kind == "coherence"]
    if is_radar(level):
        return [name for name, band in BANDS.items() if band.kind in ("power", "angle")]
    return [name for name, band in BANDS.items() if band.kind not in RADAR_SCALE]


def _mission(level: str) -> str:
    return f"Sentinel-1 {level}" if is_radar(level) else "Sentinel-2"


def _listed(level: str) -> str:
    return f"bands are {', '.join(bands_of(level))}"


def _example(level: str) -> str:
    return f"{bands_of(level)[0]} or {bands_of(level)[0]}@20m" if is_radar(level) else "B04 or B04@60m"


def _resolution(name: str, text: str | None, level: str) -> int:
    band = BANDS[name]
    if name not in bands_of(level):
        raise ValueError(f"{name} is no {_mission(level)} band; {_listed(level)}")
    if level == "L1C":
        if name not in L1C_RESOLUTION:
            raise ValueError(f"{name} is not in Level-1C products; use Level-2A")
        available: tuple[int, ...] = (L1C_RESOLUTION[name],)
    else:
        if name == "B10":
            raise ValueError("B10 is not in Level-2A products; use Level-1C")
        available = band.resolutions_m
    resolution = int(text) if text else available[0]
    if resolution not in available:
        raise ValueError(f"{name} does not come at {resolution} m in {level}; it comes at {available} m")
    return resolution
