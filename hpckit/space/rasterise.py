"""Polygons to pixels: which pixel centres a polygon holds, and which fraction of each pixel it covers.

`fill` follows the rule of GDAL's polygon filler, so that a zone has exactly the pixels that
`rasterio.features.rasterize` burns for it: an edge counts in a row if it crosses the line through the
pixel centres, from its upper end inclusive to its lower end exclusive; pixels between two crossings
belong to the polygon if their centre lies at or right of the first and left of the second; an edge along that
line counts if the polygon's ring lies north of it (rings are taken clockwise, whatever their direction).

`cover` sums signed areas along edges: the area between an edge and the right border of the raster, added
in the pixel where the edge runs and carried over to those right of it, gives after a running sum along the
row the exact area that the polygon covers in each pixel. Each pixel that an edge meets is visited once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from hpckit.base.compiled import compiled, spread
from hpckit.base.sorting import sort
from hpckit.space.box import Box
from hpckit.space.vector.shapes import united

_LEAST = 1e-7
"""Fraction below which a pixel counts as not covered: the rounding of the running sum."""
_STRIP = 1 << 20
"""Pixels of the scratch raster in which areas are summed."""


class Rings:
    """Rings of many zones in pixel coordinates, as flat arrays."""

    def __init__(self, geometries: npt.NDArray[np.object_], transform: Affine) -> None:
        multi = np.array([_as_multi(geometry) for geometry in geometries], dtype=object)
        _, xy, (ring_starts, polygon_starts, zone_starts) = shapely.to_ragged_array(multi, include_z=False)
        # GDAL's inverse of a north-up transform, in the same order of operations.
        self.x = -transform.c / transform.a + xy[:, 0] * (1.0 / transform.a)
        self.y = -transform.f / transform.e + xy[:, 1] * (1.0 / transform.e)
        self.starts = ring_starts.astype(np.int64)
        """First vertex of each ring, and the end of the last."""
        self.zones = polygon_starts.astype(np.int64)[zone_starts]
        """First ring of each zone, and the end of the last."""
        self.clockwise = np.empty(len(self.starts) - 1, np.bool_)
        """Whether each ring runs clockwise on the map."""
        _find_clockwise(self.x, self.y, self.starts, self.clockwise)


def without_overlaps(geometries: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Zones whose parts overlap, here or since they were transformed, as what the parts cover together."""
    several = np.flatnonzero(shapely.get_num_geometries(geometries) > 1)
    overlapping = several[~shapely.is_valid(geometries[several])]
    if not len(overlapping):
        return geometries
    whole = geometries.copy()
    for row in overlapping.tolist():
        whole[row] = united(geometries[row])
    return whole


def fill(
    rings: Rings, shape: tuple[int, int], part: Box | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Pixels whose centre lies in each zone.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the raster.
    part : Box, optional
        Part of the raster whose pixels are wanted: the same ones as without it, since coordinates stay those of the
        whole raster.

    Returns
    -------
    offsets : ndarray of int64, shape (zones + 1,)
    pixels : ndarray of uint32
        `row * columns + column` in the part, ascending within a zone.
    """
    box = Box(0, 0, *shape) if part is None else part.within(shape)
    edges = (box.top, box.left, box.bottom, box.right)
    counts = np.zeros(len(rings.zones) - 1, dtype=np.int64)
    nothing = np.empty(0, np.uint32)
    parts = (rings.x, rings.y, rings.starts, rings.zones, rings.clockwise)
    spread(_fill, len(counts), *parts, edges, counts, counts, nothing)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pixels = np.empty(offsets[-1], dtype=np.uint32)
    spread(_fill, len(counts), *parts, edges, counts, offsets, pixels)
    return offsets, pixels


def cover(
    rings: Rings, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """Fraction of each pixel that each zone covers.

    Exterior rings must run one way and holes the other.

    Returns
    -------
    offsets, pixels
        As for `fill`.
    weights : ndarray of float32
        In (0, 1].
    """
    rows, columns = shape
    counts = np.zeros(len(rings.zones) - 1, dtype=np.int64)
    no_pixels, no_weights = np.empty(0, np.uint32), np.empty(0, np.float32)
    parts = (rings.x, rings.y, rings.starts, rings.zones)
    spread(_cover, len(counts), *parts, rows, columns, counts, counts, no_pixels, no_weights)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pixels = np.empty(offsets[-1], dtype=np.uint32)
    weights = np.empty(offsets[-1], dtype=np.float32)
    spread(_cover, len(counts), *parts, rows, columns, counts, offsets, pixels, weights)
    return offsets, pixels, weights


def _as_multi(geometry: shapely.Geometry) -> shapely.Geometry:
    return geometry if geometry.geom_type == "MultiPolygon" else shapely.MultiPolygon([geometry])


@compiled()
def _find_clockwise(x, y, starts, result):  # type: ignore[no-untyped-def]
    """Whether each ring runs clockwise on the map: counter-clockwise where y points down."""
    for ring in range(len(starts) - 1):
        twice_area = 0.0
        x0, y0 = x[starts[ring]], y[starts[ring]]
        for vertex in range(starts[ring], starts[ring + 1] - 1):
            twice_area += (x[vertex] - x0) * (y[vertex + 1] - y0) - (x[vertex + 1] - x0) * (y[vertex] - y0)
        result[ring] = twice_area > 0


@compiled(nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    start, stop, x, y, starts, zones, clockwise, edges, counts, offsets, pixels
):
    """Count the pixels of each zone, or write them when `pixels` has room."""
    first_row, first_column, end_row, end_column = edges
    columns = end_column - first_column
    for zone in range(start, stop):
        first, last = starts[zones[zone]], starts[zones[zone + 1]]
        if first == last:
            continue
        low, high = _extent(y, first, last)
        top, bottom = max(first_row, np.int64(np.floor(low))), min(end_row, np.int64(np.floor(high)) + 1)
        if top >= bottom:
            continue
        ends = _crossings_per_row(y, starts, zones[zone], zones[zone + 1], top, bottom)
        spans = _spans(x, y, starts, clockwise, zones[zone], zones[zone + 1], top, bottom, ends)
        position = offsets[zone]
        count = 0
        for row in range(bottom - top):
            reached = first_column
            begin = ends[row]
            for pair in range(begin, ends[row + 1] - 1, 2):
                left = max(np.int64(spans[pair]), reached)
                right = min(np.int64(spans[pair + 1]), end_column)
                for column in range(left, right):
                    if len(pixels) > 0:
                        pixels[position + count] = (top + row - first_row) * columns + column - first_column
                    count += 1
                reached = max(reached, right)
        if len(pixels) == 0:
            counts[zone] = count


@compiled()
def _extent(values, first, last):  # type: ignore[no-untyped-def]
    """Smallest and largest of some values."""
    low = high = values[first]
    for position in range(first + 1, last):
        low, high = min(low, values[position]), max(high, values[position])
    return low, high


@compiled()
def _crossings_per_row(y, starts, first_ring, last_ring, top, bottom):  # type: ignore[no-untyped-def]
    """Where the crossings of each row begin; a horizontal edge on a centre line counts as two."""
    ends = np.zeros(bottom - top + 1, np.int64)
    for ring in range(first_ring, last_ring):
        for vertex in range(starts[ring], starts[ring + 1] - 1):
            low, high = min(y[vertex], y[vertex + 1]), max(y[vertex], y[vertex + 1])
            begin = max(top, np.int64(np.ceil(low - 0.5)))
            if low == high:
                if begin + 0.5 == low and begin < bottom:
                    ends[begin - top + 1] += 2
                continue
            for row in range(begin, bottom):
                if row + 0.5 >= high:
                    break
                ends[row - top + 1] += 1
    for row in range(bottom - top):
        ends[row + 1] += ends[row]
    return ends


@compiled()
def _spans(x, y, starts, clockwise, first_ring, last_ring, top, bottom, ends):  # type: ignore[no-untyped-def]
    """Columns at which each row enters and leaves the polygon, as sorted pairs."""
    spans = np.empty(ends[-1], np.float64)
    extra = np.zeros(bottom - top, np.int64)
    used = ends[:-1].copy()
    for ring in range(first_ring, last_ring):
        for vertex in range(starts[ring], starts[ring + 1] - 1):
            x1, y1, x2, y2 = x[vertex], y[vertex], x[vertex + 1], y[vertex + 1]
            if y1 == y2:
                row = np.int64(np.ceil(y1 - 0.5))
                if row + 0.5 == y1 and top <= row < bottom:
                    # Kept at the end of the row's room, apart from the crossings, which pair up by order.
                    extra[row - top] += 2
                    room = ends[row - top + 1] - extra[row - top]
                    spans[room] = np.floor(min(x1, x2) + 0.5)
                    spans[room + 1] = np.floor(max(x1, x2) + 0.5) if (x1 > x2) == clockwise[ring] else spans[room]
                continue
            if y1 > y2:
                x1, y1, x2, y2 = x2, y2, x1, y1
            for row in range(max(top, np.int64(np.ceil(y1 - 0.5))), bottom):
                centre = row + 0.5
                if centre >= y2:
                    break
                spans[used[row - top]] = (centre - y1) * (x2 - x1) / (y2 - y1) + x1
                used[row - top] += 1
    for row in range(bottom - top):
        _pair_up(spans[ends[row] : used[row]])
        if extra[row] > 0:
            _sort_pairs(spans[ends[row] : ends[row + 1]])
    return spans


@compiled()
def _pair_up(crossings):  # type: ignore[no-untyped-def]
    """Sort crossings, and move each to the pixel border from which on centres lie beyond it."""
    sort(crossings)
    for position in range(len(crossings)):
        crossings[position] = np.floor(crossings[position] + 0.5)


@compiled()
def _sort_pairs(spans):  # type: ignore[no-untyped-def]
    """Sort (begin, end) pairs by their begin; few, so by insertion."""
    for pair in range(2, len(spans) - 1, 2):
        begin, end = spans[pair], spans[pair + 1]
        place = pair
        while place > 0 and spans[place - 2] > begin:
            spans[place], spans[place + 1] = spans[place - 2], spans[place - 1]
            place -= 2
        spans[place], spans[place + 1] = begin, end


@compiled(nogil=True)
def _cover(  # type: ignore[no-untyped-def]
    start, stop, x, y, starts, zones, rows, columns, counts, offsets, pixels, weights
):
    """Count the covered pixels of each zone, or write them when `pixels` has room."""
    for zone in range(start, stop):
        first, last = starts[zones[zone]], starts[zones[zone + 1]]
        if first == last:
            continue
        low, high = _extent(y, first, last)
        top, bottom = max(0, np.int64(np.floor(low))), min(rows, np.int64(np.ceil(high)))
        low, high = _extent(x, first, last)
        left, right = max(0, np.int64(np.floor(low))), min(columns, np.int64(np.ceil(high)))
        if top >= bottom or left >= right:
            continue
        width = right - left
        height = max(1, min(bottom - top, _STRIP // (width + 1)))
        area = np.zeros((height, width + 1), np.float64)
        position = offsets[zone]
        count = 0
        for strip in range(top, bottom, height):
            size = min(height, bottom - strip)
            area[:size] = 0.0
            for ring in range(zones[zone], zones[zone + 1]):
                for vertex in range(starts[ring], starts[ring + 1] - 1):
                    _add_edge(
                        area[:size],
                        x[vertex] - left,
                        y[vertex] - strip,
                        x[vertex + 1] - left,
                        y[vertex + 1] - strip,
                    )
            for row in range(size):
                first_pixel = (strip + row) * columns + left
                count += _write_covered(area[row, :width], first_pixel, position + count, pixels, weights)
        if len(pixels) == 0:
            counts[zone] = count


@compiled()
def _write_covered(cells, first_pixel, position, pixels, weights):  # type: ignore[no-untyped-def]
    """Number of covered pixels in a row; they are written when `pixels` has room."""
    running = 0.0
    count = 0
    for column in range(len(cells)):
        running += cells[column]
        fraction = abs(running)
        if fraction > _LEAST:
            if len(pixels) > 0:
                pixels[position + count] = first_pixel + column
                weights[position + count] = min(fraction, 1.0)
            count += 1
    return count


@compiled()
def _add_edge(area, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Add the signed area right of an edge, row by row; the last column collects what lies beyond."""
    if y1 == y2:
        return
    sign = 1.0
    if y1 > y2:
        x1, y1, x2, y2, sign = x2, y2, x1, y1, -1.0
    slope = (x2 - x1) / (y2 - y1)
    height = len(area)
    row = max(0, np.int64(np.floor(y1)))
    while row < height and row < y2:
        upper, lower = max(y1, np.float64(row)), min(y2, np.float64(row + 1))
        if lower > upper:
            _add_segment(area[row], x1 + slope * (upper - y1), x1 + slope * (lower - y1), sign * (lower - upper))
        row += 1


@compiled()
def _add_segment(cells, xa, xb, rise):  # type: ignore[no-untyped-def]
    """Add an edge that stays within one row: `rise` is its signed height."""
    width = len(cells) - 1
    low, high = min(xa, xb), max(xa, xb)
    if high <= 0.0:
        cells[0] += rise
        return
    if low >= width:
        return
    span = high - low
    if span < 1e-12:
        column = min(np.int64(low), width - 1) if low > 0 else 0
        inside = min(max(low - column, 0.0), 1.0)
        cells[column] += rise * (1.0 - inside)
        cells[column + 1] += rise * inside
        return
    if low < 0.0:
        cells[0] += rise * (-low / span)
    column = max(0, np.int64(np.floor(low)))
    while column < width and column < high:
        begin, end = max(low, np.float64(column)), min(high, np.float64(column + 1))
        part = rise * (end - begin) / span
        inside = (begin + end) / 2 - column
        cells[column] += part * (1.0 - inside)
        cells[column + 1] += part * inside
        column += 1
