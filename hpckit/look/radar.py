"""Radar in pictures: power in decibels, ascending and descending passes apart.

Statistics are made of linear power and only shown in dB: the mean of dB is not the dB of the mean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hpckit.look.style import BLUE

if TYPE_CHECKING:
    import pandas as pd

Layer = npt.NDArray[np.float32]

ASCENDING: Final = BLUE
DESCENDING: Final = "#b5651d"
"""Tells from blue in print and for the colour-blind."""

_LEAST: Final = 1e-5
"""Power that is shown as the lowest, -50 dB: far below the instrument's noise."""


def decibels(power: Layer) -> Layer:
    """Ten times the decimal logarithm of power; NaN stays."""
    return np.asarray(10 * np.log10(np.maximum(power, _LEAST)), dtype=np.float32)


def in_decibels(frame: pd.DataFrame) -> pd.DataFrame:
    """Statistics of a series in dB: each value by itself, the deviation as what it adds to the mean."""
    shown = frame.copy()
    if "std" in frame:
        shown["std"] = _db(frame["mean"] + frame["std"]) - _db(frame["mean"])
    for column in frame.columns:
        if column in ("mean", "min", "max") or re.fullmatch(r"p\d+(\.\d+)?", str(column)):
            shown[column] = _db(frame[column])
    return shown


def directions(frame: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Parts of a series by direction of flight: name, colour, rows; none where passes have none."""
    if "acquisition" not in frame:
        return []
    told = frame["acquisition"].astype(str).str.extract(r"^[^_]+_(ASC|DES)_", expand=False)
    parts = [
        ("ascending", ASCENDING, frame[told == "ASC"]),
        ("descending", DESCENDING, frame[told == "DES"]),
    ]
    return [part for part in parts if not part[2].empty]


def _db(values: pd.Series) -> npt.NDArray[np.float64]:
    return np.asarray(10 * np.log10(values.clip(lower=_LEAST)), dtype=np.float64)
