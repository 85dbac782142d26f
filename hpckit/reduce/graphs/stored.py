"""Stored pixels of one band of a tile: of the standing cube where it holds a date, else decoded from its products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.cubes.arrays import Array, shard_key
from hpckit.cubes.decode import decode_plane
from hpckit.cubes.ingest import inputs_of_dates
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.read import band_array
from hpckit.cubes.records import records_of
from hpckit.cubes.region import read_region
from hpckit.errors import CubeError, ShardError
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.ondemand.version import is_on_demand
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.sensors.parts import cell_edge
from hpckit.sensors.reader import Needed
from hpckit.space.box import Box
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows

Values = npt.NDArray[Any]
_NAMED: Final = 3


@dataclass(frozen=True)
class StoredBand:
    """A band of a tile, on the time axis of its campaign.

    Parameters
    ----------
    collection : Collection
    frame : Frame
        Of the tile, with the band's pixel size.
    ref : BandRef
    windows : ndarray of bool
        Windows that are read; the others hold no pixel of the collection.
    """

    collection: Collection
    frame: Frame
    ref: BandRef
    windows: Windows

    def read(self, dates: Sequence[int], box: Box) -> Values:
        """Stored numbers of a rectangle.

        Parameters
        ----------
        dates : sequence of int
            Positions on the time axis, rising.
        box : Box
            Within the tile.

        Returns
        -------
        ndarray, shape (dates, rows, columns)
            The band's nodata where there are none, and in windows that are not read.

        Raises
        ------
        CubeError
            If the cube lacks a date in a window that is read, and its products cannot be decoded.
        ShardError
            If a shard is gone or damaged.
        """
        try:
            return self._read(dates, box)
        except ShardError:
            if not is_on_demand(self.collection.tiles.run.path):
                raise
            return self._read(dates, box)  # it was removed at this moment, to make room: its record says so by now

    def _read(self, dates: Sequence[int], box: Box) -> Values:
        windows = self._touched(box) & self.windows
        lacking, array = self._lacking(dates, windows), self._array
        held = len(dates) > 0 and windows.any() and not lacking.any()
        if array is not None and held and array.fill == (self.ref.band.nodata or 0):
            (first, *others) = _runs(dates)
            if not others:
                return read_region(array, box, range(dates[first.start], dates[first.stop - 1] + 1), windows=windows)
        found = np.full((len(dates), *box.shape), self.ref.band.nodata or 0, self.ref.dtype)
        for run in _runs(dates) if array is not None and windows.any() else ():
            there = windows & ~lacking[run].all(axis=0)
            if there.any() and array is not None:
                part = read_region(array, box, range(dates[run.start], dates[run.stop - 1] + 1), windows=there)
                found[run] = part
        for number in np.flatnonzero(lacking.any(axis=(1, 2))).tolist():
            self._decode(dates[number], lacking[number], box, found[number])
        return found

    def _touched(self, box: Box) -> Windows:
        touched = np.zeros(self.frame.windows(self.ref.resolution_m), np.bool_)
        edge = self.frame.edges[self.ref.resolution_m]
        if not box.is_empty:
            touched[box.top // edge : -(-box.bottom // edge), box.left // edge : -(-box.right // edge)] = True
        return touched

    @cached_property
    def _acquisitions(self) -> tuple[Acquisition, ...]:
        return tuple(self.collection.tiles.acquisitions[self.frame.tile])

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Digest of what each date is made from."""
        return inputs_of_dates(self.collection.tiles.spec, self._acquisitions)

    @cached_property
    def _spec(self) -> CubeSpec:
        return self.collection.spec([self.ref])

    @cached_property
    def _array(self) -> Array | None:
        """Array of the cube; None if it has none."""
        own = self.collection.tiles.spec
        if not self.collection.tiles.campaign.cube.keep or self.ref not in own.bands:
            return None
        try:
            return band_array(own.path, self.frame.tile, self.ref)
        except CubeError:
            return None

    def _lacking(self, dates: Sequence[int], windows: Windows) -> npt.NDArray[np.bool_]:
        """Dates and windows that the cube does not hold as they should be."""
        lacking = np.repeat(windows[None], len(dates), axis=0)
        array = self._array
        if array is None:
            return lacking
        records = records_of(self.collection.tiles.spec.path, self.frame.tile)
        records.reload()
        for row, column in np.argwhere(windows).tolist():
            known: dict[int, tuple[str, ...]] = {}
            for number, date in enumerate(dates):
                block, within = divmod(date, array.dates_per_shard)
                if block not in known:
                    record = records.get(shard_key(self.frame.tile, self.ref, block, row, column))
                    known[block] = () if record is None else record.inputs
                inputs = known[block]
                lacking[number, row, column] = within >= len(inputs) or inputs[within] != self.inputs[date]
        return lacking

    def _decode(self, date: int, windows: Windows, box: Box, into: Values) -> None:
        """Fill what lies in windows with the pixels of the products."""
        size, acquisition = self.ref.resolution_m, self._acquisitions[date]
        edge = self.frame.edges[size]
        cell = cell_edge(edge)
        needed = np.zeros([-(-length // cell) for length in self.frame.shapes[size]], np.bool_)
        for row, column in np.argwhere(windows).tolist():
            part = _shared(box, Box(row * edge, column * edge, (row + 1) * edge, (column + 1) * edge))
            needed[part.top // cell : -(-part.bottom // cell), part.left // cell : -(-part.right // cell)] = True
        plane = decode_plane(self._spec, self.frame.tile, self.ref, acquisition, Needed(needed, cell))
        if plane.failed.any():
            raise plane.error(
                f"collection {self.collection.name!r}: the cube lacks band {self.ref} of tile {self.frame.tile} at "
                f"{acquisition.id}, and the products cannot be decoded",
                hint=f"`hpckit run {self.collection.tiles.campaign.path}` makes the cube; or leave the date out",
            )
        for row, column in np.argwhere(windows).tolist():
            part = _shared(box, Box(row * edge, column * edge, (row + 1) * edge, (column + 1) * edge))
            inner = part.moved(-box.top, -box.left)
            into[inner.top : inner.bottom, inner.left : inner.right] = plane.pixels[
                part.top : part.bottom, part.left : part.right
            ]


def _shared(one: Box, other: Box) -> Box:
    return Box(
        max(one.top, other.top), max(one.left, other.left), min(one.bottom, other.bottom), min(one.right, other.right)
    )


def _runs(dates: Sequence[int]) -> Iterator[slice]:
    """Slices of consecutive positions."""
    start = 0
    for number in range(1, len(dates) + 1):
        if number == len(dates) or dates[number] != dates[number - 1] + 1:
            yield slice(start, number)
            start = number
