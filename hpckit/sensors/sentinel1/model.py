"""What hpckit knows of a Sentinel-1 product beyond a scene: orbit and radiometry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from hpckit.sensors.model import Scene

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
    """The part of a scene that only Sentinel-1 has: its `details`."""

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
    incidence: tuple[float, float] | None = None
    """Incidence angle at near and far range, degrees."""


def radar_of(scene: Scene) -> Radar:
    """What only Sentinel-1 has of a scene.

    Raises
    ------
    TypeError
        If it is of another sensor.
    """
    if not isinstance(scene.details, Radar):
        raise TypeError(f"{scene.id} is no Sentinel-1 scene")
    return scene.details


def frame_id(radar: Radar) -> str:
    """Name of a frame in its pass, the same for every processing of it: when it began."""
    return f"{radar.start:%Y%m%dT%H%M%S}"


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
