"""Pictures of a cube: true colour or an index, with zones, scale bar and coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpckit.base.colours import NDVI_COLOURS
from hpckit.campaign.expression import Expression
from hpckit.errors import CubeError
from hpckit.look.mapframe import decorate, map_frame
from hpckit.look.pixels import Layer, Snapshot
from hpckit.look.radar import decibels
from hpckit.look.style import INK, Picture, house_style
from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.sensor import Sensor, band_of
from hpckit.space.zones import ZoneLayer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

VISIBLE_RANGE: Final = (0.0, 0.3)
"""Reflectance from black to white for visible bands, equal for all dates so that they can be compared."""

GAMMA: Final = 1.35
"""Of three bands as colours: dark fields stay distinct."""
_PERCENTILES: Final = (2, 98)


@dataclass(frozen=True, slots=True)
class Composition:
    """What a picture shows of a date."""

    bands: tuple[str, ...]
    """Bands that it takes: red, green and blue, or those of the expression."""
    index: str | None = None
    """Name of the derived band, if it shows one."""
    expression: str | None = None

    def classes(self, sensor: Sensor) -> Band | None:
        """Band of which it shows the classes; None if it shows values."""
        band = band_of(sensor, self.expression or "")
        return band if band is not None and band.kind == "class" else None


def compose(
    sensor: Sensor,
    held: Iterable[BandRef],
    indices: Mapping[str, str],
    rgb: Sequence[str] | None = None,
    index: str | None = None,
) -> Composition:
    """Choose what to show: what is asked for, or else true colour if the cube has it, or one band of radar, or NDVI,
    or another index that its bands allow, or else one band in grey.

    Parameters
    ----------
    sensor : Sensor
        That the bands are of.
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
        If there is no such index, or a picture would mix classes with other values.
    """
    names, shown = {ref.name for ref in held}, sensor.pictures
    if rgb is None and index is None and shown.colour and names.issuperset(shown.colour):
        rgb = shown.colour
    if rgb is None and index is None and shown.is_grey and names:
        index = next((name for name in shown.grey if name in names), min(names))
    if rgb is None and index is None and names:
        index = _instead_of_colour(sensor, names, indices)
    if rgb is not None and len(rgb) != 3:
        example = ",".join(shown.colour or list(sensor.bands)[:3])
        raise CubeError(f"{','.join(rgb)}: a colour picture needs three bands", hint=f"for example {example}")
    chosen = Composition(tuple(rgb)) if rgb is not None else _one_value(sensor, index or "NDVI", indices)
    for text in chosen.bands:
        band = band_of(sensor, text)
        if band is not None and band.is_categorical and chosen.classes(sensor) is None:
            raise CubeError(f"{band.name} holds {'bits' if band.kind == 'bits' else 'classes'}, which are no colours")
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
    sensor = snapshot.sensor
    layers = [displayed(sensor, band, snapshot.layers[band]) for band in bands]
    limits = [_limits(sensor, band, layer, stretch) for band, layer in zip(bands, layers, strict=True)]
    channels = [_stretched(layer, low, high) for layer, (low, high) in zip(layers, limits, strict=True)]
    valid = np.logical_and.reduce([np.isfinite(layer) for layer in layers])
    image = np.dstack([*channels, valid.astype(np.float32)])
    title = "True colour" if tuple(bands) == sensor.pictures.colour else " / ".join(bands)
    ranges = dict.fromkeys(f"{low:.2g} to {high:.2g}" for low, high in limits)
    kinds = {band.kind if (band := band_of(sensor, text)) else "value" for text in bands}
    unit = "dB" if kinds == {"power"} else "reflectance" if "reflectance" in kinds else ""
    facts = [", ".join(bands) if title == "True colour" else "", f"{unit} {', '.join(ranges)}".strip(), snapshot.part]
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
    parsed = Expression.parse(expression)
    layers = {band: snapshot.layers[_layer_name(band, snapshot)] for band in parsed.bands}
    sensor = snapshot.sensor
    values, alone = displayed(sensor, expression, parsed.evaluate(layers)), band_of(sensor, expression)
    valid = np.isfinite(values)
    ramp, low, high = colours(sensor, index, values)
    facts = [expression if alone is None else "dB" if alone.kind == "power" else "", snapshot.part]
    with house_style():
        figure, axes = map_frame(snapshot, index, facts, valid, name, colour_bar=True)
        drawn = axes.imshow(
            np.ma.masked_invalid(values),
            extent=snapshot.extent.matplotlib,
            cmap=ramp,
            vmin=low,
            vmax=high,
            interpolation=_interpolation(snapshot),
            zorder=1,
        )
        _colour_bar(figure, axes, drawn)
        decorate(axes, snapshot, zones, colour=INK)
        return Picture(figure)


def _layer_name(band: str, snapshot: Snapshot) -> str:
    """Layer of a picture that a band of an expression is; layers have the names of bands without resolution."""
    known = band_of(snapshot.sensor, band)
    return band if band in snapshot.layers or known is None else known.name


def known_indices(sensor: Sensor, indices: Mapping[str, str]) -> dict[str, str]:
    """NDVI, which needs no campaign file, and those of the campaign."""
    own = sensor.pictures.index
    return {**({"NDVI": own} if own else {}), **indices}


def _instead_of_colour(sensor: Sensor, names: set[str], indices: Mapping[str, str]) -> str:
    """NDVI, another index of the campaign, or a band: the first that the cube has all bands of."""
    for name, text in known_indices(sensor, indices).items():
        if {band.partition("@")[0] for band in Expression.parse(text).bands} <= names:
            return name
    shown = [name for name, band in sensor.bands.items() if name in names and not band.is_categorical]
    preferred = [name for name in sensor.pictures.grey if name in shown]
    classes = [name for name, band in sensor.bands.items() if name in names and band.kind == "class"]
    found = next(iter([*preferred, *shown, *classes]), None)
    if found is None:
        raise CubeError(
            f"the cube has no band that a picture can show: {', '.join(sorted(names)) or 'none at all'}",
            hint=f"name {', '.join([*sensor.pictures.colour, 'or one other band'])}, in the campaign file"
            if sensor.pictures.colour
            else "bits have no picture",
        )
    return found


def _one_value(sensor: Sensor, wanted: str, indices: Mapping[str, str]) -> Composition:
    known = known_indices(sensor, indices)
    name = next((name for name in known if name.upper() == wanted.upper()), None)
    if name is not None:
        return Composition(tuple(sorted(Expression.parse(known[name]).bands)), name, known[name])
    band = band_of(sensor, wanted)
    if band is None:
        raise CubeError(f"no index {wanted!r}", hint=f"known are {', '.join(known)}, and the bands of the cube")
    _, at, size = wanted.strip().partition("@")
    return Composition((f"{band.name}{at}{size.upper()}",), f"{band.name}{at}{size.upper()}", band.name)


def _limits(sensor: Sensor, band: str, layer: Layer, stretch: str) -> tuple[float, float]:
    if stretch == "fixed" and band in sensor.pictures.visible:
        return VISIBLE_RANGE
    known = layer[np.isfinite(layer)]
    if known.size == 0:
        return VISIBLE_RANGE
    low, high = np.percentile(known, _PERCENTILES).tolist()
    return (low, high) if high > low else (low, low + 1e-3)


def displayed(sensor: Sensor, text: str, layer: Layer) -> Layer:
    """Backscatter in dB, all else as it is."""
    band = band_of(sensor, text)
    return decibels(layer) if band is not None and band.kind == "power" else layer


def _stretched(layer: Layer, low: float, high: float) -> Layer:
    return np.asarray(np.clip((layer - low) / (high - low), 0, 1) ** (1 / GAMMA), dtype=np.float32)


def colours(sensor: Sensor, index: str, values: Layer) -> tuple[Colormap, float, float]:
    """Colours and range of an index: NDVI's own, symmetric about zero, or one-sided."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    if index.upper() == "NDVI":
        low, high = NDVI_COLOURS[0][0], NDVI_COLOURS[-1][0]
        stops = [((value - low) / (high - low), colour) for value, colour in NDVI_COLOURS]
        return LinearSegmentedColormap.from_list("ndvi", stops), low, high
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, _PERCENTILES).tolist() if known.size else (0.0, 1.0)
    if band_of(sensor, index) is not None:
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
