"""What hpckit knows of a Sentinel-1 product beyond a scene: orbit, radiometry, and where its raster lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
from affine import Affine

OrbitState = Literal["ascending", "descending"]
Radiometry = Literal["dn", "sigma0", "gamma0", "coherence"]

_REFERENCE_ORBIT: Final = {"S1A": 73, "S1B": 27, "S1C": 172}
"""Absolute orbit whose relative number is 1, modulo 175 (manifests of real products of each satellite)."""

ESA_NAME: Final = re.compile(
    r"(?P<platform>S1[A-Z])_(?P<mode>IW|EW|WV|S[1-6])_(?P<type>GRD[FHM]|SLC_|RTC_|NRB_)_1S(?P<pol>[SD][HV])_"
    r"(?P<start>\d{8}T\d{6})(?:_(?P<stop>\d{8}T\d{6}))?_(?P<orbit>\d{6})_(?P<datatake>[0-9A-F]{6})"
    r"(?:_(?P<tile>\d{2}[A-Z]{3}))?(?:_(?P<unique>[0-9A-F]{4}))?",
    re.IGNORECASE,
)
"""Names of ESA products (Sentinel-1 Product Specification S1-RS-MDA-52-7441) and of those that keep them."""


@dataclass(frozen=True, slots=True)
class Radar:
    """The part of a scene that only Sentinel-1 has."""

    mode: str
    """`IW`, `EW`, `S1`, …"""
    polarisations: tuple[str, ...]
    radiometry: Radiometry
    """What a pixel is: `dn` (uncalibrated amplitude), linear `sigma0` or `gamma0`, or `coherence`."""
    orbit_state: OrbitState
    absolute_orbit: int
    """0 where the product does not tell."""
    start: datetime
    """Start of the frame, UTC."""
    stop: datetime
    shape: tuple[int, int]
    """Rows and columns of the raster."""
    crs: str = ""
    """`EPSG:32631`, or WKT; empty for a raster in radar geometry."""
    transform: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """Affine transform of the raster, in the units of its CRS."""
    incidence: tuple[float, float] | None = None
    """Incidence angle at near and far range, degrees."""
    bands: Mapping[str, int] = field(default_factory=dict)
    """Number of a band in its file, where that is not 1."""

    @property
    def geocoded(self) -> bool:
        """Whether the raster lies in a CRS; if not, it is in radar geometry."""
        return bool(self.crs)

    @property
    def affine(self) -> Affine:
        """Transform from (column, row) to the CRS."""
        return Affine(*self.transform)

    @property
    def pixel_m(self) -> float:
        """Edge of a pixel in metres."""
        edge = float(np.hypot(self.transform[0], self.transform[3]))
        return edge if abs(edge) >= 0.1 else edge * 111_320  # a geographic CRS has degrees

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "mode": self.mode,
            "polarisations": list(self.polarisations),
            "radiometry": self.radiometry,
            "orbit_state": self.orbit_state,
            "absolute_orbit": self.absolute_orbit,
            "start": self.start.isoformat(),
            "stop": self.stop.isoformat(),
            "shape": list(self.shape),
            "crs": self.crs,
            "transform": list(self.transform),
            "incidence": None if self.incidence is None else list(self.incidence),
            "bands": dict(self.bands),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Radar:
        """What `to_json` gave."""
        rows, columns = values["shape"]
        incidence = values["incidence"]
        return cls(
            **{name: values[name] for name in ("mode", "radiometry", "orbit_state", "absolute_orbit", "crs")},
            polarisations=tuple(values["polarisations"]),
            start=datetime.fromisoformat(values["start"]),
            stop=datetime.fromisoformat(values["stop"]),
            shape=(rows, columns),
            transform=tuple(values["transform"]),
            incidence=None if incidence is None else (incidence[0], incidence[1]),
            bands=dict(values["bands"]),
        )


def relative_orbit(platform: str, absolute_orbit: int) -> int:
    """Relative orbit number, 1 to 175; 0 for a satellite whose reference is not known here."""
    reference = _REFERENCE_ORBIT.get(platform)
    return 0 if reference is None or absolute_orbit <= 0 else (absolute_orbit - reference) % 175 + 1


def orbit_state_at(moment: datetime, longitude: float) -> OrbitState:
    """Direction of flight by the local solar time: Sentinel-1 flies north at dusk and south at dawn.

    For products that tell nothing else. Right between 75 degrees south and north.
    """
    hours = moment.hour + moment.minute / 60 + longitude / 15
    return "ascending" if hours % 24 >= 12 else "descending"


def pass_id(platform: str, state: OrbitState, datatake: str, absolute_orbit: int, start: datetime) -> str:
    """What all frames of one pass share: by the datatake, or else the orbit, or else the day."""
    key = datatake.upper() if datatake else f"{absolute_orbit:06d}" if absolute_orbit else f"{start:%Y%m%d}"
    return f"{platform}_{state[:3].upper()}_{key}"


def polarisations_of(code: str) -> tuple[str, ...]:
    """Polarisations of the code in a product's name: `DV` is VV and VH, `SH` is HH."""
    code = code.upper()
    own = code[1] * 2
    return (own, f"{code[1]}{'H' if code[1] == 'V' else 'V'}") if code[0] == "D" else (own,)


def moment(text: str) -> datetime:
    """UTC time in the forms that names and metadata have: `20200510T054213`, ISO 8601, `10-MAY-2020 05:42:13.12`."""
    compact = text.strip().removesuffix("Z")
    if re.fullmatch(r"\d{8}[Tt]\d{6}", compact):
        return datetime.strptime(compact.upper(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    match = re.fullmatch(r"(\d{1,2}-[A-Za-z]{3}-\d{4} \d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?", compact)
    if match:
        whole = datetime.strptime(match[1].title(), "%d-%b-%Y %H:%M:%S")
        return whole.replace(microsecond=int((match[2] or "0").ljust(6, "0")), tzinfo=UTC)
    parsed = datetime.fromisoformat(compact.replace(" ", "T", 1))
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
