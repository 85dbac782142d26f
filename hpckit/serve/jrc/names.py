"""JRC's names of bands, kinds of series and numbers, and those of hpckit."""

from __future__ import annotations

import re
from typing import Final

from hpckit.sensors.bands import Band
from hpckit.serve.problems import bad_value

STATISTICS: Final = ("mean", "std", "min", "p25", "p50", "p75", "max")
"""Columns of a series, in JRC's order."""
_KINDS: Final = {"s2": None, "bs": "power", "c6": "coherence", "c1": "coherence", "scl": "class"}
"""Series that clients ask for by `tstype`, and the kind of their bands; s2 has all other kinds."""
_RADAR: Final = frozenset({"power", "coherence"})
_SHORT: Final = re.compile(r"B(\d)")
_SUFFIX: Final = {"power": "b", "coherence": "c"}
_COHERENCE: Final = "COH_"
_REFLECTANCE: Final = 10_000.0
"""JRC's numbers of a reflectance of 1, without the offset of newer processing baselines."""


def series_kind(tstype: str) -> str:
    """Check `tstype`.

    Raises
    ------
    Problem
        400 if there is no such kind.
    """
    if tstype.lower() not in _KINDS:
        raise bad_value("tstype", f"there is s2, bs, c6, c1 and scl, not {tstype!r}")
    return tstype.lower()


def is_of(kind: str, band: Band) -> bool:
    """Whether a band belongs into a series."""
    if band.is_categorical:
        return kind == "scl" and band.kind == "class"
    return band.kind not in _RADAR if kind == "s2" else band.kind == _KINDS[kind]


def jrc_band(band: Band) -> str:
    """JRC's name of a band: `B04`, `SCL`; `VVb` of backscatter, `VVc` of coherence."""
    return band.name.removeprefix(_COHERENCE) + _SUFFIX.get(band.kind, "")


def own_band(text: str) -> str:
    """Our name of a band that a client calls `B4`, `B04`, `SC`, `VV`, `VVb` or `VVc`.

    Raises
    ------
    Problem
        400 if it is the name of no band.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]{1,16}", text):
        raise bad_value("band", "is no name of a band, such as B04")
    if match := _SHORT.fullmatch(text.upper()):
        return f"B0{match[1]}"
    if len(text) == 3 and text[:2] in ("VV", "VH", "HH", "HV") and text[2] in "bc":
        return text[:2] if text[2] == "b" else f"{_COHERENCE}{text[:2]}"
    return "SCL" if text.upper() == "SC" else text.upper()


def factor(band: Band | None) -> float:
    """By what values of hpckit are multiplied for JRC's clients: reflectance is in ten thousandths there."""
    return _REFLECTANCE if band is not None and band.kind == "reflectance" else 1.0
