"""What names of Sentinel-1 products tell: ESA's, and those of series that are made from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from hpckit.sensors.sentinel1.model import ESA_NAME, polarisations_of

_TERRASCOPE: Final = re.compile(
    r"(?P<platform>S1[A-Z])_(?P<mode>IW|EW)_GRD[HM]_(?P<what>SIGMA0|GAMMA0)_(?P<pol>[SD][VH])_"
    r"(?P<start>\d{8}T\d{6})_(?P<state>ASCENDING|DESCENDING)_(?P<relative>\d{1,3})_",
    re.IGNORECASE,
)
_S1TILING: Final = re.compile(
    r"(?P<platform>s1[a-z])_(?P<tile>\d{2}[a-z]{3})_(?P<band>vv|vh|hh|hv|pol)_(?P<state>ASC|DES)_(?P<relative>\d{1,3})_"
    r"(?P<start>\d{8}t(?:\d{6}|x{6}))",
    re.IGNORECASE,
)
_INDIGO: Final = re.compile(
    r"(?P<platform>S1[A-Z])_(?P<start>\d{8})_(?P<tile>\d{1,2}[A-Z]{3})_(?P<state>ASC|DSC)", re.I
)
_NRB_FILE: Final = re.compile(
    r"(?P<platform>s1[a-z])-(?P<mode>iw|ew|s\d)-nrb-(?P<start>\d{8}t\d{6})-(?P<orbit>\d{6})-(?P<datatake>[0-9a-f]{6})-"
    r"(?P<tile>\d{2}[a-z]{3})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What one source tells of a product; empty, 0 or None is what it does not tell."""

    identifier: str = ""
    platform: str = ""
    mode: str = ""
    polarisations: tuple[str, ...] = ()
    start: str = ""
    stop: str = ""
    absolute_orbit: int = 0
    relative_orbit: int = 0
    datatake: str = ""
    state: str = ""
    """`ascending` or `descending`."""
    radiometry: str = ""
    version: str = ""
    incidence: tuple[float, float] | None = None
    footprint: Any = None

    def over(self, other: Told) -> Told:
        """Fill what is lacking from another source."""
        lacking = {item.name: getattr(other, item.name) for item in fields(self) if not getattr(self, item.name)}
        return replace(self, **lacking)


def from_name(*names: str) -> Told:
    """What the first of the names that is known tells; the others fill what it lacks."""
    told = Told()
    for name in names:
        for found in _matches(name):
            told = told.over(found)
        told = told.over(Told(radiometry=_radiometry(name)))
    return told


def _matches(name: str) -> Iterator[Told]:
    for pattern in (ESA_NAME, _TERRASCOPE, _S1TILING, _NRB_FILE, _INDIGO):
        match = pattern.search(name)
        if match is not None:
            yield _told(match, is_esa=pattern is ESA_NAME)


def _told(match: re.Match[str], *, is_esa: bool) -> Told:
    parts = {key: value or "" for key, value in match.groupdict().items()}
    start = parts.get("start", "").upper()
    if len(start) == 8:
        start += "T000000"
    return Told(
        identifier=match[0].upper() if is_esa else "",
        platform=parts["platform"].upper(),
        mode=parts.get("mode", "").upper(),
        polarisations=polarisations_of(parts["pol"]) if parts.get("pol") else (),
        start=start.replace("TXXXXXX", "T000000"),
        stop=parts.get("stop", "").upper(),
        absolute_orbit=int(parts.get("orbit") or 0),
        relative_orbit=int(parts.get("relative") or 0),
        datatake=parts.get("datatake", "").upper(),
        state={"A": "ascending", "D": "descending"}.get(parts.get("state", "")[:1].upper(), ""),
    )


def _radiometry(name: str) -> str:
    lower = name.lower()
    for word in ("gamma0", "sigma0"):
        if word in lower:
            return word
    if re.search(r"(?:vv|vh|hh|hv)-g-lin", lower):
        return "gamma0"
    if re.search(r"(?:vv|vh|hh|hv)-s-lin", lower):
        return "sigma0"
    return "gamma0" if re.search(r"[._-]rtc\b|_rtc_", lower) else ""
