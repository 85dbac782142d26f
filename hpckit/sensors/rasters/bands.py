"""How cubes store the bands of images: integers from 1 on, in steps that keep whole numbers as they are."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final, Literal, NamedTuple

from hpckit.sensors.bands import Band

MOST: Final = 65535
"""Values that a cube can tell apart: 1 to 65535, since 0 is no data."""
_SLACK: Final = 1e-6
"""Of a step, by which decimal fractions err."""


@dataclass(frozen=True, slots=True)
class BandFile:
    """Where the numbers of a band lie, what they mean, and how they are stored."""

    band: Band
    file: str
    """Text of `{band}` in the names of its files."""
    layer: int
    scale: float
    """Physical value = number in the file * `scale` + `offset`."""
    offset: float
    nodata: float | Literal["none"] | None
    """Number in the file that is no value; None where the file says it."""
    takes_fractions: bool
    """Whether it is known in which steps fractions are stored."""
    says_scale: bool
    """Whether the campaign states scale or offset; else a file must not state others."""


class Coding(NamedTuple):
    """How physical values are stored: value = stored integer * `scale` + `offset`."""

    scale: float
    offset: float
    most: int
    """Greatest stored integer; the least is 1."""


def plain_coding(scale: float, offset: float, step: float | None, nodata: object) -> Coding:
    """Coding of numbers whose range is not known: those from 0 on, or from 1 on where 0 is nodata."""
    size = step or scale
    least = offset + (scale if nodata == 0 else 0)
    return Coding(size, _tidy(least - size), MOST)


def coding(valid: tuple[float, float], scale: float | None, offset: float, step: float | None = None) -> Coding:
    """Coding of values in a range.

    Parameters
    ----------
    valid : tuple of float
        Least and greatest physical value.
    scale : float, optional
        Of the numbers in files, where these are whole: then each of them is stored as it is.
    offset : float
        Of the numbers in files.
    step : float, optional
        Difference of neighbouring stored values. If not given: `scale`; else the least of 1, 2 or 5 times a power of
        ten with which the range can be stored, of which whole numbers are multiples up to 65 534.

    Raises
    ------
    ValueError
        If the range has more steps than a cube can tell apart.
    """
    size = step or scale
    if size is None:
        return _finest(valid, offset)
    found = _aligned(valid, size, offset if step is None else 0.0)
    if found.most > MOST:
        raise ValueError(
            f"valid has {found.most - 1} steps of {size:g}, and a cube stores {MOST - 1}: "
            f"write a narrower range, or `step: {_finest(valid, offset).scale:g}`"
        )
    return found


def _finest(valid: tuple[float, float], offset: float) -> Coding:
    power = floor(log10((valid[1] - valid[0]) / (MOST - 1))) - 1
    while True:
        for digit in (1, 2, 5):
            found = _aligned(valid, _tidy(digit * 10.0**power), offset if float(offset).is_integer() else 0.0)
            if found.most <= MOST:
                return found
        power += 1


def _aligned(valid: tuple[float, float], size: float, origin: float) -> Coding:
    """Coding with values at multiples of `size` from `origin`, which a range begins and ends between."""
    least = ceil((valid[0] - origin) / size - _SLACK)
    greatest = floor((valid[1] - origin) / size + _SLACK)
    return Coding(size, _tidy(origin + (least - 1) * size), greatest - least + 1)


def _tidy(value: float) -> float:
    """Without the digits that arithmetic with decimal fractions adds."""
    return float(f"{value:.12g}")
