"""Bands that tell which pixels to leave out: classes, one number each, or bits that may be set together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.sensors.bands import Band

CLEAR: Final = 0.5
"""Share of valid pixels from which an observation of a zone counts as clear."""


@dataclass(frozen=True, slots=True)
class MaskBand:
    """The mask of a sensor; its flags are codes of classes, or numbers of bits, of which the lowest is 0."""

    band: Band
    """Of the kind `class` or `bits`."""
    hide: tuple[int, ...]
    """Flags that reductions leave out unless told otherwise."""
    spread: tuple[int, ...]
    """Flags whose surroundings are suspect too, as those of clouds."""
    clouds: tuple[int, ...]
    """Flags that count as cloud where a window is left out for its clouds, and in pictures."""
    empty: tuple[int, ...]
    """Flags of pixels without data."""
    quickest: tuple[int, ...]
    """Pixel sizes in metres at which products may have it, the one that decodes fastest first."""

    @property
    def name(self) -> str:
        """Name of the band."""
        return self.band.name


def flagged(band: Band, values: npt.NDArray[Any], flags: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Pixels that have one of some flags.

    Parameters
    ----------
    band : Band
        Of the kind `class` or `bits`.
    values : ndarray of unsigned integers
        Pixels of the band, of its data type.
    flags : iterable of int
        Codes, or numbers of bits.
    """
    table = _table(band.kind == "bits", np.dtype(band.dtype).itemsize, tuple(flags))
    found: npt.NDArray[np.bool_] = table[values]
    return found


def counts(band: Band, histogram: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pixels that have each flag of a band, in the order of `Band.flags`.

    Parameters
    ----------
    histogram : ndarray, shape (zones, values)
        Pixels of each value.
    """
    codes = [code for code, _ in band.flags]
    if band.kind != "bits":
        return histogram[:, codes]
    values = np.arange(histogram.shape[1])
    return np.stack([histogram[:, values >> bit & 1 == 1].sum(axis=1) for bit in codes], axis=1)


@lru_cache(maxsize=64)
def _table(is_bits: bool, itemsize: int, flags: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Whether a value has one of the flags, by value."""
    values = np.arange(2 ** (8 * itemsize))
    found = np.zeros(len(values), dtype=np.bool_)
    for flag in flags:
        if is_bits:
            found |= values >> flag & 1 == 1
        elif flag < len(found):
            found[flag] = True
    return found
