"""How much decoding signatures straight from products is: pixels, and bytes of what is in memory."""

from __future__ import annotations

from functools import cache

import numpy as np

from hpckit.cubes.held import narrowed, pixels
from hpckit.cubes.tiles import Tiles
from hpckit.sensors.bands import BandRef
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows


class Sizes:
    """Of the windows that zones touch, one date of a band at a time; what was looked up once is kept."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self._finest = min(tiles.spec.bands, key=lambda ref: ref.resolution_m)
        self.frame = cache(tiles.frame)
        self.windows = cache(self._windows)
        self.pixels = cache(self._pixels)
        self.dates = cache(self._dates)

    def finest_pixels(self, tile: str) -> int:
        """Pixels of the finest band of a tile."""
        return self.pixels(tile, self._finest)

    def plane_bytes(self, tile: str, ref: BandRef) -> int:
        """Memory of one date: of all rows of pixels in which some window is decoded."""
        frame: Frame = self.frame(tile)
        rows, columns = frame.shapes[ref.resolution_m]
        touched = int(self.windows(tile, ref).any(axis=1).sum()) * frame.edges[ref.resolution_m]
        return min(rows, touched) * columns * np.dtype(ref.dtype).itemsize

    def row_bytes(self, tile: str, ref: BandRef) -> int:
        """Memory of reading a row of windows, apart from the plane."""
        frame, spec = narrowed(self.frame(tile), self.windows(tile, ref), ref.resolution_m), self._tiles.spec
        return spec.sensor.row_bytes(frame, ref, self._tiles.acquisitions[tile], spec.reading)

    def _windows(self, tile: str, ref: BandRef) -> Windows:
        return self._tiles.held.windows(self.frame(tile), ref)

    def _pixels(self, tile: str, ref: BandRef) -> int:
        return pixels(self.frame(tile), self.windows(tile, ref), ref.resolution_m)

    def _dates(self, tile: str) -> dict[str, int]:
        """Position on the time axis of each acquisition of a tile."""
        return {item.id: position for position, item in enumerate(self._tiles.acquisitions[tile])}
