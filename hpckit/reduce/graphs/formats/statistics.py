"""Statistics of bands, collected window by window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hpckit.processgraph.cube import Values
from hpckit.reduce.graphs.formats.arrange import Layout
from hpckit.reduce.graphs.formats.result import BandOfFile, Statistics

_SOME: Final = 1 << 18
"""Numbers that are added at once, which fit the caches of a processor."""


class Collected:
    """Count, extremes and moments of the finite numbers that were added.

    Moments of parts are joined as Chan, Golub and LeVeque do (1979), so that large means cost no digits.
    """

    def __init__(self) -> None:
        self._pixels = self._valid = 0
        self._least, self._most = math.inf, -math.inf
        self._mean = self._squares = 0.0

    def add(self, values: Values) -> None:
        """Add the numbers of a part."""
        flat = values.reshape(-1)
        for first in range(0, flat.size, _SOME):
            self._add(flat[first : first + _SOME])

    def _add(self, values: Values) -> None:
        self._pixels += values.size
        numbers = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if not numbers.size:
            return
        self._least = min(self._least, float(numbers.min()))
        self._most = max(self._most, float(numbers.max()))
        mean = float(numbers.mean(dtype="f8"))
        squares = float(np.square(numbers - np.float64(mean)).sum())
        both, apart = self._valid + numbers.size, mean - self._mean
        self._squares += squares + apart * apart * self._valid * numbers.size / both
        self._mean += apart * numbers.size / both
        self._valid = both

    def result(self) -> Statistics:
        """Statistics of all that was added; the deviation is that of the population."""
        if not self._valid:
            return Statistics(None, None, None, None, 0.0)
        stddev = math.sqrt(self._squares / self._valid)
        percent = 100 * self._valid / self._pixels
        return Statistics(self._least, self._most, self._mean, stddev, percent)


def described(
    layout: Layout, bands: Sequence[int], dtype: np.dtype[Any], collected: Sequence[Collected]
) -> tuple[BandOfFile, ...]:
    """Bands of a file, by their positions in the cube, with their statistics."""
    nodata = float("nan") if dtype.kind == "f" else None
    return tuple(
        BandOfFile(
            layout.names_of_bands[band],
            dtype.name,
            nodata,
            one.result(),
            layout.known_of(band).common_name,
            layout.known_of(band).wavelength,
        )
        for band, one in zip(bands, collected, strict=True)
    )
