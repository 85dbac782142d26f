"""Which windows of a tile an area touches, which hold some of given shapes, and which cover those of other rasters.

Rasters of a tile have one upper left corner, but windows of 10, 20 and 60 m have edges of their own, so that each
pixel size has its own answer to the same question about the same geometry.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.space.frame import Frame
from hpckit.space.overlap import RIM_DEGREES, RIM_M, polygons

Windows = npt.NDArray[np.bool_]
"""One value for each window of a raster; shape (window rows, window columns)."""

_ROUNDING_M: Final = 1e-7
"""A shape that reaches less far into a window has no pixel there, neither by centre nor by covered fraction."""


def touched(frame: Frame, resolution_m: int, area: shapely.Geometry, margin_m: float = 0.0) -> Windows:
    """Windows that share area with an area in the CRS of the tile.

    An area that reaches less than 0.5 m over the border of a window does not share area with it, unless no other
    window holds that part: the rule of `Grid.tiles`.

    Parameters
    ----------
    margin_m : float
        Widens the area by this many metres.
    """
    shapely.prepare(area)
    kept = shapely.dwithin(area, _boxes(frame, resolution_m, -RIM_M), margin_m)
    boxes = _boxes(frame, resolution_m, 0.0)
    rim = shapely.dwithin(area, boxes, margin_m) & ~kept
    if rim.any():
        kept[rim] = shapely.dwithin(_only_in_rims(frame, area, boxes[kept], margin_m), boxes[rim], margin_m)
    return np.asarray(kept.reshape(frame.windows(resolution_m)))


def holding(frame: Frame, resolution_m: int, shapes: npt.NDArray[np.object_], reach_m: float = 0.0) -> Windows:
    """Windows in which some pixel belongs to one of many shapes in the CRS of the tile.

    Parameters
    ----------
    reach_m : float
        Also windows at this distance.
    """
    boxes = _boxes(frame, resolution_m, reach_m - _ROUNDING_M)
    held = np.zeros(len(boxes), np.bool_)
    held[np.unique(shapely.STRtree(shapes).query(boxes, predicate="intersects")[0])] = True
    return held.reshape(frame.windows(resolution_m))


def pixels_of_rows(windows: Windows, edge: int, shape: tuple[int, int]) -> list[int]:
    """Pixels of some windows, for each row of windows.

    Parameters
    ----------
    edge : int
        Pixels of the side of a window.
    shape : tuple of int
        Rows and columns of the raster, whose last windows may be smaller.
    """
    heights, widths = (
        np.minimum(edge, size - edge * np.arange(count)) for size, count in zip(shape, windows.shape, strict=True)
    )
    found: list[int] = (heights * (windows @ widths)).tolist()
    return found


def covering(frame: Frame, windows: Windows, resolution_m: int, other_m: int, reach: int = 0) -> Windows:
    """Windows of another pixel size that hold a pixel within some windows, or near them.

    Parameters
    ----------
    windows : ndarray of bool
        Of the raster of `resolution_m`.
    reach : int
        Pixels of `other_m` around the windows.
    """
    found = np.zeros(frame.windows(other_m), np.bool_)
    sides = [
        [_span(frame, axis, number, resolution_m, other_m, reach) for number in range(windows.shape[axis])]
        for axis in (0, 1)
    ]
    for row, column in np.argwhere(windows).tolist():
        found[sides[0][row], sides[1][column]] = True
    return found


def _span(frame: Frame, axis: int, number: int, resolution_m: int, other_m: int, reach: int) -> slice:
    """Windows of the pixel size `other_m` that cover one row, or column, of windows."""
    edge, other = frame.edges[resolution_m] * resolution_m, frame.edges[other_m]
    end = min((number + 1) * edge, frame.shapes[resolution_m][axis] * resolution_m)
    first, last = floor(number * edge / other_m) - reach, ceil(end / other_m) + reach
    return slice(max(0, first) // other, min(ceil(last / other), frame.windows(other_m)[axis]))


def _boxes(frame: Frame, resolution_m: int, wider_m: float) -> npt.NDArray[np.object_]:
    """Windows row by row, each wider by some metres; the last ones reach to the end of the tile's longest raster."""
    rows, columns = frame.windows(resolution_m)
    edge = frame.edges[resolution_m] * resolution_m
    down, along = np.arange(rows + 1.0) * edge, np.arange(columns + 1.0) * edge
    down[-1] = max(size * shape[0] for size, shape in frame.shapes.items())
    along[-1] = max(size * shape[1] for size, shape in frame.shapes.items())
    north, west = np.meshgrid(frame.uly - down[:-1], frame.ulx + along[:-1], indexing="ij")
    south, east = np.meshgrid(frame.uly - down[1:], frame.ulx + along[1:], indexing="ij")
    return np.asarray(
        shapely.box(west - wider_m, south - wider_m, east + wider_m, north + wider_m), dtype=object
    ).reshape(-1)


def _only_in_rims(
    frame: Frame, area: shapely.Geometry, kept: npt.NDArray[np.object_], margin_m: float
) -> shapely.Geometry:
    """Parts of an area that lie in the rims of windows of this tile and in none that is kept."""
    parts = polygons(area)
    xmin, ymin, xmax, ymax = frame.bounds
    inside = shapely.box(xmin - RIM_M, ymin - RIM_M, xmax + RIM_M, ymax + RIM_M)
    parts = parts[shapely.covers(inside, parts)]
    near = shapely.STRtree(kept).query(parts, predicate="dwithin", distance=margin_m)[0]
    return shapely.MultiPolygon(list(np.delete(parts, np.unique(near))))


def within(area: shapely.Geometry, shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Which shapes share area with an area; both in longitude and latitude.

    A shape that reaches into the area by less than half a metre does not, unless it is as narrow itself.
    """
    shapely.prepare(area)
    found = shapely.intersects(area, shapely.point_on_surface(shapes))
    rest = np.flatnonzero(~found)
    rest = rest[shapely.intersects(area, shapes[rest])]
    inner = shapely.buffer(shapes[rest], -RIM_DEGREES)
    found[rest] = shapely.intersects(area, inner)
    narrow = rest[shapely.is_empty(inner)]
    found[narrow] = shapely.area(shapely.intersection(area, shapes[narrow])) > 0
    return np.asarray(found)
