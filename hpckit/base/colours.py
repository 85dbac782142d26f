"""Colours that pictures, the viewer and the layer styles of stores share."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

VERMILION: Final = "#c8500a"
"""What failed; zone outlines."""

NDVI_COLOURS: Final = (
    (-0.3, "#4d6f94"),
    (0.0, "#e4dfd6"),
    (0.2, "#e6cf9c"),
    (0.4, "#b9c46a"),
    (0.6, "#6da044"),
    (0.8, "#2b7a3a"),
    (1.0, "#0b4a2c"),
)
"""Water, bare, sparse, dense: lightness falls steadily above zero, so that it reads in grey too."""

VALID_COLOURS: Final = ((0.0, "#f7f4ec"), (0.5, "#9fb9cf"), (1.0, "#1f4e79"))
"""From nothing seen to all seen; lightness falls steadily."""

CATEGORY_COLOURS: Final = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee7733",
    "#009988",
    "#999933",
    "#882255",
    "#88ccee",
    "#ddaa33",
)
"""Kinds that have no order: Paul Tol's colours for every kind of colour vision."""


def between(colours: tuple[tuple[float, str], ...], value: float) -> str:
    """Colour of a value on a ramp of values and colours (`#rrggbb`); beyond its ends, that of the end."""
    for (low, first), (high, last) in pairwise(colours):
        if value <= high:
            share = min(1.0, max(0.0, (value - low) / (high - low)))
            mixed = (round(a + (b - a) * share) for a, b in zip(_rgb(first), _rgb(last), strict=True))
            return "#" + "".join(f"{part:02x}" for part in mixed)
    return colours[-1][1]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
