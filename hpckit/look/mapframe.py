"""What surrounds and lies upon the pixels of a map: caption, coordinates, zones, clouds, scale bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.colours import VERMILION
from hpckit.look.pixels import Bounds, PictureExtent, Snapshot
from hpckit.look.style import FAINT, INK, MUTED, new_figure
from hpckit.sensors.masks import flagged
from hpckit.space.vector.project import project
from hpckit.space.zones import ZoneLayer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELLED_ZONES: Final = 30
_WIDTH_IN: Final = 8.0

Rings = list[npt.NDArray[np.float64]]


def map_frame(
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
    period = snapshot.acquisition.get("hpckit:period")  # of a composite
    date = period or f"{snapshot.time:%-d %B %Y}"
    moment = "" if period else f"{snapshot.time:%H:%M} UTC"
    figure.text(left / _WIDTH_IN, 1 - 0.37 / height, f"{title} · {date}", size=15, weight="bold", va="center")
    caption = [f"tile {snapshot.tile}", moment, *facts, _coverage(valid), name]
    figure.text(left / _WIDTH_IN, 1 - 0.7 / height, " · ".join(filter(None, caption)), color=MUTED, va="center")
    figure.text(left / _WIDTH_IN, 0.2 / height, _provenance(snapshot), size=7.5, color=FAINT, va="center")
    _coordinates(axes, snapshot.extent)
    return figure, axes


def decorate(axes: Axes, snapshot: Snapshot, zones: ZoneLayer | None, *, colour: str) -> None:
    """Lay clouds, zones (in `colour`) and a scale bar over the pixels, and fit the axes to them."""
    west, south, east, north = snapshot.extent.bounds
    mask = snapshot.sensor.mask
    if snapshot.classes is not None and mask is not None:
        _draw_clouds(axes, snapshot.extent, flagged(mask.band, snapshot.classes, mask.clouds))
    if zones is not None:
        _draw_zones(axes, *outlines(zones, snapshot.extent), colour)
    _scale_bar(axes, snapshot.extent)
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")


def outlines(zones: ZoneLayer, extent: PictureExtent) -> tuple[Rings, list[tuple[str, float, float]]]:
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
    moved = project(zones.geometries[near], pyproj.CRS(zones.crs), pyproj.CRS.from_epsg(extent.epsg))
    shown = shapely.intersects(moved, shapely.box(*extent.bounds))
    rings = shapely.get_rings(shapely.get_parts(moved[shown]))
    points = shapely.point_on_surface(moved[shown])
    ids = np.asarray(zones.ids, dtype=object)[near][shown]
    labels = [(str(name), float(point.x), float(point.y)) for name, point in zip(ids, points, strict=True)]
    return [shapely.get_coordinates(ring) for ring in rings], labels


def _candidates(zones: ZoneLayer, forward: Any, bounds: Bounds) -> npt.NDArray[np.intp]:
    """Zones near a picture, found in their own CRS, so that a country's layer is not projected for it."""
    import shapely

    west, south, east, north = forward.transform_bounds(*bounds, direction="INVERSE", densify_pts=41)
    if not np.isfinite([west, south, east, north]).all() or west > east:
        return np.arange(len(zones))
    margin = 0.01 * max(east - west, north - south)
    box = shapely.box(west - margin, south - margin, east + margin, north + margin)
    return np.flatnonzero(shapely.intersects(shapely.envelope(zones.geometries), box))


def _coverage(valid: npt.NDArray[np.bool_]) -> str:
    fraction = float(valid.mean())
    return "" if fraction > 0.9995 else f"{fraction:.0%}".replace("%", " % covered")


def _coordinates(axes: Axes, extent: PictureExtent) -> None:
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


def _draw_clouds(axes: Axes, extent: PictureExtent, cloudy: npt.NDArray[np.bool_]) -> None:
    if cloudy.any() and not cloudy.all():
        west, south, east, north = extent.bounds
        half = extent.pixel_m / 2
        rows, columns = cloudy.shape
        x, y = np.linspace(west + half, east - half, columns), np.linspace(north - half, south + half, rows)
        axes.contour(x, y, cloudy, [0.5], colors="white", linewidths=2.0, alpha=0.7, zorder=2)
        axes.contour(x, y, cloudy, [0.5], colors=VERMILION, linewidths=0.8, linestyles="dashed", zorder=2)


def _scale_bar(axes: Axes, extent: PictureExtent) -> None:
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


def _provenance(snapshot: Snapshot) -> str:
    made: Mapping[str, Any] = snapshot.acquisition
    orbit, baseline = made.get("relative_orbit"), made.get("processing_baseline")
    parts = [
        snapshot.sensor.origin.mission,
        made.get("platform"),
        orbit and f"orbit {orbit:03d}",
        baseline and float(baseline) and f"baseline {baseline}",
    ]
    parts.append(f"{snapshot.extent.pixel_m} m pixels")
    parts.append(None if snapshot.classes is None else "dashed: clouds of the scene classification")
    return " · ".join(str(part) for part in parts if part)
