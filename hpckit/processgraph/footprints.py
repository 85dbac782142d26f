"""Which pixels of a grid belong to geometries: to polygons by their centres, to lines and points the closest ones."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Geometries, Grid
from hpckit.processgraph.reproject import in_crs
from hpckit.space.box import Box
from hpckit.space.lines import trace
from hpckit.space.rasterise import Rings, fill, without_overlaps
from hpckit.space.vector.shapes import clean_shapes

_Shapes = npt.NDArray[np.object_]
_Numbers = npt.NDArray[np.int64]
_LINES = ("LineString", "LinearRing", "MultiLineString")
_POINTS = ("Point", "MultiPoint")
_KINDS_OF_POLYGONS = (3, 6)


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels of some geometries in a part of a grid, as compressed sparse rows."""

    offsets: npt.NDArray[np.int64]
    """Geometry g has `pixels[offsets[g]:offsets[g + 1]]`."""
    pixels: npt.NDArray[np.int64]
    """`row * columns + column` in the part, ascending within a geometry."""
    box: Box
    """The part."""

    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels of any geometry; shape (rows, columns)."""
        found = np.zeros(self.box.shape, dtype=np.bool_)
        found.reshape(-1)[self.pixels] = True
        return found


class Footprints:
    """Geometries over a grid.

    A pixel belongs to a polygon if its centre does, by the rule of `hpckit.space.rasterise`; to a line if the line
    runs through it; to a point if the point lies in it. Which pixels these are does not depend on the part of the
    grid or the geometries that are asked for.

    Parameters
    ----------
    geometries : Geometries
    grid : Grid

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`: if a geometry cannot be repaired, or has no place in the CRS of the grid.
    """

    def __init__(self, geometries: Geometries, grid: Grid) -> None:
        self.grid = grid
        shapes = in_crs(geometries.shapes, geometries.crs, grid.crs)
        self._polygons = _polygons(shapes)
        self._lines = _parts(shapes, _LINES)
        self._points = _parts(shapes, _POINTS)
        self._transform = Affine(grid.dx, 0, grid.left, 0, grid.dy, grid.top)
        self.boxes = self._boxes()
        """Pixels around each geometry within the grid: top, left, bottom, right; shape (geometries, 4)."""

    def __len__(self) -> int:
        """Number of geometries."""
        return len(self._polygons)

    @property
    def sizes(self) -> _Numbers:
        """Pixels of the rectangle around each geometry."""
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 0)
        return np.asarray(sides[:, 0] * sides[:, 1])

    @property
    def reached(self) -> _Numbers:
        """Geometries that reach into the grid."""
        return np.flatnonzero(self.sizes > 0)

    def touching(self, box: Box) -> _Numbers:
        """Geometries that may have pixels in a part."""
        top, left, bottom, right = self.boxes.T
        near = (top < box.bottom) & (bottom > box.top) & (left < box.right) & (right > box.left)
        return np.flatnonzero(near & (self.sizes > 0))

    def around(self, chosen: _Numbers) -> Box:
        """The smallest part of the grid that has all pixels of some geometries; empty if they have none."""
        boxes = self.boxes[chosen]
        boxes = boxes[self.sizes[chosen] > 0]
        if not len(boxes):
            return Box(0, 0, 0, 0)
        top, left = boxes[:, :2].min(axis=0).tolist()
        bottom, right = boxes[:, 2:].max(axis=0).tolist()
        return Box(top, left, bottom, right)

    def pixels(self, chosen: _Numbers, box: Box) -> Pixels:
        """Pixels of some geometries in a part of the grid."""
        if not len(chosen) or box.is_empty:
            return Pixels(np.zeros(len(chosen) + 1, np.int64), np.empty(0, np.int64), box)
        rings = Rings(without_overlaps(self._polygons[chosen]), self._transform)
        offsets, found = fill(rings, self.grid.shape, box)
        pixels = found.astype(np.int64)
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        thin = [self._on_lines(place, box), self._on_points(place, box)]
        if not any(len(owner) for owner, _ in thin):
            return Pixels(offsets, pixels, box)
        area = box.shape[0] * box.shape[1]
        owners = np.concatenate([np.repeat(np.arange(len(chosen)), np.diff(offsets)), *(each[0] for each in thin)])
        both = np.unique(owners * area + np.concatenate([pixels, *(each[1] for each in thin)]))
        offsets = np.searchsorted(both, np.arange(len(chosen) + 1) * area)
        return Pixels(offsets.astype(np.int64), both % area, box)

    def _on_lines(self, place: _Numbers, box: Box) -> tuple[_Numbers, _Numbers]:
        """Of pixels of lines, to which chosen geometry each belongs, and its position in the part."""
        rows, shapes = self._lines
        wanted = place[rows] >= 0
        xy, line = shapely.get_coordinates(shapes[wanted], return_index=True)
        at, same = self._in_pixels(xy), line[1:] == line[:-1]
        edge, row, column = trace(at[:-1][same], at[1:][same])
        return self._within(place[rows[wanted][line[:-1][same]]][edge], row, column, box)

    def _on_points(self, place: _Numbers, box: Box) -> tuple[_Numbers, _Numbers]:
        rows, shapes = self._points
        wanted = place[rows] >= 0
        at = np.floor(self._in_pixels(shapely.get_coordinates(shapes[wanted]))).astype(np.int64)
        return self._within(place[rows[wanted]], at[:, 1], at[:, 0], box)

    def _in_pixels(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        grid = self.grid
        return np.column_stack([(xy[:, 0] - grid.left) / grid.dx, (xy[:, 1] - grid.top) / grid.dy])

    @staticmethod
    def _within(owner: _Numbers, row: _Numbers, column: _Numbers, box: Box) -> tuple[_Numbers, _Numbers]:
        inside = (row >= box.top) & (row < box.bottom) & (column >= box.left) & (column < box.right)
        position = (row - box.top) * box.shape[1] + (column - box.left)
        return owner[inside], position[inside]

    def _boxes(self) -> _Numbers:
        """Pixels around each geometry: of polygons those whose centres are within, of others all that are touched."""
        low, high = np.full((len(self), 2), np.inf), np.full((len(self), 2), -np.inf)
        every = np.arange(len(self))
        for rows, shapes, rim in ((every, self._polygons, 0.5), (*self._lines, 0.0), (*self._points, 0.0)):
            corners = shapely.bounds(shapes).reshape(-1, 4)
            one, other = self._in_pixels(corners[:, :2]), self._in_pixels(corners[:, 2:])
            first, last = np.minimum(one, other), np.maximum(one, other)
            first, last = (
                (np.ceil(first - 0.5), np.floor(last + 0.5)) if rim else (np.floor(first), np.floor(last) + 1)
            )
            np.fmin.at(low, rows, first)
            np.fmax.at(high, rows, last)
        size = np.array([self.grid.columns, self.grid.rows], dtype=np.float64)
        low, high = np.clip(low, 0, size), np.clip(high, 0, size)
        return np.column_stack([low[:, ::-1], high[:, ::-1]]).astype(np.int64)


def footprints_of(geometries: Geometries, grid: Grid) -> Footprints:
    """Geometries over a grid; the last ones are kept, since units are cut and computed by the same ones.

    Raises
    ------
    GraphError
        As `Footprints`.
    """
    for known, made in tuple(_LAST):  # other threads may add to it
        if known is geometries and made.grid == grid:
            return made
    made = Footprints(geometries, grid)
    _LAST.append((geometries, made))
    return made


_LAST: Final[deque[tuple[Geometries, Footprints]]] = deque(maxlen=2)


def _polygons(shapes: _Shapes) -> _Shapes:
    """What the polygons of each geometry cover, as valid multipolygons; empty where there are none."""
    cleaned = clean_shapes(shapes)
    if cleaned.broken:
        row = min(cleaned.broken)
        raise GraphError(
            f"geometry {row + 1}: {cleaned.reasons[row]}", hint="repair or remove it", fault="ProcessParameterInvalid"
        )
    polygons = cleaned.geometries
    polygons[shapely.is_missing(polygons)] = shapely.MultiPolygon()
    return polygons


def _parts(shapes: _Shapes, kinds: tuple[str, ...]) -> tuple[_Numbers, _Shapes]:
    """Single lines or points of geometries, and the geometry of each."""
    others = np.flatnonzero(~np.isin(shapely.get_type_id(shapes), _KINDS_OF_POLYGONS))
    parts, rows = shapely.get_parts(shapes[others], return_index=True)
    rows = others[rows]
    while (nested := shapely.get_type_id(parts) >= shapely.GeometryType.MULTIPOINT).any():
        inner, owner = shapely.get_parts(parts[nested], return_index=True)
        parts = np.concatenate([parts[~nested], inner])
        rows = np.concatenate([rows[~nested], rows[nested][owner]])
    wanted = np.array([part.geom_type in kinds and not part.is_empty for part in parts], dtype=np.bool_)
    return rows[wanted], parts[wanted]
