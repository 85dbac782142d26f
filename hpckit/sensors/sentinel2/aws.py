"""Tiles of Sentinel-2 in the layout of the open data on AWS, `tiles/55/H/FA/2020/10/11/0`.

The granule's metadata lie in `metadata.xml`, images are named by band alone (Level-2A in folders by resolution), and
what the product is stands in `tileInfo.json`, `productInfo.json`, and the product's own metadata where someone kept
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from hpckit.errors import SceneError
from hpckit.inputs.files import Files
from hpckit.sensors.model import Level
from hpckit.sensors.sentinel2.bands import BANDS, L1C_RESOLUTION
from hpckit.sensors.sentinel2.metadata import Granule, Product, parse_product

GRANULE: Final = "metadata.xml"
_TILE: Final = "tileInfo.json"
_PRODUCT: Final = "productInfo.json"
_PRODUCT_XML: Final = ("product_metadata.xml", "product/metadata.xml")
_NAME: Final = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL(?P<level>1C|2A)_(?P<start>\d{8}T\d{6})_N(?P<baseline>\d{4})_R(?P<orbit>\d{3})_"
    r"T(?P<tile>\d{2}[A-Z]{3})_\d{8}T\d{6}"
)
_OLD_NAME: Final = re.compile(
    r"(?P<platform>S2[A-Z])_OPER_PRD_MSIL(?P<level>1C)_.{4}_\d{8}T\d{6}_R(?P<orbit>\d{3})_V(?P<start>\d{8}T\d{6})_\d{8}T\d{6}"
)
"""Of products before December 2016, which have several granules."""
_IMAGE: Final = re.compile(r"(?:R(?P<res>\d\d)m/)?(?P<band>B\d\d|B8A|SCL|AOT|WVP)\.jp2")
_PROBABILITY: Final = re.compile(r"qi/(?P<band>CLD|SNW)_(?P<res>\d\d)m\.jp2")
_OFFSET: Final = -1000
"""Of all reflectance bands from baseline 04.00 on."""


def is_tile(names: Collection[str]) -> bool:
    """Whether a folder with these entries is a tile in that layout."""
    return GRANULE in names and _TILE in names


def read_parts(files: Files, granule: Granule) -> tuple[Product, Level]:
    """What is known of the product that a tile belongs to, and its level.

    Raises
    ------
    SceneError
        If no file names the product.
    """
    known = next((name for name in _PRODUCT_XML if name in files), None)
    if known is not None:
        product = parse_product(known, files.read(known))
        return product, "L1C" if "_MSIL1C_" in product.uri else "L2A"
    told = {name: _json(files, name) for name in (_TILE, _PRODUCT) if name in files}
    named = str(told[_TILE].get("productName") or told.get(_PRODUCT, {}).get("name") or "")
    match = _match(named.removesuffix(".SAFE"), granule, told.get(_PRODUCT, {}))
    if match is None:
        raise SceneError(
            f"incomplete: {_TILE} names no product of tile {granule.tile}",
            hint="fetch productInfo.json or the product's metadata beside it",
        )
    return _from_name(match, granule, told.get(_PRODUCT, {})), "L1C" if match["level"] == "1C" else "L2A"


def assets(files: Files, level: Level) -> dict[str, str]:
    """Files by band and resolution.

    Raises
    ------
    SceneError
        If there are none.
    """
    found = {}
    for name in files.names():
        match = _IMAGE.fullmatch(name) or _PROBABILITY.fullmatch(name)
        if match and files.size(name) > 0:
            band = match["band"]
            sizes = (
                (L1C_RESOLUTION[band],) if level == "L1C" and band in L1C_RESOLUTION else BANDS[band].resolutions_m
            )
            resolution = int(match["res"]) if match["res"] else sizes[0] if level == "L1C" else 0
            if resolution in sizes:
                found[f"{band}@{resolution}m"] = name
    if not found:
        raise SceneError("incomplete: none of its image files is there")
    return found


def _match(name: str, granule: Granule, told: Mapping[str, Any]) -> re.Match[str] | None:
    """Parts of a product's name; None if it is not of the granule."""
    match = _NAME.fullmatch(name)
    if match is not None:
        return match if match["tile"] == granule.tile else None
    strips = told.get("datastrips")
    listed = {strip.get("id") for strip in strips if isinstance(strip, dict)} if isinstance(strips, list) else set()
    return _OLD_NAME.fullmatch(name) if granule.datastrip in (listed or {granule.datastrip}) else None


def _from_name(match: re.Match[str], granule: Granule, told: dict[str, Any]) -> Product:
    baseline = _baseline(match, granule)
    orbit = re.search(r"_A(\d{6})_", granule.identifier)
    datatake = str(told.get("datatakeIdentifier") or "")
    if not datatake:
        datatake = f"G{match['platform']}_{match['start']}_{orbit[1] if orbit else '000000'}_N{baseline}"
    return Product(
        uri=match[0],
        baseline=baseline,
        datatake=datatake,
        platform=match["platform"],
        relative_orbit=int(match["orbit"]),
        quantification=10000.0,
        offsets=dict.fromkeys(L1C_RESOLUTION, _OFFSET) if 4 <= float(baseline) < 99 else {},
        cloud_cover=None,
        images=[],
    )


def _baseline(match: re.Match[str], granule: Granule) -> str:
    """Processing baseline; before December 2016, only identifiers of granules have it.

    Raises
    ------
    SceneError
        If the granule's has none.
    """
    if match.re is _NAME:
        return f"{match['baseline'][:2]}.{match['baseline'][2:]}"
    found = re.search(r"_N(\d\d\.\d\d)$", granule.identifier)
    if found is None:
        raise SceneError(f"{GRANULE}: the granule's identifier {granule.identifier!r} has no processing baseline")
    return found[1]


def _json(files: Files, name: str) -> dict[str, Any]:
    try:
        content = json.loads(files.read(name))
    except (ValueError, RecursionError):
        raise SceneError(f"{name} is no complete JSON") from None
    return content if isinstance(content, dict) else {}
