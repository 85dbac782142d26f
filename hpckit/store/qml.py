"""Layer styles in QML, the language of QGIS: only what a style says; QGIS fills in the rest.

QGIS 3 from 3.20 reads them. https://docs.qgis.org/latest/en/docs/user_manual/appendices/qgis_file_formats.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final
from xml.etree import ElementTree as ET

from hpckit.base.colours import CATEGORY_COLOURS, NDVI_COLOURS, VALID_COLOURS, VERMILION, between

_NO_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EDGE: Final = "60,66,74,110"
_HAIR_MM: Final = "0.08"
_LABELS_FROM: Final = 10_000
"""Scale from which zones are labelled: 1 to this."""
_OTHERS: Final = "#c9ced4"
_NDVI_STEPS: Final = tuple(step / 10 for step in range(0, 10))


def ndvi(attribute: str) -> str:
    """Ramp of NDVI: a class for each tenth, in the colours of our pictures.

    Parameters
    ----------
    attribute : str
        Field or expression of QGIS.
    """
    bounds = [-1.0, *_NDVI_STEPS, 1.0]
    classes = [
        (low, high, between(NDVI_COLOURS, low + 0.05 if low >= 0 else NDVI_COLOURS[0][0]), f"{low:.1f} – {high:.1f}")
        for low, high in pairwise(bounds)
    ]
    classes[0] = (*classes[0][:3], "below 0")
    return _document(_graduated(attribute, classes))


def valid_fraction(attribute: str) -> str:
    """Ramp of the share of a zone's pixels that are valid: a class for each fifth."""
    bounds = [step / 5 for step in range(6)]
    classes = [
        (low, high, between(VALID_COLOURS, (low + high) / 2), f"{100 * low:.0f} – {100 * high:.0f} % valid")
        for low, high in pairwise(bounds)
    ]
    return _document(_graduated(attribute, classes))


def outlines(label: str) -> str:
    """Outlines without filling, and the field `label` beside them in close views."""
    renderer = ET.Element("renderer-v2", type="singleSymbol", symbollevels="0", enableorderby="0", forceraster="0")
    _symbols(renderer, [_fill("0", None, _rgba(VERMILION), "0.3")])
    return _document(renderer, label)


def categories(attribute: str, values: Sequence[str]) -> str:
    """A colour for each kind, and grey for all others; colours repeat after a dozen.

    Parameters
    ----------
    values : sequence of str
        Kinds in the order of the legend.
    """
    renderer = ET.Element(
        "renderer-v2", type="categorizedSymbol", attr=attribute, symbollevels="0", enableorderby="0", forceraster="0"
    )
    listed, symbols = ET.SubElement(renderer, "categories"), []
    kinds = [value for value in values if value and not _NO_XML.search(value)]
    for number, value in enumerate([*kinds, ""]):
        named = {"value": value, "label": value or "other or unknown", "symbol": str(number)}
        ET.SubElement(listed, "category", {**named, "render": "true", "type": "string"})
        colour = CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)] if value else _OTHERS
        symbols.append(_fill(str(number), _rgba(colour), _EDGE, _HAIR_MM))
    _symbols(renderer, symbols)
    return _document(renderer)


def _graduated(attribute: str, classes: Iterable[tuple[float, float, str, str]]) -> ET.Element:
    """Renderer with classes of lower bound, upper bound, colour and label."""
    renderer = ET.Element(
        "renderer-v2",
        type="graduatedSymbol",
        attr=attribute,
        graduatedMethod="GraduatedColor",
        symbollevels="0",
        enableorderby="0",
        forceraster="0",
    )
    ranges, symbols = ET.SubElement(renderer, "ranges"), []
    for number, (low, high, colour, label) in enumerate(classes):
        bounds = {"lower": f"{low:.6f}", "upper": f"{high:.6f}", "label": label}
        ET.SubElement(ranges, "range", {**bounds, "symbol": str(number), "render": "true"})
        symbols.append(_fill(str(number), _rgba(colour), _EDGE, _HAIR_MM))
    _symbols(renderer, symbols)
    return renderer


def _symbols(renderer: ET.Element, symbols: Iterable[ET.Element]) -> None:
    ET.SubElement(renderer, "symbols").extend(symbols)


def _fill(name: str, colour: str | None, edge: str, width_mm: str) -> ET.Element:
    """A symbol for polygons; without a colour only its edge."""
    symbol = ET.Element("symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
    options = ET.SubElement(layer, "Option", type="Map")
    settings = {
        "color": colour or "255,255,255,0",
        "style": "solid" if colour else "no",
        "outline_color": edge,
        "outline_style": "solid",
        "outline_width": width_mm,
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }
    for key, value in settings.items():
        ET.SubElement(options, "Option", type="QString", name=key, value=value)
    return symbol


def _document(renderer: ET.Element, label: str | None = None) -> str:
    parts = "Symbology" if label is None else "Symbology|Labeling"
    root = ET.Element("qgis", version="3.22.0", styleCategories=parts, labelsEnabled="0" if label is None else "1")
    root.append(renderer)
    if label is not None:
        root.append(_labels(label))
    for name, value in (("blendMode", "0"), ("featureBlendMode", "0"), ("layerOpacity", "1")):
        ET.SubElement(root, name).text = value
    ET.SubElement(root, "layerGeometryType").text = "2"
    return ET.tostring(root, encoding="unicode")


def _labels(field: str) -> ET.Element:
    labels = ET.Element("labeling", type="simple")
    settings = ET.SubElement(labels, "settings")
    style = ET.SubElement(
        settings,
        "text-style",
        fieldName=field,
        isExpression="0",
        fontFamily="Sans Serif",
        fontSize="8",
        fontSizeUnit="Point",
        textColor="29,39,51,255",
    )
    halo = {"bufferDraw": "1", "bufferSize": "0.7", "bufferSizeUnits": "MM", "bufferColor": "255,255,255,220"}
    ET.SubElement(style, "text-buffer", {**halo, "bufferOpacity": "1"})
    ET.SubElement(settings, "placement", placement="1", centroidInside="1")
    ET.SubElement(settings, "rendering", scaleVisibility="1", scaleMin="1", scaleMax=str(_LABELS_FROM))
    return labels


def _rgba(colour: str) -> str:
    """`#rrggbb` as QGIS writes it."""
    return ",".join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5)) + ",255"
