"""Which windows of a scene hold data, by the mask that comes with it: so that empty ones are never decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from hpckit.errors import SceneError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import MaskBand, flagged
from hpckit.sensors.model import Scene
from hpckit.sensors.source import open_band, read_window

_MARGIN: Final = 1
"""Mask pixels around a window that must be empty too: the mask is coarser than the bands."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Per window of one resolution; shape (window rows, window columns)."""

    occupied: npt.NDArray[np.bool_]
    """False where every mask pixel in and around the window is nodata."""
    clear: npt.NDArray[np.float64]
    """Fraction of mask pixels that are neither cloud nor nodata."""


def mask_ref(scene: Scene, mask: MaskBand | None) -> BandRef | None:
    """The mask of a product that decodes fastest; None if it has none."""
    refs = [] if mask is None else [BandRef(mask.name, size, mask.band) for size in mask.quickest]
    return next((ref for ref in refs if ref.key in scene.assets), None)


@lru_cache(maxsize=256)
def occupancy(scene: Scene, resolution_m: int, window: int, mask: MaskBand | None) -> Occupancy:
    """Look the windows of a scene's tile up in the mask; without a readable one all count as clear.

    Parameters
    ----------
    window : int
        Edge of a window, in pixels of `resolution_m`.
    """
    if scene.frame is None:
        raise TypeError(f"{scene.id} lies on no tile")
    rows, columns = (-(-pixels // window) for pixels in scene.frame.shapes[resolution_m])
    values, mask_m = _read(scene, mask)
    if values is None or mask is None:
        return Occupancy(np.ones((rows, columns), dtype=bool), np.ones((rows, columns)))
    occupied = np.empty((rows, columns), dtype=bool)
    clear = np.empty((rows, columns))
    edge = window * resolution_m / mask_m
    unseen, hidden = (flagged(mask.band, values, flags) for flags in (mask.empty, (*mask.empty, *mask.clouds)))
    for row in range(rows):
        for column in range(columns):
            occupied[row, column] = not _block(unseen, row, column, edge).all()
            clear[row, column] = 1 - _block(hidden, row, column, edge).mean()
    return Occupancy(occupied, clear)


def _read(scene: Scene, mask: MaskBand | None) -> tuple[npt.NDArray[Any] | None, int]:
    ref = mask_ref(scene, mask)
    if ref is None:
        return None, 0
    try:
        with open_band(scene, ref) as source:
            return read_window(source, scene, ref, Window(0, 0, source.width, source.height)), ref.resolution_m
    except SceneError:
        return None, 0  # a broken mask spares no decoding; if the band is wanted, its own unit reports it


def _block(mask: npt.NDArray[Any], row: int, column: int, edge: float) -> npt.NDArray[Any]:
    """Mask pixels in and around a window; the nearest ones where a cut-off mask ends before the raster."""
    top, left = int(row * edge) - _MARGIN, int(column * edge) - _MARGIN
    bottom, right = int(np.ceil((row + 1) * edge)) + _MARGIN, int(np.ceil((column + 1) * edge)) + _MARGIN
    rows, columns = mask.shape
    return mask[max(0, min(top, rows - 1)) : bottom, max(0, min(left, columns - 1)) : right]
