"""Parcel signatures: the statistics of each zone, for one acquisition, from planes of bands and zone indexes.

A unit takes the zones that one tile answers for (or those that are cut into pieces by the same tiles) and
one acquisition, and gives one batch of records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hpckit.campaign.expression import Expression
from hpckit.campaign.signatures import SignatureReduction
from hpckit.reduce import kernels
from hpckit.reduce.kernels import Statistics
from hpckit.reduce.physical import physical
from hpckit.reduce.signatures.index import ZoneIndex, gather
from hpckit.reduce.signatures.planes import Planes, TileShare, Values
from hpckit.reduce.signatures.spool import AcquisitionInfo, SignatureBatch
from hpckit.sensors.bands import BandRef
from hpckit.sensors.masks import counts, flagged

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
class SignatureTask:
    """A unit of the stage `signatures` with all that it needs besides the pixels."""

    unit: str
    reduction: SignatureReduction
    ref: Callable[[str], BandRef]
    """Band that a reduction names."""
    parts: Sequence[TileShare]
    """Equal zones in all parts; one part for zones that a tile holds whole."""
    acquisition: AcquisitionInfo

    @property
    def zones(self) -> npt.NDArray[np.int32]:
        """Rows of the zone layer."""
        return next(iter(self.parts[0].indexes.values())).zones


@dataclass(frozen=True, slots=True)
class Step:
    """One computation of a reduction: pixels to leave out, statistics of a band or index, or counts of classes."""

    kind: Literal["mask", "band", "index", "classes"]
    name: str
    """Of the band, or of the index."""
    refs: frozenset[BandRef]
    """Bands whose pixels it takes."""


def steps(reduction: SignatureReduction, ref: Callable[[str], BandRef]) -> list[Step]:
    """What a reduction computes; the mask comes first, and the order of all others is free."""
    found = []
    for text in reduction.bands:
        found.append(Step("classes" if ref(text).band.is_categorical else "band", text, frozenset([ref(text)])))
    for name, text in reduction.indices.items():
        found.append(Step("index", name, frozenset(map(ref, Expression.parse(text).bands))))
    if reduction.mask is not None and any(step.kind != "classes" for step in found):
        found.insert(0, Step("mask", reduction.mask.band, frozenset([ref(reduction.mask.band)])))
    return found


def signatures(task: SignatureTask, planes: Planes) -> SignatureBatch:
    """Compute the signatures of all zones of a unit.

    Returns
    -------
    SignatureBatch
        As `Draft.batch` gives it.

    Raises
    ------
    CubeError
        If pixels are not there.
    """
    draft = Draft(task, planes)
    for step in draft.steps:
        draft.compute(step)
    return draft.batch()


class Draft:
    """Signatures of a unit in the making: its steps may be computed between those of other units."""

    def __init__(self, task: SignatureTask, planes: Planes) -> None:
        self.task = task
        self.steps = steps(task.reduction, task.ref)
        self._reader = _Reader(task, planes)
        self._statistics: dict[str, Statistics] = {}
        self._classes: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]] = {}

    def compute(self, step: Step) -> None:
        """Compute a step; the mask before all others.

        Raises
        ------
        CubeError
            If pixels are not there.
        """
        task, reader = self.task, self._reader
        if step.kind == "mask":
            masked = [other.refs for other in self.steps if other.kind in ("band", "index")]
            reader.look_at_mask({min(ref.resolution_m for ref in refs) for refs in masked})
        elif step.kind == "band":
            self._statistics[step.name] = _band_statistics(task, reader, task.ref(step.name))
        elif step.kind == "index":
            self._statistics[step.name] = _derived_statistics(task, reader, task.reduction.indices[step.name])
        else:
            self._classes[step.name] = _class_counts(task, reader, task.ref(step.name))

    def batch(self) -> SignatureBatch:
        """The results, when all steps were computed.

        Returns
        -------
        SignatureBatch
            Values in physical units: reflectance for spectral bands, the expression's own unit for derived
            bands, class counts for class bands.
        """
        task, names = self.task, [step.name for step in self.steps if step.kind in ("band", "index")]
        results, count = [self._statistics[name] for name in names], len(task.zones)
        return SignatureBatch(
            unit=task.unit,
            acquisition=task.acquisition,
            zone=task.zones,
            bands=tuple(names),
            statistics=task.reduction.statistics,
            valid=_stack([result.valid for result in results], (count, 0)),
            total=_stack([result.total for result in results], (count, 0)),
            values=_stack([result.values for result in results], (count, 0, len(task.reduction.statistics))),
            classes={step.name: self._classes[step.name] for step in self.steps if step.kind == "classes"},
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

    def __init__(self, task: SignatureTask, planes: Planes) -> None:
        self._task = task
        self._planes = planes
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

    def look_at_mask(self, resolutions: Iterable[int]) -> None:
        """Find the pixels that the mask leaves out, of the indexes of some resolutions."""
        mask = self._task.reduction.mask
        if mask is not None:
            ref = self._task.ref(mask.band)
            for size in resolutions:
                self._excluded[size] = flagged(ref.band, self.values(ref, size), mask.exclude)

    def excluded(self, resolution_m: int) -> Flags | None:
        """Pixels of the index that the mask leaves out; None without a mask."""
        return None if self._task.reduction.mask is None else self._excluded[resolution_m]

    def _gather(self, part: TileShare, ref: BandRef, resolution_m: int) -> Values:
        index = part.indexes[resolution_m]
        if part.time_index is None:
            return np.zeros(len(index.pixels), dtype=ref.dtype)
        return gather(self._planes.plane(part, ref), index, ref.resolution_m / resolution_m)

    def _plane(self, part: TileShare, ref: BandRef) -> Values:
        if part.time_index is None:
            return np.zeros(part.indexes[ref.resolution_m].shape, dtype=ref.dtype)
        return self._planes.plane(part, ref)


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
