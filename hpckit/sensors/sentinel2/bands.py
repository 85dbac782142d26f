"""The rasters of Sentinel-2 products: names, native resolutions, meanings.

Source: Products Specification Document (S2-PDGS-TAS-DI-PSD), and real products.
"""

from __future__ import annotations

import re
from typing import Final

from hpckit.sensors.bands import Band, BandRef, parse_ref
from hpckit.sensors.masks import MaskBand

WINDOW: Final = {10: 1024, 20: 640, 60: 192}
"""Edge in pixels of the internal JP2 tiles of a band, by resolution in metres."""

CHUNK: Final = {10: 256, 20: 160, 60: 96}
"""Edge in pixels of a chunk in a cube, by resolution in metres."""

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


def _reflectance(name: str, native_m: int, resolutions_m: tuple[int, ...], wavelength_nm: int, common: str) -> Band:
    return Band(
        name,
        native_m,
        "reflectance",
        resolutions_m,
        wavelength_nm,
        common,
        scale=1e-4,
        offset=-DN_OFFSET * 1e-4,
        long_name=f"reflectance, band {name}",
        valid=(1, 65535),
        axis=" reflectance",
    )


def _probability(name: str, long_name: str) -> Band:
    return Band(
        name,
        20,
        "probability",
        (20, 60),
        dtype="uint8",
        nodata=None,
        units="percent",
        long_name=long_name,
        axis=" percent",
    )


BANDS: Final = {
    band.name: band
    for band in (
        _reflectance("B01", 60, (60, 20), 443, "coastal"),
        _reflectance("B02", 10, (10, 20, 60), 492, "blue"),
        _reflectance("B03", 10, (10, 20, 60), 560, "green"),
        _reflectance("B04", 10, (10, 20, 60), 665, "red"),
        _reflectance("B05", 20, (20, 60), 704, "rededge"),
        _reflectance("B06", 20, (20, 60), 741, "rededge"),
        _reflectance("B07", 20, (20, 60), 783, "rededge"),
        _reflectance("B08", 10, (10,), 833, "nir"),
        _reflectance("B8A", 20, (20, 60), 865, "nir08"),
        _reflectance("B09", 60, (60,), 945, "nir09"),
        _reflectance("B10", 60, (60,), 1374, "cirrus"),
        _reflectance("B11", 20, (20, 60), 1614, "swir16"),
        _reflectance("B12", 20, (20, 60), 2202, "swir22"),
        Band(
            "SCL",
            20,
            "class",
            (20, 60),
            dtype="uint8",
            long_name="scene classification",
            flags=tuple(sorted(SCL_CLASSES.items())),
            axis=" percent",
        ),
        Band(
            "AOT",
            10,
            "aot",
            (10, 20, 60),
            scale=1e-3,
            long_name="aerosol optical thickness",
            axis=" aerosol optical thickness",
        ),
        Band(
            "WVP",
            10,
            "wvp",
            (10, 20, 60),
            scale=1e-3,
            units="cm",
            long_name="water vapour",
            axis=" water vapour, cm",
        ),
        _probability("CLD", "cloud probability"),
        _probability("SNW", "snow probability"),
    )
}
"""Bands by name, with the wavelengths of Sentinel-2A. B01 is also at 20 m since baseline 04.00; B10 is in Level-1C
only. Resolutions are those of Level-2A."""

L1C_RESOLUTION: Final = {name: band.native_m for name, band in BANDS.items() if band.kind == "reflectance"}
"""Level-1C carries every band once, at its native resolution."""

SCL: Final = MaskBand(
    BANDS["SCL"],
    hide=(0, 1, 3, 8, 9, 10, 11),  # nodata, saturated, shadow, clouds, cirrus, snow
    spread=(3, 8, 9, 10),  # shadow, clouds, cirrus
    clouds=(8, 9, 10),  # of medium and high probability, and cirrus
    empty=(0,),
    quickest=(60, 20),
)
"""The scene classification as a mask."""


def parse_band(text: str, *, level: str = "L2A", pixel_m: int | None = None) -> BandRef:
    """Read `B04` or `B04@60m`; `B4` is taken for `B04`.

    Raises
    ------
    ValueError
        If there is no such band, or not at that resolution, in products of the level.
    """
    if level != "L1C":
        _refuse(text, ("B10",), "B10 is not in Level-2A products; use Level-1C")
        return parse_ref(text, BANDS, of="Sentinel-2", pixel_m=pixel_m, spelt=_spelt)
    for name in BANDS.keys() - L1C_RESOLUTION.keys():
        _refuse(text, (name,), f"{name} is not in Level-1C products; use Level-2A")
    return parse_ref(
        text, BANDS, of="Sentinel-2 L1C", pixel_m=pixel_m, spelt=_spelt, sizes=lambda band: (band.native_m,)
    )


def _refuse(text: str, names: tuple[str, ...], message: str) -> None:
    if _spelt(text.strip().partition("@")[0]) in names:
        raise ValueError(message)


def _spelt(name: str) -> str:
    name = name.upper()
    return f"B{int(name[1:]):02d}" if re.fullmatch(r"B\d{1,3}", name) else name
