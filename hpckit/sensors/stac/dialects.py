"""How catalogues describe products of Sentinel-2 and Sentinel-1 in STAC items: data, one entry for each of them.

Sources: items of each catalogue, and what their users found out about offsets (Element84/earth-search issues 9, 66,
71; microsoft/PlanetaryComputer issue 134).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Rule = Literal["declared", "flag", "baseline"]
"""What tells the offset of reflectance: the item, a property that says that it was subtracted from the pixels
already, or the processing baseline alone."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Items of one catalogue, or of one program."""

    name: str
    marks: tuple[str, ...]
    """Properties of which an item has one."""
    rule: Rule
    flags: tuple[str, ...] = ()
    """Of the rule `flag`: properties that are true if the offset was subtracted from the pixels."""
    collections: tuple[str, ...] = ()
    """Only items of these collections; any if there are none."""


DIALECTS: Final = (
    # Items declare -0.1 where it was subtracted from the pixels already.
    Dialect(
        "Earth Search",
        ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied", "sentinel:product_id"),
        "flag",
        flags=("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"),
    ),
    Dialect(
        "Earth Search, Collection 1",
        ("s2:product_uri",),
        "declared",
        collections=("sentinel-2-c1-l2a", "s2_l2a_c1", "sentinel-2-l1c"),
    ),
    Dialect("Planetary Computer", ("s2:mgrs_tile",), "baseline"),
    Dialect("Copernicus Data Space", ("eopf:datatake_id",), "declared"),
    Dialect("stactools", ("s2:product_uri", "s2:tile_id"), "declared"),
)
"""The first that fits counts."""

PRODUCT_NAMES: Final = ("s2:product_uri", "sentinel:product_id")
"""Properties that hold the name of ESA's product."""

COMMON_NAMES: Final = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "rededge071": "B05",
    "rededge075": "B06",
    "rededge078": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
    "scl": "SCL",
    "aot": "AOT",
    "wvp": "WVP",
    "cloud": "CLD",
    "snow": "SNW",
}
"""Band by the common name that is the key of an asset."""

RADAR_MARKS: Final = ("sar:instrument_mode", "sar:product_type", "sar:polarizations", "s1:datatake_id")
"""Properties of which every item of a product of Sentinel-1 has one; results of computations have none."""

RADAR_KEY: Final = re.compile(
    r"(?:(?:gamma|sigma)0?[-_])?(?P<band>vv|vh|hh|hv)(?:[-_](?:rtc|gamma0|sigma0|[gs]-lin))?", re.IGNORECASE
)
"""Keys of assets: `vv` (raw GRD of all catalogues, RTC of the Planetary Computer), `vv-rtc` (its first items),
`gamma0_vv` (stactools, RTC on Amazon), `vv-g-lin` (S1-NRB)."""

RADAR_ANGLE: Final = re.compile(r"incidence(?:[-_]angle)?|local[-_]inciden(?:t|ce)[-_]angle|ei", re.IGNORECASE)
"""Keys of assets of incidence angles, in degrees."""

SOURCE_NAMES: Final = ("s1:product_identifier", "sentinel:product_ids")
"""Properties that hold names of the products of ESA, of which that of the item was made."""

_OURS: Final = re.compile(r"sentinel[-_ ]?2|s2[a-z]?$", re.IGNORECASE)
_RADAR: Final = re.compile(r"sentinel[-_ ]?1|s1[a-z]?$", re.IGNORECASE)
_ESA: Final = re.compile(r"(?P<band>B\d\d|B8A|SCL|AOT|WVP|CLD|SNW)(?:_\d\dm)?")
_TWIN: Final = re.compile(r"[-_]jp2$")
"""Ending of the key of an asset that is the original of a converted one: its pixels are as ESA made them."""


def dialect_of(item: Mapping[str, Any]) -> Dialect | None:
    """Dialect of an item; None if it is of no known one."""
    properties = item.get("properties")
    if not isinstance(properties, Mapping) or not isinstance(item.get("assets"), Mapping):
        return None
    for dialect in DIALECTS:
        fits = not dialect.collections or item.get("collection") in dialect.collections
        if fits and any(mark in properties for mark in dialect.marks):
            return dialect
    return None


def other_mission(item: Mapping[str, Any]) -> str:
    """Mission that an item names, if it is another one than Sentinel-2; empty if not, or if it names none."""
    properties = item.get("properties")
    if not isinstance(properties, Mapping):
        return ""
    told = [properties.get(name) for name in ("constellation", "platform")]
    named = [text for text in told if isinstance(text, str) and text]
    return "" if any(_OURS.match(text) for text in named) else next(iter(named), "")


def is_radar(item: Mapping[str, Any]) -> bool:
    """Whether an item is of a product of Sentinel-1."""
    properties = item.get("properties")
    if not isinstance(properties, Mapping) or not any(mark in properties for mark in RADAR_MARKS):
        return False
    return any(_RADAR.match(str(properties.get(name))) for name in ("constellation", "platform"))


def band_of_key(key: str) -> str | None:
    """Band that the key of an asset names; None for previews, metadata and the like."""
    plain = _TWIN.sub("", key)
    match = _ESA.fullmatch(plain)
    return match["band"] if match else COMMON_NAMES.get(plain)


def is_original(key: str) -> bool:
    """Whether an asset is the original beside a converted one."""
    return bool(_TWIN.search(key))
