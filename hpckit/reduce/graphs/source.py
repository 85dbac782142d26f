"""A collection that was opened for an extent, a period and bands: pixels by region, decoded, of all tiles."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine

from hpckit.base.files import digest_json
from hpckit.cubes.ingest import inputs_of_dates
from hpckit.processgraph.cube import NOTHING, Band, Cube, Dimension, Grid
from hpckit.processgraph.process import Request
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.placing import Placed, Placing, place
from hpckit.reduce.graphs.stored import StoredBand
from hpckit.reduce.graphs.wanted import Wanted, wanted_of
from hpckit.reduce.kernels.stored import decode
from hpckit.sensors import bands as stored_bands
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import MaskBand
from hpckit.space.box import Box
from hpckit.space.warp import needed, warp

Values = npt.NDArray[Any]
_INTEGERS: Final = (np.dtype(np.uint8), np.dtype(np.uint16))


@dataclass(frozen=True)
class CollectionSource:
    """A collection as a cube `t, bands, y, x` of float32, NaN where there are no data.

    Of tiles that overlap, each pixel of each band is that of the first one, by name, that has data.
    """

    collection: Collection
    wanted: Wanted
    placing: Placing

    @property
    def grid(self) -> Grid:
        """All pixels of the extent."""
        return self.placing.grid

    @cached_property
    def type(self) -> Cube:
        """The cube without pixels."""
        labels = tuple(label for label, _ in self.wanted.bands)
        mask = self.collection.tiles.spec.sensor.mask
        known = tuple(_known(ref.band, mask) for _, ref in self.wanted.bands)
        dims = (
            Dimension("t", "temporal", tuple(label for label, _ in self.wanted.dates)),
            Dimension("bands", "bands", labels, bands=known),
            Dimension("y", "spatial", axis="y"),
            Dimension("x", "spatial", axis="x"),
        )
        values = np.zeros((len(dims[0].labels), len(labels), 0, 0), np.float32)
        return Cube(values, dims, self.grid, NOTHING, attributes=dict(self.collection.meaning))

    @cached_property
    def inputs(self) -> str:
        """Digest of what its pixels are made from: products of all dates and tiles, bands, extent."""
        tiles = self.collection.tiles
        made_of = {}
        for placed in self.placing.tiles:
            inputs = inputs_of_dates(tiles.spec, tiles.acquisitions[placed.tile])
            made_of[placed.tile] = [inputs[at] for _, at in self._dates(placed.tile)]
        bands = [f"{label} {ref.key}" for label, ref in self.wanted.bands]
        labels = [label for label, _ in self.wanted.dates]
        return digest_json([made_of, bands, labels, str(self.grid)])[:16]

    def read(self, box: Box) -> Cube:
        """Pixels of a part of the grid; NaN beyond it, and beyond the tiles.

        Raises
        ------
        CubeError
            If the cube lacks something in the extent, and its products cannot be decoded.
        """
        shape = (len(self.wanted.dates), len(self.wanted.bands), *box.shape)
        values = np.empty(shape, np.float32)
        for number, (_, ref) in enumerate(self.wanted.bands):
            self._fill(values[:, number], box, ref)
        values[:, :, self._beyond(box)] = np.nan
        return Cube(values, self.type.dims, self.grid, box, attributes=self.type.attributes)

    def _beyond(self, box: Box) -> npt.NDArray[np.bool_] | slice:
        """Pixels of a box that lie beyond the grid."""
        inside = box.within(self.grid.shape)
        if inside == box:
            return slice(0)
        beyond = np.ones(box.shape, np.bool_)
        inside = inside.moved(-box.top, -box.left)
        beyond[inside.top : inside.bottom, inside.left : inside.right] = False
        return beyond

    def stored(self, ref: BandRef, steps: Sequence[int], box: Box) -> Values:
        """Stored integers of a band at some time steps; 0 where there are no data.

        Parameters
        ----------
        ref : BandRef
            Of 16-bit integers of which 0 is none.
        steps : sequence of int
            Positions of time steps.
        """
        place = {step: number for number, step in enumerate(steps)}
        values: Values | None = None
        for placed in self.placing.tiles:
            read = self._read_aligned if placed.offset is not None else self._read_warped
            for found_steps, (rows, columns), found in read(box, placed, ref, place):
                if values is None and list(found_steps) == list(steps) and found.shape[1:] == box.shape:
                    values = found
                    continue
                values = np.zeros((len(steps), *box.shape), ref.dtype) if values is None else values
                for step, plane in zip(found_steps, found, strict=True):
                    part = values[place[step], rows, columns]
                    np.copyto(part, plane, where=part == 0)
        if values is None:
            return np.zeros((len(steps), *box.shape), ref.dtype)
        values[:, self._beyond(box)] = 0
        return values

    def _dates(self, tile: str, steps: Container[int] | None = None) -> list[tuple[int, int]]:
        """Time steps that a tile has, with its positions for them; all, or of some steps."""
        found = [(step, at[tile]) for step, (_, at) in enumerate(self.wanted.dates) if tile in at]
        return found if steps is None else [item for item in found if item[0] in steps]

    def _fill(self, values: Values, box: Box, ref: BandRef) -> None:
        """Write all pixels of a band: those that a tile lacks are those of the next one."""
        blank = True
        for placed in self.placing.tiles:
            read = self._read_aligned if placed.offset is not None else self._read_warped
            for steps, (rows, columns), found in read(box, placed, ref):
                whole = blank and len(steps) == len(values) and found.shape == values.shape
                if blank and not whole:
                    values.fill(np.nan)
                blank = False
                if whole:
                    _decode(found, ref.band, values, fresh=True)
                    continue
                for step, plane in zip(steps, found, strict=True):
                    _decode(plane[None], ref.band, values[step : step + 1, rows, columns], fresh=False)
        if blank:
            values.fill(np.nan)

    def _read_aligned(
        self, box: Box, placed: Placed, ref: BandRef, steps: Container[int] | None = None
    ) -> Iterator[tuple[Sequence[int], tuple[slice, slice], Values]]:
        """Stored pixels of a tile on the grid's lattice: coarser ones are repeated."""
        down, along = placed.offset or (0, 0)
        own = box.moved(-down, -along)
        inside = own.within(placed.frame.shapes[self.placing.resolution_m])
        dates = self._dates(placed.tile, steps)
        if inside.is_empty or not dates:
            return
        factor = ref.resolution_m / self.placing.resolution_m
        rows = _coarse(inside.top, inside.bottom, factor, placed.frame.shapes[ref.resolution_m][0])
        columns = _coarse(inside.left, inside.right, factor, placed.frame.shapes[ref.resolution_m][1])
        coarse = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        found = self._stored(placed, ref).read([at for _, at in dates], coarse)
        if factor != 1:
            found = found[:, rows - coarse.top][:, :, columns - coarse.left]
        target = inside.moved(-own.top, -own.left)
        yield (
            [step for step, _ in dates],
            (slice(target.top, target.bottom), slice(target.left, target.right)),
            found,
        )

    def _read_warped(
        self, box: Box, placed: Placed, ref: BandRef, steps: Container[int] | None = None
    ) -> Iterator[tuple[Sequence[int], tuple[slice, slice], Values]]:
        """Stored pixels of a tile of another lattice: of each pixel the one that its centre lies in."""
        from odc.geo.geobox import GeoBox  # imports dask

        source, target = placed.frame.geobox(ref.resolution_m), self.grid.geobox(box)
        dates = self._dates(placed.tile, steps)
        part = needed(source, target, "nearest") if dates and not box.is_empty else None
        if part is None:
            return
        rows, columns = part
        stored = self._stored(placed, ref).read(
            [at for _, at in dates], Box(rows.start, columns.start, rows.stop, columns.stop)
        )
        cut = GeoBox(stored.shape[1:], source.transform @ Affine.translation(columns.start, rows.start), source.crs)
        nodata = np.nan if stored.dtype.kind == "f" else ref.band.nodata or 0
        found = np.stack([warp(one, cut, target, "nearest", nodata=nodata) for one in stored])
        whole = slice(0, box.shape[0]), slice(0, box.shape[1])
        yield [step for step, _ in dates], whole, found

    def _stored(self, placed: Placed, ref: BandRef) -> StoredBand:
        return StoredBand(self.collection, placed.frame, ref, placed.windows[ref.key])


def open_source(collection: Collection, request: Request) -> CollectionSource:
    """Open a collection for what a graph asks of it.

    Raises
    ------
    GraphError
        If it has no such band or property; `NoDataAvailable` if nothing lies in the extents.
    """
    wanted = wanted_of(collection, request)
    return CollectionSource(collection, wanted, place(collection, wanted))


def _known(band: stored_bands.Band, mask: MaskBand | None) -> Band:
    wavelength = None if band.wavelength_nm is None else band.wavelength_nm / 1000
    if mask is None or mask.name != band.name:
        return Band(band.common_name, wavelength)
    shadows = tuple(flag for flag in mask.spread if flag not in mask.clouds)
    return Band(band.common_name, wavelength, mask.clouds, shadows)


def _decode(stored: Values, band: stored_bands.Band, values: Values, *, fresh: bool) -> None:
    """Write physical values: all of them, or where there are none yet."""
    if stored.dtype in _INTEGERS:
        decode(stored, band.scale, band.offset, band.nodata, values, fresh=fresh)
    elif fresh:
        values[...] = decoded(stored, band)
    else:
        np.copyto(values, decoded(stored, band), where=np.isnan(values))


def decoded(stored: Values, band: stored_bands.Band) -> npt.NDArray[np.float32]:
    """Physical values of stored numbers, as float32: number * scale + offset, NaN where there are no data."""
    return _physical(stored.astype(np.float64), band)


def _physical(numbers: Values, band: stored_bands.Band) -> npt.NDArray[np.float32]:
    found = (numbers * band.scale + band.offset).astype(np.float32)
    if band.nodata is not None:
        found[numbers == band.nodata] = np.nan
    return found


def _coarse(first: int, last: int, factor: float, size: int) -> npt.NDArray[np.intp]:
    """Row, or column, of the coarse raster that holds the centre of each fine one; the last where it ends early."""
    centres = (np.arange(first, last) + 0.5) / factor
    return np.minimum(centres.astype(np.intp), size - 1)
