"""Which windows of a scene hold data, from its scene classification: so that empty ones are never decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from hpckit.cube.layout import windows
from hpckit.cube.source import open_band, read_window
from hpckit.errors import SceneError
from hpckit.scenes.bands import WINDOW, BandRef
from hpckit.scenes.model import Scene

_NODATA: Final = 0
HIDDEN: Final = (_NODATA, 8, 9, 10)
"""Nodata, and cloud of medium and high probability, and cirrus."""
_MARGIN: Final = 1
"""Mask pixels around a window that must be empty too: the mask is coarser than the bands."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Per window of one resolution; shape (window rows, window columns)."""

    occupied: npt.NDArray[np.bool_]
    """False where every mask pixel in and around the window is nodata."""
    clear: npt.NDArray[np.float64]
    """Fraction of mask pixels that are neither cloud nor nodata."""


def occupancy(scene: Scene, resolution_m: int) -> Occupancy:
    """Look the windows up in the scene classification; without a readable one all count as clear."""
    return _occupancy(_Key(scene), resolution_m)


def mask_band(scene: Scene) -> BandRef | None:
    """Coarsest scene classification of a product, which decodes fastest; None if it has none."""
    refs = [BandRef("SCL", 60), BandRef("SCL", 20)]
    return next((ref for ref in refs if ref.key in scene.assets), None)


class _Key:
    """A scene as a key of the cache; scenes hold dictionaries, which cannot be hashed."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __hash__(self) -> int:
        return hash(self.scene.href)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.scene == self.scene


@lru_cache(maxsize=256)
def _occupancy(key: _Key, resolution_m: int) -> Occupancy:
    rows, columns = windows(key.scene.shapes[resolution_m], resolution_m)
    mask, mask_m = _classification(key.scene)
    if mask is None:
        return Occupancy(np.ones((rows, columns), dtype=bool), np.ones((rows, columns)))
    occupied = np.empty((rows, columns), dtype=bool)
    clear = np.empty((rows, columns))
    edge = WINDOW[resolution_m] * resolution_m / mask_m
    for row in range(rows):
        for column in range(columns):
            block = _block(mask, row, column, edge)
            occupied[row, column] = (block != _NODATA).any()
            clear[row, column] = 1 - np.isin(block, HIDDEN).mean()
    return Occupancy(occupied, clear)


def _classification(scene: Scene) -> tuple[npt.NDArray[np.uint8] | None, int]:
    ref = mask_band(scene)
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
