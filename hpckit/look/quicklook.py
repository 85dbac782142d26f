"""Pictures of a cube: true colour or an index, with zones, scale bar and coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.errors import CubeError
from hpckit.look.mapframe import decorate, map_frame
from hpckit.look.pixels import Layer, Snapshot
from hpckit.look.radar import decibels, is_power, is_radar
from hpckit.look.style import INK, Picture, house_style
from hpckit.reduce.expression import Expression
from hpckit.reduce.zones import ZoneLayer
from hpckit.scenes.bands import BANDS, BandRef

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

TRUE_COLOUR: Final = ("B04", "B03", "B02")
"""Red, green, blue."""

NDVI: Final = "(B08 - B04) / (B08 + B04)"
"""Known without being in the campaign file."""

VISIBLE_RANGE: Final = (0.0, 0.3)
"""Reflectance from black to white for visible bands, equal for all dates so that they can be compared."""

_GAMMA: Final = 1.35
_PERCENTILES: Final = (2, 98)

_NDVI_COLOURS: Final = (
    (-0.3, "#4d6f94"),
    (0.0, "#e4dfd6"),
    (0.2, "#e6cf9c"),
    (0.4, "#b9c46a"),
    (0.6, "#6da044"),
    (0.8, "#2b7a3a"),
    (1.0, "#0b4a2c"),
)
"""Water, bare, sparse, dense: lightness falls steadily above zero, so that it reads in grey too."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What a picture shows of a date."""

    bands: tuple[str, ...]
    """Bands that it takes: red, green and blue, or those of the expression."""
    index: str | None = None
    """Name of the derived band, if it shows one."""
    expression: str | None = None


def compose(
    held: Iterable[BandRef], indices: Mapping[str, str], rgb: Sequence[str] | None = None, index: str | None = None
) -> Composition:
    """Choose what to show: what is asked for, or else true colour if the cube has it, or VV of radar, or else NDVI.

    Parameters
    ----------
    held : iterable of BandRef
        Bands of the cube.
    indices : mapping of str to str
        Expressions by name, beside NDVI.
    rgb : sequence of three str, optional
        Bands as red, green and blue.
    index : str, optional
        An index or a band.

    Raises
    ------
    CubeError
        If there is no such index, or a band holds classes, of which no mean can be shown.
    """
    names = {ref.name for ref in held}
    if rgb is None and index is None and names.issuperset(TRUE_COLOUR):
        rgb = TRUE_COLOUR
    if rgb is None and index is None and any(map(is_radar, names)):
        index = next((name for name in ("VV", "HH") if name in names), min(names))
    if rgb is not None and len(rgb) != 3:
        raise CubeError(f"{','.join(rgb)}: a colour picture needs three bands", hint="for example B04,B03,B02")
    chosen = Composition(tuple(rgb)) if rgb is not None else _one_value(index or "NDVI", indices)
    for band in chosen.bands:
        name = band.strip().upper().partition("@")[0]
        if name in BANDS and BANDS[name].kind == "class":
            raise CubeError(f"{name} holds classes, of which a picture cannot show means")
    return chosen


def draw_rgb(
    snapshot: Snapshot,
    bands: Sequence[str],
    *,
    zones: ZoneLayer | None = None,
    stretch: str = "fixed",
    name: str = "",
) -> Picture:
    """Draw three bands as red, green and blue.

    Parameters
    ----------
    bands : sequence of str
        Names of three layers of the snapshot.
    stretch : {"fixed", "percentile"}
        `fixed` shows visible bands from 0 to 0.3; other bands, and all with `percentile`, are stretched from
        their 2nd to their 98th percentile.
    name : str
        Name of the campaign, for the caption.
    """
    layers = [_displayed(band, snapshot.layers[band]) for band in bands]
    limits = [_limits(band, layer, stretch) for band, layer in zip(bands, layers, strict=True)]
    channels = [_stretched(layer, low, high) for layer, (low, high) in zip(layers, limits, strict=True)]
    valid = np.logical_and.reduce([np.isfinite(layer) for layer in layers])
    image = np.dstack([*channels, valid.astype(np.float32)])
    title = "True colour" if tuple(bands) == TRUE_COLOUR else " / ".join(bands)
    ranges = dict.fromkeys(f"{low:.2g} to {high:.2g}" for low, high in limits)
    unit = "dB" if all(map(is_power, bands)) else "" if any(map(is_radar, bands)) else "reflectance"
    facts = [", ".join(bands) if title == "True colour" else "", f"{unit} {', '.join(ranges)}".strip()]
    with house_style():
        figure, axes = map_frame(snapshot, title, facts, valid, name)
        axes.imshow(
            np.nan_to_num(image), extent=snapshot.extent.matplotlib, interpolation=_interpolation(snapshot), zorder=1
        )
        decorate(axes, snapshot, zones, colour="#ffd34d")
        return Picture(figure)


def draw_index(
    snapshot: Snapshot, index: str, expression: str, *, zones: ZoneLayer | None = None, name: str = ""
) -> Picture:
    """Draw a derived band with a colour bar.

    Parameters
    ----------
    index : str
        Name of it.
    expression : str
        Over the layers of the snapshot.
    name : str
        Name of the campaign, for the caption.
    """
    values = _displayed(expression, Expression.parse(expression).evaluate(dict(snapshot.layers)))
    valid = np.isfinite(values)
    colours, low, high = _colours(index, values)
    facts = ["dB" if is_power(expression) else expression if expression not in BANDS else ""]
    with house_style():
        figure, axes = map_frame(snapshot, index, facts, valid, name, colour_bar=True)
        drawn = axes.imshow(
            np.ma.masked_invalid(values),
            extent=snapshot.extent.matplotlib,
            cmap=colours,
            vmin=low,
            vmax=high,
            interpolation=_interpolation(snapshot),
            zorder=1,
        )
        _colour_bar(figure, axes, drawn)
        decorate(axes, snapshot, zones, colour=INK)
        return Picture(figure)


def _one_value(wanted: str, indices: Mapping[str, str]) -> Composition:
    known = {"NDVI": NDVI, **indices}
    name = next((name for name in known if name.upper() == wanted.upper()), None)
    if name is not None:
        return Composition(tuple(sorted(Expression.parse(known[name]).bands)), name, known[name])
    band = wanted.strip().upper()
    if band.partition("@")[0] not in BANDS:
        raise CubeError(f"no index {wanted!r}", hint=f"known are {', '.join(known)}, and the bands of the cube")
    return Composition((band,), band, band.partition("@")[0])


def _limits(band: str, layer: Layer, stretch: str) -> tuple[float, float]:
    if stretch == "fixed" and band in ("B01", *TRUE_COLOUR):
        return VISIBLE_RANGE
    known = layer[np.isfinite(layer)]
    if known.size == 0:
        return VISIBLE_RANGE
    low, high = np.percentile(known, _PERCENTILES).tolist()
    return (low, high) if high > low else (low, low + 1e-3)


def _displayed(band: str, layer: Layer) -> Layer:
    """Backscatter in dB, all else as it is."""
    return decibels(layer) if is_power(band) else layer


def _stretched(layer: Layer, low: float, high: float) -> Layer:
    return np.asarray(np.clip((layer - low) / (high - low), 0, 1) ** (1 / _GAMMA), dtype=np.float32)


def _colours(index: str, values: Layer) -> tuple[Colormap, float, float]:
    """Colours and range of an index: NDVI's own, symmetric about zero, or one-sided."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    if index.upper() == "NDVI":
        low, high = _NDVI_COLOURS[0][0], _NDVI_COLOURS[-1][0]
        stops = [((value - low) / (high - low), colour) for value, colour in _NDVI_COLOURS]
        return LinearSegmentedColormap.from_list("ndvi", stops), low, high
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, _PERCENTILES).tolist() if known.size else (0.0, 1.0)
    if is_power(index):
        return colormaps["gray"], low, high if high > low else low + 1e-3
    if low < -0.05 * high and high > 0:
        reach = max(-low, high)
        return colormaps["BrBG"], -reach, reach
    return colormaps["viridis"], low, high if high > low else low + 1e-3


def _colour_bar(figure: Figure, axes: Axes, drawn: Any) -> None:
    box = axes.get_position()
    bar = figure.colorbar(drawn, cax=figure.add_axes((box.x1 + 0.025, box.y0, 0.02, box.height)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8.5)


def _interpolation(snapshot: Snapshot) -> Any:
    # Few pixels are shown as the squares that they are.
    return "nearest" if max(snapshot.extent.shape) < 400 else "antialiased"
