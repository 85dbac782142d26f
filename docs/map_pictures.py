"""Maps for the documentation: tiles of grids, zones with a buffer, pixels of a zone, the map of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt
import numpy as np
import pyogrio
import rasterio.features
import shapely
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Outline

_INK: Final = "#22303a"
_BLUE: Final = "#0072b2"
_ORANGE: Final = "#c8500a"
_GREEN: Final = "#0b7a5e"


def draw_tiles(files: Mapping[str, Path], box: Sequence[float], into: Path) -> None:
    """Draw the tiles of grids over an area, a panel for each grid.

    Parameters
    ----------
    files : Mapping
        Output of `hpckit tile` in longitude and latitude, by the name of the grid.
    box : sequence of float
        West, south, east, north of the area, in degrees.
    """
    figure, axes = plt.subplots(1, len(files), figsize=(4.3 * len(files), 4.5), layout="constrained", squeeze=False)
    for axis, (grid, path) in zip(axes[0], files.items(), strict=True):
        _, _, shapes, fields = pyogrio.raw.read(path, columns=["tile", "epsg"])
        tiles = shapely.from_wkb(shapes)
        area = shapely.box(*box)
        codes = sorted(set(fields[1]))
        view, labels = shapely.box(*_around(box)), []
        for tile, name, code in zip(tiles, *fields, strict=True):
            colour = (_BLUE, _ORANGE)[codes.index(code) % 2]
            axis.add_patch(Polygon(shapely.get_coordinates(tile), facecolor=colour, alpha=0.12))
            axis.add_patch(Polygon(shapely.get_coordinates(tile), fill=False, edgecolor=colour, linewidth=1))
            seen = tile.intersection(view)
            alone = seen.difference(shapely.union_all(tiles[fields[0] != name]))
            if alone.area > 0.4 * tile.area:
                seen = alone
            elif len(tiles) > 9:
                continue  # no room for its name
            labels.append(_label_point(seen, labels))
            text = name if len(tiles) < 10 else name.replace("_", "\n").replace("N0", "\nN0")
            axis.annotate(text, labels[-1], color=colour, fontsize=_size(len(tiles)), ha="center", va="center")
        axis.add_patch(Polygon(shapely.get_coordinates(area), fill=False, edgecolor=_INK, linewidth=2.2))
        west, south, east, north = _around(box)
        axis.set(xlim=(west, east), ylim=(south, north), xlabel="longitude", ylabel="latitude")
        axis.set_aspect(1 / np.cos(np.radians((south + north) / 2)))
        axis.set_title(f"{grid}: {len(tiles)} tiles", color=_INK, fontsize=11)
    figure.savefig(into, dpi=130)
    plt.close(figure)


def _around(box: Sequence[float]) -> tuple[float, float, float, float]:
    west, south, east, north = box
    wide, high = 0.14 * (east - west), 0.18 * (north - south)
    return west - wide, south - high, east + wide, north + high


def _size(tiles: int) -> float:
    return 12 if tiles < 10 else 7


def _label_point(part: shapely.Geometry, labels: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A point well within a part of the map, and far from other labels."""
    west, south, east, north = part.bounds
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(west, east, 21), np.linspace(south, north, 21)))
    points = shapely.points(x, y)
    room = 2 * shapely.distance(points, part.boundary) * shapely.contains(part, points)
    if labels:
        room = np.minimum(room, shapely.distance(points, shapely.multipoints(labels)))
    at = int(np.argmax(room))
    return float(x[at]), float(y[at])


def draw_buffers(parcels: Path, into: Path) -> None:
    """Draw parcels with their borders 5 m inward and 10 m outward, as `buffer` moves them in a CRS in metres."""
    _, _, shapes, _ = pyogrio.raw.read(parcels, columns=[])
    zones = shapely.from_wkb(shapes)
    corner = shapely.Point(shapely.get_coordinates(zones[len(zones) // 2])[0])
    window = corner.buffer(120, cap_style="square")
    near = [zone for zone in zones if zone.intersects(window)]
    figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
    for axis, metres, colour in zip(axes, (-5, 10), (_GREEN, _ORANGE), strict=True):
        moved = [zone.buffer(metres, quad_segs=16) for zone in near]
        _fill(axis, moved, colour)
        for zone in near:
            axis.add_patch(PathPatch(_outline(zone), fill=False, edgecolor=_INK, linewidth=1.1))
        _frame(axis, window.bounds)
        axis.set_title(f"buffer: {metres}m", color=_INK, fontsize=12, family="monospace")
    figure.savefig(into, dpi=110)
    plt.close(figure)


def draw_coverage(parcels: Path, into: Path) -> None:
    """Draw which pixels of 10 m count at the end of a parcel: by their centre, and by the share that it covers."""
    _, _, shapes, _ = pyogrio.raw.read(parcels, columns=[])
    zones = shapely.from_wkb(shapes)
    zone = zones[len(zones) // 2]
    west, middle = min(shapely.get_coordinates(zone).tolist())
    columns, rows = 14, 10
    left, top = np.floor(west / 10) * 10 - 10, np.ceil(middle / 10) * 10 + 5 * rows
    place = Affine(10, 0, left, 0, -10, top)
    centres = rasterio.features.rasterize([zone], out_shape=(rows, columns), transform=place)
    x, y = np.meshgrid(left + 10 * np.arange(columns), top - 10 * np.arange(rows))
    shares = shapely.area(shapely.intersection(shapely.box(x, y - 10, x + 10, y), zone)) / 100
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for axis, weights, name in zip(axes, (centres, shares), ("centre", "fraction"), strict=True):
        extent = (left, left + 10 * columns, top - 10 * rows, top)
        axis.imshow(weights, cmap="Greens", vmin=0, vmax=1.8, extent=extent, interpolation="nearest")
        axis.add_patch(PathPatch(_outline(zone), fill=False, edgecolor=_ORANGE, linewidth=2))
        axis.set_xticks(left + 10 * np.arange(columns + 1), labels=[])
        axis.set_yticks(top - 10 * np.arange(rows + 1), labels=[])
        axis.grid(color="#b9c2c7", linewidth=0.5)
        axis.set(xlim=extent[:2], ylim=extent[2:])
        axis.tick_params(length=0)
        axis.set_title(f"coverage: {name}", color=_INK, fontsize=12, family="monospace")
    axes[0].plot(x.ravel() + 5, y.ravel() - 5, ".", color=_INK, markersize=4)
    for at_x, at_y, share in zip(x.ravel(), y.ravel(), shares.ravel(), strict=True):
        if share >= 0.005:
            text = "1" if share > 0.995 else f"{share:.2f}".lstrip("0")
            axes[1].text(at_x + 5, at_y - 5, text, ha="center", va="center", fontsize=8, color=_INK)
    figure.savefig(into, dpi=110)
    plt.close(figure)


def draw_latest(store: Path, into: Path) -> None:
    """Draw the map of a store: each zone with its latest clear observation."""
    _, _, shapes, (values,) = pyogrio.raw.read(store, layer="latest_parcels", columns=["NDVI_mean"])
    figure, axis = plt.subplots(figsize=(8, 6), layout="constrained")
    zones = shapely.from_wkb(shapes)
    drawn = _fill(axis, zones, None, values)
    figure.colorbar(drawn, ax=axis, shrink=0.8, label="NDVI_mean of the latest clear observation")
    _frame(axis, shapely.total_bounds(zones))
    figure.savefig(into, dpi=110)
    plt.close(figure)


def _fill(
    axis: Axes, zones: Sequence[shapely.Geometry], colour: str | None, values: np.ndarray | None = None
) -> PatchCollection:
    """Fill zones with a colour, or by values."""
    kept = [at for at, zone in enumerate(zones) if not zone.is_empty]
    patches = PatchCollection([PathPatch(_outline(zones[at])) for at in kept], edgecolor="none")
    if values is None:
        patches.set(facecolor=colour, alpha=0.35)
    else:
        patches.set(array=np.asarray(values, dtype=float)[kept], cmap="RdYlGn", clim=(0, 0.9))
    axis.add_collection(patches)
    return patches


def _outline(zone: shapely.Geometry) -> Outline:
    """All rings of a zone, so that its holes stay empty."""
    parts = shapely.get_parts(shapely.orient_polygons(zone))
    rings = shapely.get_rings(parts)
    return Outline.make_compound_path(*[Outline(shapely.get_coordinates(ring), closed=True) for ring in rings])


def _frame(axis: Axes, bounds: Sequence[float]) -> None:
    west, south, east, north = bounds
    axis.set(xlim=(west, east), ylim=(south, north), xticks=[], yticks=[], aspect="equal")
    axis.spines[:].set_visible(False)
