"""Which observations are left out, and how far the next cloud is: from the class band to a band's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.composites.settings import CompositeMask, Score
from hpckit.cube.read import ArrayInfo
from hpckit.cube.region import Box, read_region
from hpckit.reduce.kernels.nearness import squared_distance


@dataclass(frozen=True, slots=True)
class Clouds:
    """The class band of a tile, and what to make of it."""

    info: ArrayInfo
    resolution_m: int
    mask: CompositeMask

    def excluded(self, box: Box, resolution_m: int, threads: int) -> npt.NDArray[np.bool_]:
        """Pixels of a box, in pixels of `resolution_m`, that are left out; shape (dates, rows, columns)."""
        reach = self.mask.dilate.in_pixels(self.resolution_m)
        classes, own = self._classes(box, resolution_m, ceil(reach), threads)
        left_out = _among(self.mask.exclude)[classes]
        if reach > 0:
            growing = _among(self.mask.dilate_classes)[classes]
            left_out |= squared_distance(growing, ceil(reach)) <= reach * reach
        return self._fit(left_out, own, box, resolution_m)

    def distance(self, box: Box, resolution_m: int, score: Score, threads: int) -> npt.NDArray[np.uint8]:
        """Distance to the next cloud or shadow, in pixels of the class band, as far as it matters."""
        reach = min(250, ceil(score.cloud_distance.in_pixels(self.resolution_m)))
        classes, own = self._classes(box, resolution_m, reach, threads)
        squared = squared_distance(_among(self.mask.dilate_classes)[classes], reach)
        nearest = np.minimum(np.sqrt(squared), reach).astype(np.uint8)
        return self._fit(nearest, own, box, resolution_m)

    def _classes(self, box: Box, resolution_m: int, reach: int, threads: int) -> tuple[npt.NDArray[np.uint8], Box]:
        """Classes around a box, and the rectangle of the class band that they fill."""
        ratio = resolution_m / self.resolution_m
        own = Box(
            floor(box.top * ratio), floor(box.left * ratio), ceil(box.bottom * ratio), ceil(box.right * ratio)
        ).grown(reach)
        return read_region(self.info, own, threads=threads), own

    def _fit(self, values: npt.NDArray[Any], own: Box, box: Box, resolution_m: int) -> npt.NDArray[Any]:
        """Values of the class band at the pixels of a box: of the class pixel that holds the pixel's centre."""
        ratio = resolution_m / self.resolution_m
        rows = np.floor((np.arange(box.top, box.bottom) + 0.5) * ratio).astype(int) - own.top
        columns = np.floor((np.arange(box.left, box.right) + 0.5) * ratio).astype(int) - own.left
        return np.ascontiguousarray(values[:, rows][:, :, columns])


def _among(classes: list[int]) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[classes] = True
    return table
