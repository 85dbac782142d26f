"""Which observations are left out, and how far the next cloud is: from the class band to a band's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.campaign.composite import CompositeMask, Score
from hpckit.cubes.arrays import Array
from hpckit.cubes.region import read_region
from hpckit.reduce.kernels.nearness import squared_distance
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import flagged
from hpckit.space.box import Box


@dataclass(frozen=True, slots=True)
class Clouds:
    """The class band of a tile, and what to make of it."""

    array: Array
    ref: BandRef
    mask: CompositeMask

    @property
    def resolution_m(self) -> int:
        """Of the class band, metres."""
        return self.ref.resolution_m

    def excluded(self, box: Box, resolution_m: int, threads: int) -> npt.NDArray[np.bool_]:
        """Pixels of a box, in pixels of `resolution_m`, that are left out; shape (dates, rows, columns)."""
        reach = self.mask.dilate.in_pixels(self.resolution_m)
        classes, own = self._classes(box, resolution_m, ceil(reach), threads)
        left_out = flagged(self.ref.band, classes, self.mask.exclude)
        if reach > 0:
            growing = flagged(self.ref.band, classes, self.mask.dilate_classes)
            left_out |= squared_distance(growing, ceil(reach)) <= reach * reach
        return self._fit(left_out, own, box, resolution_m)

    def distance(self, box: Box, resolution_m: int, score: Score, threads: int) -> npt.NDArray[np.uint8]:
        """Distance to the next cloud or shadow, in pixels of the class band, as far as it matters."""
        reach = score.reach(self.resolution_m)
        classes, own = self._classes(box, resolution_m, reach, threads)
        squared = squared_distance(flagged(self.ref.band, classes, self.mask.dilate_classes), reach)
        nearest = np.minimum(np.sqrt(squared), reach).astype(np.uint8)
        return self._fit(nearest, own, box, resolution_m)

    def _classes(self, box: Box, resolution_m: int, reach: int, threads: int) -> tuple[npt.NDArray[Any], Box]:
        """Classes around a box, and the rectangle of the class band that they fill."""
        ratio = resolution_m / self.resolution_m
        own = Box(
            floor(box.top * ratio), floor(box.left * ratio), ceil(box.bottom * ratio), ceil(box.right * ratio)
        ).grown(reach)
        return read_region(self.array, own, threads=threads), own

    def _fit(self, values: npt.NDArray[Any], own: Box, box: Box, resolution_m: int) -> npt.NDArray[Any]:
        """Values of the class band at the pixels of a box: of the class pixel that holds the pixel's centre."""
        ratio = resolution_m / self.resolution_m
        rows = np.floor((np.arange(box.top, box.bottom) + 0.5) * ratio).astype(int) - own.top
        columns = np.floor((np.arange(box.left, box.right) + 0.5) * ratio).astype(int) - own.left
        return np.ascontiguousarray(values[:, rows][:, :, columns])
