"""Vector tiles of zones: outlines where they can be seen, counts of zones where they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.look.mercator import Bounds, bounds_of_map_tile
from hpckit.serve.viewer.vectortile import buffered, encode_polygons
from hpckit.serve.zonemap import ZoneMap

LAYER: Final = "zones"
COUNTS: Final = "counts"
_MOST: Final = 12_000
"""Outlines in one tile; where there are more, their counts are shown."""
_SMALLEST_PIXELS: Final = 0.75
"""Zones whose larger edge is smaller than this in pixels of 256 a tile are left out."""
_CELLS: Final = 32
"""Cells of counts along the edge of a tile."""


def zone_tile(zones: ZoneMap, z: int, x: int, y: int, extra: Mapping[str, npt.NDArray[Any]] | None = None) -> bytes:
    """Vector tile of zones: a layer `zones` with outlines, or, where they are too many or too small, `counts`.

    Parameters
    ----------
    z, x, y : int
        Of the tile, in the scheme of web maps.
    extra : mapping of str to ndarray, shape (zones,), optional
        More attributes of zones, by name.

    Returns
    -------
    bytes
        Of `zones`: `id`, `label`, and `extra`; of `counts`: `zones`, the number in a cell.
    """
    box = bounds_of_map_tile(z, x, y)
    rows = zones.within(*buffered(box))
    boxes, pixel = zones.boxes[rows], (box[2] - box[0]) / 256
    size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    if len(rows) and (len(rows) > _MOST or np.median(size) < 2 * _SMALLEST_PIXELS * pixel):
        return _counts(boxes, box)
    rows = rows[size >= _SMALLEST_PIXELS * pixel]
    if not len(rows):
        return b""
    shapes = shapely.transform(zones.outlines(rows), zones.to_mercator.transform, interleaved=False)
    shapes = shapely.simplify(shapes, pixel / 8, preserve_topology=False)
    attributes: dict[str, Sequence[Any]] = {
        "id": zones.ids.take(rows).to_pylist(),
        "label": zones.labels[rows].tolist(),
    }
    for name, values in (extra or {}).items():
        attributes[name] = [None if value != value else value for value in values[rows].tolist()]
    return encode_polygons(LAYER, box, shapes, attributes)


def _counts(boxes: npt.NDArray[np.float64], box: Bounds) -> bytes:
    """Number of zones by cell of the tile, of those whose middle lies in it."""
    edge = (box[2] - box[0]) / _CELLS
    column = np.floor(((boxes[:, 0] + boxes[:, 2]) / 2 - box[0]) / edge).astype(np.int64)
    row = np.floor((box[3] - (boxes[:, 1] + boxes[:, 3]) / 2) / edge).astype(np.int64)
    inside = (column >= 0) & (column < _CELLS) & (row >= 0) & (row < _CELLS)
    counts = np.bincount(row[inside] * _CELLS + column[inside], minlength=_CELLS**2)
    cells = np.flatnonzero(counts)
    down, along = np.divmod(cells, _CELLS)
    west, north = box[0] + along * edge, box[3] - down * edge
    shapes = shapely.box(west, north - edge, west + edge, north)
    return encode_polygons(COUNTS, box, shapes, {"zones": counts[cells].tolist()})
