"""The rasters of Sentinel-1 products: one per polarisation.

The products have no fixed grid, so that bands come at the resolution that is asked for.
"""

from __future__ import annotations

from typing import Final

from hpckit.sensors.bands import Band, BandRef, Kind, parse_ref

LEVELS: Final = ("GRD", "CARD-BS", "CARD-COH6", "RTC", "NRB")
"""Product levels, as campaigns and catalogues name them."""

RADAR_SCALE: Final[dict[Kind, float]] = {"power": 1e-4, "coherence": 1e-4, "angle": 1e-2}
"""Physical units per stored integer; 0 is nodata. Power is linear, angles are in degrees."""

_NAMES: Final[dict[Kind, str]] = {
    "power": "linear backscatter power",
    "coherence": "coherence",
    "angle": "incidence angle",
}
_AXES: Final[dict[Kind, str]] = {"power": ", dB", "coherence": "", "angle": ", degrees"}


def _band(name: str, kind: Kind, resolutions_m: tuple[int, ...]) -> Band:
    return Band(
        name,
        resolutions_m[0],
        kind,
        resolutions_m,
        scale=RADAR_SCALE[kind],
        units="degree" if kind == "angle" else "1",
        long_name=f"{_NAMES[kind]}, {name}",
        valid=(1, 65535),
        axis=_AXES[kind],
    )


BANDS: Final = {
    band.name: band
    for band in (
        _band("VV", "power", (10, 20)),
        _band("VH", "power", (10, 20)),
        _band("HH", "power", (10, 20)),
        _band("HV", "power", (10, 20)),
        _band("COH_VV", "coherence", (20, 10)),
        _band("COH_VH", "coherence", (20, 10)),
        _band("INC", "angle", (20, 10)),
    )
}
"""Bands by name."""


def bands_of(level: str) -> dict[str, Band]:
    """Bands that products of a level can have."""
    coherence = level == "CARD-COH6"
    return {name: band for name, band in BANDS.items() if (band.kind == "coherence") == coherence}


def parse_band(text: str, *, level: str = "", pixel_m: int | None = None) -> BandRef:
    """Read `VV` or `VV@20m`.

    Raises
    ------
    ValueError
        If products of the level have no such band, or not at that resolution.
    """
    bands = bands_of(level) if level else BANDS
    return parse_ref(text, bands, of=f"Sentinel-1 {level}".rstrip(), pixel_m=pixel_m)
