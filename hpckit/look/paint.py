"""Colours of map tiles and chips: those of quicklooks, on scales that are one for all dates and all places.

A quicklook may stretch a band between its own percentiles. Map tiles beside each other must not, nor chips of a
calendar: a scale is that of the kind of band, or else is measured once in the clearest date of a campaign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.colours import NDVI_COLOURS
from hpckit.look.pixels import Layer as Values
from hpckit.look.png import Pixels, encode
from hpckit.look.quicklook import GAMMA, VISIBLE_RANGE, colours
from hpckit.look.radar import decibels
from hpckit.look.style import FAINT
from hpckit.sensors.bands import Band
from hpckit.sensors.sensor import Sensor

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Range = tuple[float, float]

_COLOURS: Final = 255
"""Of a ramp; one more place in the palette is that of no data."""
_RANGES: Final[dict[str, Range]] = {
    "nir": (0.0, 0.55),
    "nir08": (0.0, 0.55),
    "rededge": (0.0, 0.5),
    "swir16": (0.0, 0.5),
}
_KINDS: Final[dict[str, Range]] = {
    "reflectance": (0.0, 0.4),
    "probability": (0.0, 100.0),
    "coherence": (0.0, 1.0),
    "angle": (20.0, 50.0),
}
_CO_POLARISED: Final[Range] = (-22.0, 0.0)
_CROSS_POLARISED: Final[Range] = (-28.0, -8.0)
"""dB of farmland and towns; water is black."""


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture: places in a palette, or red, green, blue and opacity."""

    pixels: Pixels
    """Shape (rows, columns) or (rows, columns, 4)."""
    palette: Pixels | None = None

    @property
    def png(self) -> bytes:
        """The picture as PNG."""
        return encode(self.pixels, self.palette)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from the first to the last colour of a ramp, or from black to white."""

    low: float
    high: float
    palette: Pixels = field(repr=False)
    """Shape (256, 4): no data, then the colours."""

    def paint(self, values: Values) -> Painting:
        """Paint values; NaN is transparent."""
        return Painting(_places(values, self.low, self.high), self.palette)


def paint_rgb(layers: Sequence[Values], ranges: Sequence[Range]) -> Painting:
    """Paint three layers as red, green and blue; where one of them has no data, nothing is seen.

    Parameters
    ----------
    layers : sequence of three ndarray of float32, shape (rows, columns)
        Physical units, power in dB.
    ranges : sequence of two float
        From black to full colour, for each layer.
    """
    image = np.empty((*layers[0].shape, 4), np.uint8)
    nothing = np.zeros(layers[0].shape, np.bool_)
    for channel, (values, (low, high)) in enumerate(zip(layers, ranges, strict=True)):
        places = _places(values, low, high)
        nothing |= places == 0
        np.take(_gamma(), places, out=image[:, :, channel])
    image[:, :, 3] = 255
    image[nothing] = 0
    return Painting(image)


def paint_classes(codes: npt.NDArray[Any], band: Band) -> Painting:
    """Paint classes in their colours; 0 is transparent where it is no data, and those without a name are grey.

    Parameters
    ----------
    codes : ndarray of unsigned integers, shape (rows, columns)
    """
    if codes.dtype != np.uint8:
        codes = np.where(codes > 255, 255, codes).astype(np.uint8)
    return Painting(codes, class_palette(band))


@lru_cache(maxsize=32)
def class_palette(band: Band) -> Pixels:
    """Red, green, blue and opacity of each code."""
    from hpckit.look.classes import colours as of_classes

    palette = np.zeros((256, 4), np.uint8)
    palette[:] = _rgba(FAINT)
    for code, colour in of_classes(band).items():
        if code < len(palette):
            palette[code] = _rgba(colour)
    if band.nodata == 0 or all(code for code, _ in band.flags):
        palette[0] = 0
    return palette


def fixed_range(sensor: Sensor, band: Band) -> Range | None:
    """Range of a band that is the same for all campaigns; None where its values must be seen first."""
    if band.name in sensor.pictures.visible:
        return VISIBLE_RANGE
    if band.kind == "power":
        # Named after what is sent and what is received.
        return _CO_POLARISED if band.name[:1] == band.name[1:2] else _CROSS_POLARISED
    if band.kind == "reflectance" and band.common_name in _RANGES:
        return _RANGES[band.common_name]
    return _KINDS.get(band.kind)


def grey(low: float, high: float) -> Scale:
    """Black to white."""
    palette = np.zeros((256, 4), np.uint8)
    palette[1:, :3] = np.round(np.linspace(0, 255, _COLOURS))[:, None]
    palette[1:, 3] = 255
    return Scale(low, high, palette)


def ramp(sensor: Sensor, index: str, sample: Values, given: Range | None = None) -> Scale:
    """Colours of an index: NDVI's own, symmetric about zero, or one-sided, as of a quicklook.

    Parameters
    ----------
    sample : ndarray of float32
        Values that decide; any for NDVI.
    given : two float, optional
        Range instead of that of the values.
    """
    if index.upper() == "NDVI" and given is None:
        given = NDVI_COLOURS[0][0], NDVI_COLOURS[-1][0]
    found, low, high = colours(sensor, index, sample)
    low, high = given or (low, high)
    return Scale(low, high, _palette(found))


def shown(values: Values, band: Band | None) -> Values:
    """Backscatter in dB, all else as it is."""
    return decibels(values) if band is not None and band.kind == "power" else values


def legend(scale: Scale, count: int = 7) -> list[tuple[float, str]]:
    """Values and colours along a ramp, `#rrggbb`."""
    places = np.linspace(1, _COLOURS, count).round().astype(int)
    values = np.linspace(scale.low, scale.high, count)
    return [
        (float(value), "#" + bytes(scale.palette[place, :3]).hex())
        for value, place in zip(values, places, strict=True)
    ]


def _places(values: Values, low: float, high: float) -> Pixels:
    """Place in a palette: 0 for NaN, 1 to 255 from low to high."""
    scaled = (values - np.float32(low)) * np.float32((_COLOURS - 1) / (high - low))
    known = np.isfinite(scaled)
    np.clip(scaled, 0, _COLOURS - 1, out=scaled)
    scaled += np.float32(1.5)
    scaled[~known] = 0
    return scaled.astype(np.uint8)


@lru_cache(maxsize=1)
def _gamma() -> Pixels:
    """Brightness by place; three bands are brightened in the dark."""
    shares = np.clip((np.arange(256) - 1) / (_COLOURS - 1), 0, 1)
    return np.asarray(np.round(255 * shares ** (1 / GAMMA)), np.uint8)


def _palette(found: Colormap) -> Pixels:
    palette = np.zeros((256, 4), np.uint8)
    palette[1:] = found(np.linspace(0, 1, _COLOURS), bytes=True)
    return palette


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(colour.lstrip("#"))
    return red, green, blue, 255
