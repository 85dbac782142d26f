"""Layer styles that stores keep for QGIS: which there are, and which rows of a table of styles are ours.

A row is ours if its description says so and its style is the one that was described: whoever changes one in QGIS has
a style of their own from then on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpckit.base.files import digest
from hpckit.store import qml

_OURS: Final = re.compile(r"\(hpckit ([0-9a-f]{12})\)$")


@dataclass(frozen=True, slots=True)
class LayerStyle:
    """A style of one layer."""

    layer: str
    """Name of the table or view."""
    name: str
    text: str
    """For people."""
    qml: str
    is_default: bool

    @property
    def description(self) -> str:
        """Text for people, and what tells that the row is ours."""
        return f"{self.text} (hpckit {_mark(self.qml)})"


@dataclass(frozen=True, slots=True)
class StyleRow:
    """A row that a table of styles has of a layer."""

    number: int
    name: str | None
    is_default: bool | None
    description: str | None
    qml: str | None

    @property
    def is_ours(self) -> bool:
        """Whether hpckit wrote it, and nobody changed it."""
        found = _OURS.search(self.description or "")
        return found is not None and found.group(1) == _mark(self.qml or "")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done so that our rows of a layer are the styles that are wanted."""

    removed: list[int]
    changed: list[tuple[int, LayerStyle, bool]]
    """Number of the row, its new style, and whether it is the default."""
    added: list[tuple[LayerStyle, bool]]


def changes(rows: Sequence[StyleRow], wanted: Sequence[LayerStyle]) -> Changes:
    """Compare the rows of a layer with the styles that are wanted; rows of others stay, and their default too."""
    ours = {row.name: row for row in rows if row.is_ours}
    theirs = [row for row in rows if not row.is_ours]
    is_free = not any(row.is_default for row in theirs)
    found = Changes([], [], [])
    kept = set()
    for style in wanted:
        row, default = ours.get(style.name), style.is_default and is_free
        if row is not None:
            kept.add(row.number)
            if (row.qml, row.description, bool(row.is_default)) != (style.qml, style.description, default):
                found.changed.append((row.number, style, default))
        elif style.name not in {row.name for row in theirs}:
            found.added.append((style, default))
    found.removed.extend(row.number for row in rows if row.is_ours and row.number not in kept)
    return found


def zone_styles(layer: str, crops: Mapping[str, int], field: str = "id") -> list[LayerStyle]:
    """Styles of a layer of zones.

    Parameters
    ----------
    crops : mapping of str to int
        Number of zones by crop; none if it is unknown.
    field : str
        Field with the zones' identifiers.
    """
    found = [LayerStyle(layer, "outlines", "Zones with their identifiers", qml.outlines(field), not crops)]
    if crops:
        order = sorted(crops, key=lambda crop: (-crops[crop], crop))
        found.insert(0, LayerStyle(layer, "crop", "Zones by crop", qml.categories("crop", order), True))
    return found


def latest_styles(layer: str, ndvi: str | None, fraction: str = "valid_fraction") -> list[LayerStyle]:
    """Styles of a view of the latest clear observations.

    Parameters
    ----------
    ndvi : str, optional
        Field or expression with NDVI, where there is one.
    fraction : str
        Field or expression with the share of valid pixels.
    """
    valid = qml.valid_fraction(fraction)
    found = [LayerStyle(layer, "valid fraction", "Share of valid pixels", valid, ndvi is None)]
    if ndvi is not None:
        text = "NDVI of the latest clear observation"
        found.insert(0, LayerStyle(layer, "NDVI", text, qml.ndvi(ndvi), True))
    return found


def shown_band(bands: Sequence[str]) -> str:
    """Band that decides which observation of a zone is clear: NDVI, or else the first one."""
    return next((band for band in bands if band.upper() == "NDVI"), bands[0])


def _mark(style: str) -> str:
    return digest(style.encode())[:12]
