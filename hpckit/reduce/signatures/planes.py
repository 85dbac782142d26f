"""Where signatures take the pixels of a band from: a cube, or windows that are decoded for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hpckit.cubes.decode import DecodedPlane, decode_plane
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.read import band_array, read_plane
from hpckit.reduce.signatures.index import ZoneIndex
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.parts import Cells, cell_edge
from hpckit.sensors.reader import Needed
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TileShare:
    """One tile's share of a unit."""

    tile: str
    time_index: int | None
    """Position of the acquisition on the tile's time axis; None where the tile does not have it."""
    indexes: Mapping[int, ZoneIndex]
    """Zone index by resolution in metres, of the same zones in the same order."""

    def touched(self, edge_m: int, shape: tuple[int, int]) -> Windows:
        """Squares of a raster that hold the centre of a pixel of some zone, or give it its value.

        Parameters
        ----------
        edge_m : int
            Edge of a square, metres: of a window, or of a part of one.
        shape : tuple of int
            Rows and columns of squares. A coarse raster may end before a fine one does: its last squares give the
            pixels beyond it their value.
        """
        found = np.zeros(shape, np.bool_)
        for size, index in self.indexes.items():
            for row, column in np.argwhere(index.windows(edge_m / size)).tolist():
                found[min(row, shape[0] - 1), min(column, shape[1] - 1)] = True
        return found

    def touched_in(self, frame: Frame, ref: BandRef) -> Windows:
        """Windows of a band of the tile that zones need."""
        return self.touched(frame.edges[ref.resolution_m] * ref.resolution_m, frame.windows(ref.resolution_m))


class Planes(Protocol):
    """Pixels of bands at one acquisition."""

    def plane(self, part: TileShare, ref: BandRef) -> Values:
        """Stored integers of a band of a tile that has the acquisition.

        Returns
        -------
        ndarray, shape (rows, columns)
            Right in all windows that zones of the part touch; 0 where there is no data.

        Raises
        ------
        CubeError
            If such a window is not there, or not as it should be.
        """


@dataclass(frozen=True, slots=True)
class CubePlanes:
    """Planes of a cube."""

    cube: Path
    threads: int = 1
    """Shards that are read at a time."""

    def plane(self, part: TileShare, ref: BandRef) -> Values:
        """Read a plane from the shards."""
        if part.time_index is None:
            raise TypeError(f"{part.tile} does not have the acquisition")
        array = band_array(self.cube, part.tile, ref)
        shape = (-(-array.shape[1] // array.grid.window), -(-array.shape[2] // array.grid.window))
        windows = part.touched(array.grid.window * ref.resolution_m, shape)
        return read_plane(self.cube, part.tile, ref, part.time_index, windows, threads=self.threads)


class DecodedPlanes:
    """Planes straight from products, for all units of a bundle: each window of each band is decoded once.

    Of windows with few pixels of zones only the code blocks of these are decoded, where that costs less.

    Parameters
    ----------
    at : mapping of str to Acquisition
        The acquisition, by tile that has it.
    users : iterable of tuple
        Shares of tiles, each with the bands that are asked for with it.
    threads : int
        Rows of windows that are decoded at a time.
    """

    def __init__(
        self,
        spec: CubeSpec,
        at: Mapping[str, Acquisition],
        users: Iterable[tuple[TileShare, Iterable[BandRef]]],
        threads: int = 1,
    ) -> None:
        self.window_pixels = 0
        """Of the windows that zones touch, decoded or not."""
        self.decoded_pixels = 0
        self.decode_s = 0.0
        self._spec = spec
        self._at = at
        self._threads = threads
        self._wanted: dict[tuple[str, BandRef], Cells] = {}
        self._known: dict[tuple[str, BandRef], DecodedPlane] = {}
        for part, refs in users:
            if part.tile in at:
                self._want(part, refs)

    def plane(self, part: TileShare, ref: BandRef) -> Values:
        """Decode a plane, unless it was decoded for another share and not released since."""
        key = part.tile, ref
        if key not in self._known:
            self._known[key] = self._decode(*key)
        found = self._known[key]
        if found.failed.any() and (missing := self._missing(found, part, ref)):
            when = self._at[part.tile].id
            what = f"band {ref} of tile {part.tile} cannot be decoded for {when} in {missing} of its windows"
            raise found.error(what)
        return found.pixels

    def _missing(self, found: DecodedPlane, part: TileShare, ref: BandRef) -> int:
        """Windows that zones of a part need and that could not be decoded."""
        return int((found.failed & part.touched_in(self._frame(part.tile), ref)).sum())

    def release(self, ref: BandRef) -> None:
        """Forget a band; nobody will ask for it any more."""
        for key in [key for key in self._known if key[1] == ref]:
            del self._known[key]

    def _want(self, part: TileShare, refs: Iterable[BandRef]) -> None:
        frame = self._frame(part.tile)
        for ref in refs:
            edge, (rows, columns) = cell_edge(frame.edges[ref.resolution_m]), frame.shapes[ref.resolution_m]
            touched = part.touched(edge * ref.resolution_m, (-(-rows // edge), -(-columns // edge)))
            known = self._wanted.get((part.tile, ref))
            self._wanted[part.tile, ref] = touched if known is None else known | touched

    def _decode(self, tile: str, ref: BandRef) -> DecodedPlane:
        needed = Needed(self._wanted[tile, ref], cell_edge(self._frame(tile).edges[ref.resolution_m]))
        plane = decode_plane(self._spec, tile, ref, self._at[tile], needed, threads=self._threads)
        self.window_pixels += plane.window_pixels
        self.decoded_pixels += plane.decoded_pixels
        self.decode_s += plane.decode_s
        return plane

    def _frame(self, tile: str) -> Frame:
        return self._spec.frame(tile, (self._at[tile],))
