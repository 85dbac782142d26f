"""The metadata files of a product, read safely: no entities, no network, clear words for what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from hpckit.base.xmltext import parse_xml
from hpckit.errors import SceneError

Read = Callable[[str], bytes]
"""Reads a file of a product by its path relative to the SAFE folder."""

_BAND_IDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands by the `band_id` of the metadata (the instrument's order)."""
_IMAGES: Final = ("IMAGE_FILE", "IMAGE_FILE_2A", "IMAGE_ID", "IMAGE_ID_2A")


class Metadata:
    """One XML file; elements are found by local name, since namespaces change with the baseline."""

    def __init__(self, name: str, data: bytes) -> None:
        self._root = parse_xml(name, data)
        self._name = name

    def text(self, *tags: str) -> str:
        """Text of the first element that has one of these names, the first name first.

        Raises
        ------
        SceneError
            If there is none.
        """
        found = self.optional(*tags)
        if found is None:
            raise SceneError(f"{self._name} has no {tags[0]}")
        return found

    def optional(self, *tags: str) -> str | None:
        """Text of the first element that has one of these names and is not empty, the first name first."""
        for tag in tags:
            for element in self._elements(tag):
                if element.text and element.text.strip():
                    return str(element.text).strip()
        return None

    def matching(self, tag: str, pattern: str) -> str:
        """Text of the first element of that name, which must match.

        Raises
        ------
        SceneError
            If there is none, or it does not match.
        """
        found = self.text(tag)
        if not re.fullmatch(pattern, found, re.ASCII):
            raise SceneError(f"{self._name}: {tag} is {found!r}")
        return found

    def texts(self, tag: str) -> list[str]:
        """Texts of all elements of that name."""
        return [str(element.text).strip() for element in self._elements(tag) if element.text]

    def number(self, *tags: str) -> float | None:
        """Number in the first element that has one of these names; None if there is none."""
        found = self.optional(*tags)
        return None if found is None else self._float(tags[0], found)

    def attribute(self, tag: str, name: str) -> str | None:
        """Attribute of the first element of that name that has it."""
        for element in self._elements(tag):
            if name in element.attrib:
                return str(element.attrib[name])
        return None

    def attributes(self, tag: str, name: str) -> list[str]:
        """Attribute of all elements of that name that have it."""
        return [str(element.attrib[name]) for element in self._elements(tag) if name in element.attrib]

    def by_attribute(self, tag: str, name: str) -> dict[str, str]:
        """Texts of the elements of that name, by an attribute of theirs."""
        return {
            str(element.attrib[name]): str(element.text).strip()
            for element in self._elements(tag)
            if name in element.attrib and element.text
        }

    def texts_within(self, tags: Sequence[str], name: str, inner: str) -> dict[str, list[str]]:
        """Texts of all elements `inner` in elements of one of these names, by an attribute of theirs."""
        found: dict[str, list[str]] = {}
        for element in (element for tag in tags for element in self._elements(tag) if element.attrib.get(name)):
            texts = [str(child.text).strip() for child in element.iterfind(f".//{{*}}{inner}") if child.text]
            found.setdefault(str(element.attrib[name]), []).extend(texts)
        return found

    def children(self, tag: str, name: str) -> dict[str, dict[str, str]]:
        """Texts of the children of each element of that name, by an attribute of theirs."""
        return {
            str(element.attrib[name]): {etree.QName(child).localname: str(child.text).strip() for child in element}
            for element in self._elements(tag)
            if name in element.attrib
        }

    def elements(self, tag: str) -> list[Any]:
        """All elements of that name."""
        return list(self._elements(tag))

    def _elements(self, tag: str) -> Any:
        return self._root.iterfind(f".//{{*}}{tag}")

    def _float(self, tag: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise SceneError(f"{self._name}: {tag} is {text!r}, which is no number")
        return number


@dataclass(frozen=True, slots=True)
class Product:
    """What the metadata of a product tell: MTD_MSIL1C.xml, MTD_MSIL2A.xml, or files of longer names before 2017."""

    uri: str
    """Name of the product, `S2A_….SAFE`; empty where the metadata do not tell."""
    baseline: str
    datatake: str
    platform: str
    relative_orbit: int
    quantification: float
    offsets: dict[str, int]
    cloud_cover: float | None
    images: list[str]
    """Image files, relative to the SAFE folder, without extension in most baselines."""
    positions: str = ""
    """Outline of the data as the metadata have it: latitudes, longitudes, and heights in some products."""
    granules: Mapping[str, list[str]] = field(default_factory=dict)
    """Image files of each granule that is listed, by the granule's identifier."""


@dataclass(frozen=True, slots=True)
class Granule:
    """What the metadata of a granule tell, MTD_TL.xml."""

    tile: str
    identifier: str
    """`S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_T34LBQ_N04.00`."""
    datastrip: str
    sensed: datetime
    epsg: int
    ulx: float
    uly: float
    shapes: dict[int, tuple[int, int]]
    cloud_cover: float | None
    nodata: float | None


def parse_product(name: str, data: bytes) -> Product:
    """Parse the metadata of a product.

    Raises
    ------
    SceneError
        If the file is cut, or lacks something that is needed.
    """
    xml = Metadata(name, data)
    # Level-2A of 2017 and early 2018 (PSD 14.2) has names of its own for most elements.
    quantification = xml.number("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
    if quantification is None:
        quantification = 10000.0
    if quantification <= 0:
        raise SceneError(f"{name}: the quantification is {quantification}")
    offsets = xml.by_attribute("BOA_ADD_OFFSET", "band_id") or xml.by_attribute("RADIO_ADD_OFFSET", "band_id")
    images = next((tag for tag in _IMAGES if xml.texts(tag)), _IMAGES[0])
    return Product(
        uri=xml.optional("PRODUCT_URI", "PRODUCT_URI_2A") or "",
        baseline=xml.matching("PROCESSING_BASELINE", r"\d\d\.\d\d"),
        datatake=xml.attribute("Datatake", "datatakeIdentifier") or _missing(name, "Datatake"),
        platform=xml.matching("SPACECRAFT_NAME", "Sentinel-2[A-Z]").replace("Sentinel-", "S"),
        relative_orbit=int(xml.matching("SENSING_ORBIT_NUMBER", r"\d{1,3}")),
        quantification=quantification,
        offsets={_BAND_IDS[int(band)]: round(float(value)) for band, value in offsets.items() if float(value)},
        cloud_cover=xml.number("Cloud_Coverage_Assessment"),
        images=xml.texts(images),
        positions=xml.optional("EXT_POS_LIST") or "",
        granules=xml.texts_within(("Granule", "Granules"), "granuleIdentifier", images),
    )


def parse_granule(name: str, data: bytes) -> Granule:
    """Parse the metadata of a granule.

    Raises
    ------
    SceneError
        If the file is cut, or lacks something that is needed.
    """
    xml = Metadata(name, data)
    identifier = xml.text("TILE_ID", "TILE_ID_2A")
    tile = re.search(r"_T([0-9]{2}[A-Z]{3})(?:_|$)", identifier)
    sizes, corners = xml.children("Size", "resolution"), xml.children("Geoposition", "resolution")
    if tile is None or not {"10", "20", "60"} <= sizes.keys() or "10" not in corners:
        raise SceneError(f"{name} does not tell tile, size and position")
    cloud = xml.number("CLOUDY_PIXEL_PERCENTAGE")
    try:
        return Granule(
            tile=tile[1],
            identifier=identifier,
            datastrip=xml.text("DATASTRIP_ID", "DATASTRIP_ID_2A"),
            sensed=_moment(xml.text("SENSING_TIME")),
            epsg=_utm(xml.text("HORIZONTAL_CS_CODE")),
            ulx=_metres(corners["10"]["ULX"]),
            uly=_metres(corners["10"]["ULY"]),
            shapes={int(res): (_pixels(size["NROWS"]), _pixels(size["NCOLS"])) for res, size in sizes.items()},
            cloud_cover=cloud,
            nodata=xml.number("NODATA_PIXEL_PERCENTAGE"),
        )
    except (KeyError, ValueError) as error:
        raise SceneError(f"{name}: size, position or time is malformed ({error})") from None


def _missing(name: str, what: str) -> str:
    raise SceneError(f"{name} has no {what}")


def _utm(text: str) -> int:
    match = re.fullmatch(r"(?:EPSG:)?(32[67]\d\d)", text)
    if match is None:
        raise ValueError(f"{text!r} is no zone of UTM on WGS 84")
    return int(match[1])


def _pixels(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**16:
        raise ValueError(f"{text!r} is no number of pixels")
    return number


def _metres(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no position")
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
