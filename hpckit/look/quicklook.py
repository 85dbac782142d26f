"""Pictures of a cube: true colour or an index, with zones, scale bar and coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.look.pixels import Bounds, Extent, Layer, Snapshot
from hpckit.look.style import FAINT, INK, MUTED, VERMILION, Picture, house_style, new_figure
from hpckit.reduce.expression import Expression
from hpckit.reduce.zones import ZoneLayer
from hpckit.scenes.bands import BANDS

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
_CLOUDS: Final = (8, 9, 10)
_LABELLED_ZONES: Final = 30
_WIDTH_IN: Final = 8.0

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

Rings = list[npt.NDArray[np.float64]]


def outlines(zones: ZoneLayer, extent: Extent) -> tuple[Rings, list[tuple[str, float, float]]]:
    """Bring the zones that a picture shows into its CRS.

    Returns
    -------
    rings : list of ndarray, shape (points, 2)
        Outer and inner boundaries.
    labels : list of (str, float, float)
        Identifier and a point inside, of each zone.
    """
    import pyproj
    import shapely

    forward = pyproj.Transformer.from_crs(zones.crs, extent.epsg, always_xy=True)
    near = _candidates(zones, forward, extent.bounds)
    moved = shapely.transform(
        zones.geometries[near], lambda xy: np.column_stack(forward.transform(xy[:, 0], xy[:, 1]))
    )
    shown = shapely.intersects(moved, shapely.box(*extent.bounds))
    rings = shapely.get_rings(shapely.get_parts(moved[shown]))
    points = shapely.point_on_surface(moved[shown])
    ids = np.asarray(zones.ids, dtype=object)[near][shown]
    labels = [(str(name), float(point.x), float(point.y)) for name, point in zip(ids, points, strict=True)]
    return [shapely.get_coordinates(ring) for ring in rings], labels


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
    layers = [snapshot.layers[band] for band in bands]
    limits = [_limits(band, layer, stretch) for band, layer in zip(bands, layers, strict=True)]
    channels = [_stretched(layer, low, high) for layer, (low, high) in zip(layers, limits, strict=True)]
    valid = np.logical_and.reduce([np.isfinite(layer) for layer in layers])
    image = np.dstack([*channels, valid.astype(np.float32)])
    title = "True colour" if tuple(bands) == TRUE_COLOUR else " / ".join(bands)
    ranges = dict.fromkeys(f"{low:.2g} to {high:.2g}" for low, high in limits)
    facts = [", ".join(bands) if title == "True colour" else "", "reflectance " + ", ".join(ranges)]
    with house_style():
        figure, axes = _frame(snapshot, title, facts, valid, name)
        axes.imshow(np.nan_to_num(image), extent=_extent(snapshot), interpolation=_interpolation(snapshot), zorder=1)
        _decorate(axes, snapshot, zones, colour="#ffd34d")
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
    values = Expression.parse(expression).evaluate(dict(snapshot.layers))
    valid = np.isfinite(values)
    colours, low, high = _colours(index, values)
    facts = [expression if index not in BANDS else ""]
    with house_style():
        figure, axes = _frame(snapshot, index, facts, valid, name, colour_bar=True)
        drawn = axes.imshow(
            np.ma.masked_invalid(values),
            extent=_extent(snapshot),
            cmap=colours,
            vmin=low,
            vmax=high,
            interpolation=_interpolation(snapshot),
            zorder=1,
        )
        _colour_bar(figure, axes, drawn, values)
        _decorate(axes, snapshot, zones, colour=INK)
        return Picture(figure)


def _candidates(zones: ZoneLayer, forward: Any, bounds: Bounds) -> npt.NDArray[np.intp]:
    """Zones near a picture, found in their own CRS, so that a country's layer is not projected for it."""
    import shapely

    west, south, east, north = forward.transform_bounds(*bounds, direction="INVERSE", densify_pts=41)
    if not np.isfinite([west, south, east, north]).all() or west > east:
        return np.arange(len(zones))
    margin = 0.01 * max(east - west, north - south)
    box = shapely.box(west - margin, south - margin, east + margin, north + margin)
    return np.flatnonzero(shapely.intersects(shapely.envelope(zones.geometries), box))


def _limits(band: str, layer: Layer, stretch: str) -> tuple[float, float]:
    if stretch == "fixed" and band in ("B01", *TRUE_COLOUR):
        return VISIBLE_RANGE
    known = layer[np.isfinite(layer)]
    if known.size == 0:
        return VISIBLE_RANGE
    low, high = np.percentile(known, _PERCENTILES).tolist()
    return (low, high) if high > low else (low, low + 1e-3)


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
    if low < -0.05 * high and high > 0:
        reach = max(-low, high)
        return colormaps["BrBG"], -reach, reach
    return colormaps["viridis"], low, high if high > low else low + 1e-3


def _frame(
    snapshot: Snapshot,
    title: str,
    facts: list[str],
    valid: npt.NDArray[np.bool_],
    name: str,
    *,
    colour_bar: bool = False,
) -> tuple[Figure, Axes]:
    """Figure with title, caption and axes of the right shape; where there are no data it is hatched."""
    rows, columns = snapshot.extent.shape
    left, right, top, bottom = 0.72, 1.15 if colour_bar else 0.28, 1.02, 0.82
    width = _WIDTH_IN - left - right
    map_height = float(np.clip(width * rows / columns, 0.3 * width, 1.4 * width))
    height = map_height + top + bottom
    figure = new_figure(_WIDTH_IN, height)
    axes = figure.add_axes((left / _WIDTH_IN, bottom / height, width / _WIDTH_IN, map_height / height))
    axes.set_facecolor("#f1f2f4")
    axes.patch.set(hatch="////", edgecolor="#dcdfe3")
    date = f"{snapshot.time:%-d %B %Y}"
    figure.text(left / _WIDTH_IN, 1 - 0.37 / height, f"{title} · {date}", size=15, weight="bold", va="center")
    caption = [f"tile {snapshot.tile}", f"{snapshot.time:%H:%M} UTC", *facts, _coverage(valid), name]
    figure.text(left / _WIDTH_IN, 1 - 0.7 / height, " · ".join(filter(None, caption)), color=MUTED, va="center")
    figure.text(left / _WIDTH_IN, 0.2 / height, _provenance(snapshot), size=7.5, color=FAINT, va="center")
    _coordinates(axes, snapshot.extent)
    return figure, axes


def _coverage(valid: npt.NDArray[np.bool_]) -> str:
    fraction = float(valid.mean())
    return "" if fraction > 0.9995 else f"{fraction:.0%}".replace("%", " % covered")


def _coordinates(axes: Axes, extent: Extent) -> None:
    """Ticks at round kilometres, none so near to a corner that labels touch."""
    from matplotlib.ticker import MaxNLocator

    west, south, east, north = extent.bounds
    margin = 0.03 * max(east - west, north - south)
    for axis, low, high in ((axes.xaxis, west, east), (axes.yaxis, south, north)):
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
        inside = [tick for tick in ticks if low + margin <= tick <= high - margin]
        digits = next((n for n in range(3) if all(tick % 10 ** (3 - n) == 0 for tick in inside)), 3)
        axis.set_ticks(inside, labels=[f"{tick / 1000:.{digits}f}" for tick in inside])
    axes.tick_params(length=3, labelsize=8)
    for label in axes.get_yticklabels():
        label.set(rotation=90, va="center")
    axes.set_xlabel(f"easting, km · EPSG:{extent.epsg}", size=8.5)
    axes.set_ylabel("northing, km", size=8.5)
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.8)


def _decorate(axes: Axes, snapshot: Snapshot, zones: ZoneLayer | None, *, colour: str) -> None:
    west, south, east, north = snapshot.extent.bounds
    if snapshot.classes is not None:
        _draw_clouds(axes, snapshot.extent, np.isin(snapshot.classes, _CLOUDS))
    if zones is not None:
        _draw_zones(axes, *outlines(zones, snapshot.extent), colour)
    _scale_bar(axes, snapshot.extent)
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")


def _draw_zones(axes: Axes, rings: Rings, labels: list[tuple[str, float, float]], colour: str) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    width = 1.1 if len(rings) < 60 else 0.7 if len(rings) < 1000 else 0.45 if len(rings) < 5000 else 0.25
    casing = "black" if colour != INK else "white"
    axes.add_collection(LineCollection(rings, colors=casing, linewidths=width * 2.2, alpha=0.35, zorder=3))
    axes.add_collection(LineCollection(rings, colors=colour, linewidths=width, zorder=4))
    for name, x, y in labels if len(labels) <= _LABELLED_ZONES else ():
        text = axes.text(x, y, name, size=7, color=colour, ha="center", va="center", zorder=5, clip_on=True)
        text.set_path_effects([withStroke(linewidth=1.8, foreground=casing, alpha=0.6)])


def _draw_clouds(axes: Axes, extent: Extent, cloudy: npt.NDArray[np.bool_]) -> None:
    if cloudy.any() and not cloudy.all():
        west, south, east, north = extent.bounds
        half = extent.pixel_m / 2
        rows, columns = cloudy.shape
        x, y = np.linspace(west + half, east - half, columns), np.linspace(north - half, south + half, rows)
        axes.contour(x, y, cloudy, [0.5], colors="white", linewidths=2.0, alpha=0.7, zorder=2)
        axes.contour(x, y, cloudy, [0.5], colors=VERMILION, linewidths=0.8, linestyles="dashed", zorder=2)


def _scale_bar(axes: Axes, extent: Extent) -> None:
    """A round length of about a fifth of the width, at the lower right."""
    west, south, east, north = extent.bounds
    length = _round_length((east - west) / 5)
    x, y = east - 0.035 * (east - west) - length, south + 0.045 * (north - south)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    for colour, width in (("white", 5.0), (INK, 2.0)):
        axes.plot([x, x + length], [y, y], color=colour, lw=width, solid_capstyle="butt", zorder=6)
    axes.annotate(
        label,
        (x + length / 2, y),
        xytext=(0, 5),
        textcoords="offset points",
        size=8,
        ha="center",
        va="bottom",
        zorder=6,
        bbox={"fc": "white", "ec": "none", "pad": 1.2, "alpha": 0.85},
    )


def _round_length(metres: float) -> float:
    power = 10 ** np.floor(np.log10(metres))
    return float(max(step for step in (1, 2, 5) if step * power <= metres) * power)


def _colour_bar(figure: Figure, axes: Axes, drawn: Any, values: Layer) -> None:
    box = axes.get_position()
    bar = figure.colorbar(drawn, cax=figure.add_axes((box.x1 + 0.025, box.y0, 0.02, box.height)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8.5)


def _extent(snapshot: Snapshot) -> tuple[float, float, float, float]:
    west, south, east, north = snapshot.extent.bounds
    return (west, east, south, north)


def _interpolation(snapshot: Snapshot) -> Any:
    # Few pixels are shown as the squares that they are.
    return "nearest" if max(snapshot.extent.shape) < 400 else "antialiased"


def _provenance(snapshot: Snapshot) -> str:
    made: Mapping[str, Any] = snapshot.acquisition
    orbit, baseline = made.get("relative_orbit"), made.get("processing_baseline")
    parts = ["Sentinel-2", made.get("platform"), orbit and f"orbit {orbit:03d}", baseline and f"baseline {baseline}"]
    parts.append(f"{snapshot.extent.pixel_m} m pixels")
    parts.append(None if snapshot.classes is None else "dashed: clouds of the scene classification")
    return " · ".join(str(part) for part in parts if part)
