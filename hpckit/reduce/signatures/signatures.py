"""Parcel signatures: the statistics of each zone, for one acquisition, from cubes and zone indexes.

A unit takes the zones that one tile answers for (or those that are cut into pieces by the same tiles) and
one acquisition, reads each band once, and gives one batch of records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.campaign.campaign import Signatures
from hpckit.campaign.expression import Expression
from hpckit.cubes.read import band_array, read_plane
from hpckit.reduce import kernels
from hpckit.reduce.kernels import Statistics
from hpckit.reduce.physical import physical
from hpckit.reduce.signatures.index import ZoneIndex, gather
from hpckit.reduce.signatures.spool import AcquisitionInfo, SignatureBatch
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import counts, flagged

Values = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

VERSION: Final = 1
"""Grows when the same pixels, zones and settings give other numbers."""
_BLOCK: Final = 4_000_000
"""Pixels of which derived bands are computed at a time: bounds the float temporaries to some 100 MB."""

_NO_NODATA: Final = -1
"""What kernels take for nodata of a band of which every integer is a value."""

_STD: Final = 1
"""Column of the standard deviation: scaled, but not shifted."""


@dataclass(frozen=True, slots=True)
class TileShare:
    """One tile's share of a unit."""

    tile: str
    time_index: int | None
    """Position of the acquisition on the tile's time axis; None where the tile does not have it."""
    indexes: Mapping[int, ZoneIndex]
    """Zone index by resolution in metres, of the same zones in the same order."""


@dataclass(frozen=True, slots=True)
class SignatureTask:
    """A unit of the stage `signatures` with everything that it needs."""

    unit: str
    cube: Path
    reduction: Signatures
    ref: Callable[[str], BandRef]
    """Band of the cube that a reduction names."""
    parts: Sequence[TileShare]
    """Equal zones in all parts; one part for zones that a tile holds whole."""
    acquisition: AcquisitionInfo
    threads: int = 1
    """For reading the cube."""

    @property
    def zones(self) -> npt.NDArray[np.int32]:
        """Rows of the zone layer."""
        return next(iter(self.parts[0].indexes.values())).zones


def signatures(task: SignatureTask) -> SignatureBatch:
    """Compute the signatures of all zones of a unit.

    Returns
    -------
    SignatureBatch
        Values in physical units: reflectance for spectral bands, the expression's own unit for derived
        bands, class counts for class bands.
    """
    reader = _Reader(task)
    reduction = task.reduction
    continuous = [band for band in reduction.bands if not task.ref(band).band.is_categorical]
    classes = [band for band in reduction.bands if task.ref(band).band.is_categorical]
    results = [_band_statistics(task, reader, task.ref(band)) for band in continuous]
    results += [_derived_statistics(task, reader, text) for text in reduction.indices.values()]
    return SignatureBatch(
        unit=task.unit,
        acquisition=task.acquisition,
        zone=task.zones,
        bands=(*continuous, *reduction.indices),
        statistics=reduction.statistics,
        valid=_stack([result.valid for result in results], (len(task.zones), 0)),
        total=_stack([result.total for result in results], (len(task.zones), 0)),
        values=_stack([result.values for result in results], (len(task.zones), 0, len(reduction.statistics))),
        classes={band: _class_counts(task, reader, task.ref(band)) for band in classes},
    )


def _band_statistics(task: SignatureTask, reader: _Reader, ref: BandRef) -> Statistics:
    """Statistics of a band of the cube, selected on its stored integers and scaled at the end."""
    index = reader.index(ref.resolution_m)
    raw = _kernels(task).signatures(
        *reader.source(ref),
        index.weights,
        reader.excluded(ref.resolution_m),
        _NO_NODATA if ref.band.nodata is None else ref.band.nodata,
        np.array(task.reduction.percentiles),
    )
    scale, offset = ref.coding
    values = raw.values * scale + offset
    values[:, _STD] = raw.values[:, _STD] * scale
    return Statistics(raw.valid, _with_outside(raw.total, index), values)


def _derived_statistics(task: SignatureTask, reader: _Reader, text: str) -> Statistics:
    """Statistics of an expression over bands, at the finest resolution among them."""
    expression = Expression.parse(text)
    refs = {name: task.ref(name) for name in sorted(expression.bands)}
    resolution_m = min(ref.resolution_m for ref in refs.values())
    index = reader.index(resolution_m)
    stored = {name: reader.values(ref, resolution_m) for name, ref in refs.items()}
    raw = _kernels(task).signatures(
        _evaluate(expression, refs, stored),
        index.offsets,
        None,
        index.weights,
        reader.excluded(resolution_m),
        None,
        np.array(task.reduction.percentiles),
    )
    return Statistics(raw.valid, _with_outside(raw.total, index), raw.values)


def _evaluate(
    expression: Expression, refs: Mapping[str, BandRef], stored: Mapping[str, Values]
) -> npt.NDArray[np.float32]:
    """Value at each pixel; NaN where a band has no data or the expression is undefined."""
    count = len(next(iter(stored.values())))
    result = np.empty(count, dtype=np.float32)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        in_units = {name: physical(values[block], refs[name].band) for name, values in stored.items()}
        result[block] = expression.evaluate(in_units)
    return result


def _class_counts(
    task: SignatureTask, reader: _Reader, ref: BandRef
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Pixels of each class, or with each bit, whatever the mask."""
    codes = np.array([code for code, _ in ref.band.flags], dtype=np.uint8)
    index = reader.index(ref.resolution_m)
    histogram = _kernels(task).histogram(*reader.source(ref), index.weights)
    return codes, np.asarray(counts(ref.band, histogram), dtype=np.float32)


def _with_outside(total: npt.NDArray[np.float64], index: ZoneIndex) -> npt.NDArray[np.float64]:
    """Pixels of the zone with those that lie beyond the raster, so that a zone cut off by it is seen."""
    return total + index.outside


def _stack(arrays: Sequence[npt.NDArray[Any]], empty: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """One column per band."""
    if not arrays:
        return np.empty(empty, dtype=np.float32)
    return np.stack(arrays, axis=1).astype(np.float32)


def _kernels(task: SignatureTask) -> Any:
    return kernels.select(task.reduction.device)


class _Reader:
    """Stored integers of bands at the pixels of the zones, for one tile or for several as if they were one."""

    def __init__(self, task: SignatureTask) -> None:
        self._task = task
        self._single = len(task.parts) == 1
        resolutions = task.parts[0].indexes
        self._merged = {res: merge([part.indexes[res] for part in task.parts]) for res in resolutions}
        self._excluded: dict[int, Flags] = {}

    def index(self, resolution_m: int) -> ZoneIndex:
        """Index of the zones; with several tiles its `pixels` are positions in what `values` gives."""
        return self._merged[resolution_m].index

    def source(self, ref: BandRef) -> tuple[Values, npt.NDArray[np.int64], npt.NDArray[np.uint32] | None]:
        """Values, offsets and pixels of a band as the kernels want them."""
        index = self.index(ref.resolution_m)
        if self._single:
            return self._plane(self._task.parts[0], ref).reshape(-1), index.offsets, index.pixels
        return self.values(ref, ref.resolution_m), index.offsets, None

    def values(self, ref: BandRef, resolution_m: int) -> Values:
        """Stored integers of a band at each pixel of the index of `resolution_m`, in its order."""
        parts = [self._gather(part, ref, resolution_m) for part in self._task.parts]
        return self._merged[resolution_m].reorder(parts)

    def excluded(self, resolution_m: int) -> Flags | None:
        """Pixels of the index that the mask leaves out; None without a mask."""
        mask = self._task.reduction.mask
        if mask is None:
            return None
        if resolution_m not in self._excluded:
            ref = self._task.ref(mask.band)
            self._excluded[resolution_m] = flagged(ref.band, self.values(ref, resolution_m), mask.exclude)
        return self._excluded[resolution_m]

    def _gather(self, part: TileShare, ref: BandRef, resolution_m: int) -> Values:
        index = part.indexes[resolution_m]
        if part.time_index is None:
            return np.zeros(len(index.pixels), dtype=ref.dtype)
        return gather(self._plane(part, ref), index, ref.resolution_m / resolution_m)

    def _plane(self, part: TileShare, ref: BandRef) -> Values:
        if part.time_index is None:
            return np.zeros(part.indexes[ref.resolution_m].shape, dtype=ref.dtype)
        own = part.indexes.get(ref.resolution_m)
        edge = band_array(self._task.cube, part.tile, ref).grid.window
        windows = None if own is None else own.windows(edge)
        return read_plane(self._task.cube, part.tile, ref, part.time_index, windows, threads=self._task.threads)


@dataclass(frozen=True, slots=True)
class Merged:
    """Indexes of the same zones in several tiles, as one."""

    index: ZoneIndex
    order: npt.NDArray[np.int64] | None
    """Position in the concatenated parts of each merged pixel; None for a single part."""

    def reorder(self, parts: Sequence[Values]) -> Values:
        """Values of the parts in the order of the merged index."""
        return parts[0] if self.order is None else np.concatenate(parts)[self.order]


def merge(indexes: Sequence[ZoneIndex]) -> Merged:
    """Join the pixels that each zone has in each of several rasters.

    Parameters
    ----------
    indexes : sequence of ZoneIndex
        Of the same zones in the same order.
    """
    if len(indexes) == 1:
        return Merged(indexes[0], None)
    owner = np.concatenate([np.repeat(np.arange(len(index.zones)), np.diff(index.offsets)) for index in indexes])
    order = np.argsort(owner, kind="stable")
    counts = np.sum([np.diff(index.offsets) for index in indexes], axis=0)
    weights = None if indexes[0].weights is None else np.concatenate([i.weights for i in indexes])[order]
    joined = replace(
        indexes[0],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        pixels=np.arange(len(order), dtype=np.uint32),
        weights=weights,
        outside=np.sum([index.outside for index in indexes], axis=0),
    )
    return Merged(joined, order)
