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

from hpckit.campaign import Signatures
from hpckit.cube.read import array_info, read_plane
from hpckit.reduce import kernels
from hpckit.reduce.expression import Expression
from hpckit.reduce.index import ZoneIndex, gather
from hpckit.reduce.kernels import Statistics
from hpckit.scenes.bands import CODING, RADAR_SCALE, SCL_CLASSES, BandRef
from hpckit.spool import AcquisitionInfo, SignatureBatch

Values = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

_BLOCK: Final = 4_000_000
"""Pixels of which derived bands are computed at a time: bounds the float temporaries to some 100 MB."""

_STD: Final = 1
"""Column of the standard deviation: scaled, but not shifted."""

_NODATA: Final = {"reflectance": 0, "aot": 0, "wvp": 0, "probability": -1, **dict.fromkeys(RADAR_SCALE, 0)}


@dataclass(frozen=True, slots=True)
class Part:
    """One tile's share of a unit."""

    tile: str
    time_index: int | None
    """Position of the acquisition on the tile's time axis; None where the tile does not have it."""
    indexes: Mapping[int, ZoneIndex]
    """Zone index by resolution in metres, of the same zones in the same order."""


@dataclass(frozen=True, slots=True)
class Job:
    """A unit of the reduce stage with everything that it needs."""

    unit: str
    cube: Path
    reduction: Signatures
    ref: Callable[[str], BandRef]
    """Band of the cube that a reduction names."""
    parts: Sequence[Part]
    """Equal zones in all parts; one part for zones that a tile holds whole."""
    acquisition: AcquisitionInfo
    threads: int = 1
    """For reading the cube."""

    @property
    def zones(self) -> npt.NDArray[np.int32]:
        """Rows of the zone layer."""
        return next(iter(self.parts[0].indexes.values())).zones


def signatures(job: Job) -> SignatureBatch:
    """Compute the signatures of all zones of a job.

    Returns
    -------
    SignatureBatch
        Values in physical units: reflectance for spectral bands, the expression's own unit for derived
        bands, class counts for class bands.
    """
    reader = _Reader(job)
    reduction = job.reduction
    continuous = [band for band in reduction.bands if job.ref(band).band.kind != "class"]
    classes = [band for band in reduction.bands if job.ref(band).band.kind == "class"]
    results = [_band_statistics(job, reader, job.ref(band)) for band in continuous]
    results += [_derived_statistics(job, reader, text) for text in reduction.indices.values()]
    return SignatureBatch(
        unit=job.unit,
        acquisition=job.acquisition,
        zone=job.zones,
        bands=(*continuous, *reduction.indices),
        statistics=reduction.statistics,
        valid=_stack([result.valid for result in results], (len(job.zones), 0)),
        total=_stack([result.total for result in results], (len(job.zones), 0)),
        values=_stack([result.values for result in results], (len(job.zones), 0, len(reduction.statistics))),
        classes={band: _class_counts(job, reader, job.ref(band)) for band in classes},
    )


def _band_statistics(job: Job, reader: _Reader, ref: BandRef) -> Statistics:
    """Statistics of a band of the cube, selected on its stored integers and scaled at the end."""
    index = reader.index(ref.resolution_m)
    raw = _kernels(job).signatures(
        *reader.source(ref),
        index.weights,
        reader.excluded(ref.resolution_m),
        _NODATA[ref.band.kind],
        np.array(job.reduction.percentiles),
    )
    scale, offset = ref.coding
    values = raw.values * scale + offset
    values[:, _STD] = raw.values[:, _STD] * scale
    return Statistics(raw.valid, _with_outside(raw.total, index), values)


def _derived_statistics(job: Job, reader: _Reader, text: str) -> Statistics:
    """Statistics of an expression over bands, at the finest resolution among them."""
    expression = Expression.parse(text)
    refs = {name: job.ref(name) for name in sorted(expression.bands)}
    resolution_m = min(ref.resolution_m for ref in refs.values())
    index = reader.index(resolution_m)
    stored = {name: reader.values(ref, resolution_m) for name, ref in refs.items()}
    raw = _kernels(job).signatures(
        _evaluate(expression, refs, stored),
        index.offsets,
        None,
        index.weights,
        reader.excluded(resolution_m),
        None,
        np.array(job.reduction.percentiles),
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
        physical = {name: _physical(values[block], refs[name].band.kind) for name, values in stored.items()}
        result[block] = expression.evaluate(physical)
    return result


def _physical(values: Values, kind: str) -> npt.NDArray[np.float32]:
    scale, offset = CODING[kind]
    physical = values.astype(np.float32)
    physical *= np.float32(scale)
    physical += np.float32(offset)
    physical[values == _NODATA[kind]] = np.nan
    return physical


def _class_counts(job: Job, reader: _Reader, ref: BandRef) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Pixels of each class, whatever the mask, for the classes that occur in Sentinel-2's classification."""
    codes = np.array(sorted(SCL_CLASSES), dtype=np.uint8)
    index = reader.index(ref.resolution_m)
    counts = _kernels(job).histogram(*reader.source(ref), index.weights)
    return codes, np.asarray(counts[:, codes], dtype=np.float32)


def _with_outside(total: npt.NDArray[np.float64], index: ZoneIndex) -> npt.NDArray[np.float64]:
    """Pixels of the zone with those that lie beyond the raster, so that a zone cut off by it is seen."""
    return total + index.outside


def _stack(arrays: Sequence[npt.NDArray[Any]], empty: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """One column per band."""
    if not arrays:
        return np.empty(empty, dtype=np.float32)
    return np.stack(arrays, axis=1).astype(np.float32)


def _kernels(job: Job) -> Any:
    return kernels.select(job.reduction.device)


class _Reader:
    """Stored integers of bands at the pixels of the zones, for one tile or for several as if they were one."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._single = len(job.parts) == 1
        resolutions = job.parts[0].indexes
        self._merged = {res: merge([part.indexes[res] for part in job.parts]) for res in resolutions}
        self._excluded: dict[int, Flags] = {}

    def index(self, resolution_m: int) -> ZoneIndex:
        """Index of the zones; with several tiles its `pixels` are positions in what `values` gives."""
        return self._merged[resolution_m].index

    def source(self, ref: BandRef) -> tuple[Values, npt.NDArray[np.int64], npt.NDArray[np.uint32] | None]:
        """Values, offsets and pixels of a band as the kernels want them."""
        index = self.index(ref.resolution_m)
        if self._single:
            return self._plane(self._job.parts[0], ref).reshape(-1), index.offsets, index.pixels
        return self.values(ref, ref.resolution_m), index.offsets, None

    def values(self, ref: BandRef, resolution_m: int) -> Values:
        """Stored integers of a band at each pixel of the index of `resolution_m`, in its order."""
        parts = [self._gather(part, ref, resolution_m) for part in self._job.parts]
        return self._merged[resolution_m].reorder(parts)

    def excluded(self, resolution_m: int) -> Flags | None:
        """Pixels of the index that the mask leaves out; None without a mask."""
        mask = self._job.reduction.mask
        if mask is None:
            return None
        if resolution_m not in self._excluded:
            table = np.zeros(256, dtype=bool)
            table[mask.exclude] = True
            self._excluded[resolution_m] = table[self.values(self._job.ref(mask.band), resolution_m)]
        return self._excluded[resolution_m]

    def _gather(self, part: Part, ref: BandRef, resolution_m: int) -> Values:
        index = part.indexes[resolution_m]
        if part.time_index is None:
            return np.zeros(len(index.pixels), dtype=ref.dtype)
        return gather(self._plane(part, ref), index, ref.resolution_m / resolution_m)

    def _plane(self, part: Part, ref: BandRef) -> Values:
        if part.time_index is None:
            return np.zeros(part.indexes[ref.resolution_m].shape, dtype=ref.dtype)
        own = part.indexes.get(ref.resolution_m)
        edge = array_info(self._job.cube, part.tile, ref).grid.window
        windows = None if own is None else own.windows(edge)
        return read_plane(self._job.cube, part.tile, ref, part.time_index, windows, threads=self._job.threads)


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
