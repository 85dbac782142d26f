"""Composites of a block of pixels: stacks in, layers of each period out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.campaign.composite import CHOOSING, STEPPING, Composite
from hpckit.campaign.expression import Expression
from hpckit.reduce.composites.hierarchy import days_since_epoch
from hpckit.reduce.composites.periods import Interval
from hpckit.reduce.composites.products import Coding, Group
from hpckit.reduce.kernels import select_composite
from hpckit.reduce.physical import physical
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition

Stack = npt.NDArray[np.uint16]
Result = tuple[str, int, npt.NDArray[Any]]
"""Name of a layer, number of a period, values of shape (rows, columns)."""

_SUMMARY = {"mean": 1, "min": 2, "max": 3}


@dataclass(frozen=True, slots=True)
class Observations:
    """All dates of a block."""

    bands: Mapping[str, npt.NDArray[Any]]
    """Stored numbers by name of band or index, 0 for nodata, or float32 with NaN; shape (dates, rows, columns)."""
    excluded: npt.NDArray[np.bool_] | None
    distance: npt.NDArray[np.uint8] | None
    """To the next cloud, where a method asks for it."""
    mask_m: int = 20
    """Pixels in which that is counted, metres."""

    def part(self, dates: range) -> Observations:
        """Those of some consecutive dates."""
        where = slice(dates.start, dates.stop)
        return Observations(
            {name: stack[where] for name, stack in self.bands.items()},
            None if self.excluded is None else self.excluded[where],
            None if self.distance is None else self.distance[where],
            self.mask_m,
        )


def compose(
    observations: Observations,
    composite: Composite,
    group: Group,
    periods: Sequence[Interval],
    acquisitions: Sequence[Acquisition],
) -> Iterator[Result]:
    """Compute all layers of a group for a block; what a period has no date for is left out."""
    kernels = select_composite(composite.device)
    names = group.names
    for number, period in enumerate(periods):
        dates = period.positions(acquisitions)
        if not len(dates):
            continue
        part = observations.part(dates)
        days = [days_since_epoch(acquisitions[place].time.date()) for place in dates]
        for name, values in (
            *_each_band(kernels, part, composite, names),
            *_chosen(kernels, part, composite, group, days, period),
            *_geomad(kernels, part, composite, group),
        ):
            yield name, number, values
    yield from _stepping(kernels, observations, composite, names, periods, acquisitions)


def index_stack(
    text: str, bands: Mapping[str, Stack], coding: Coding, ref: Callable[[str], BandRef]
) -> npt.NDArray[Any]:
    """Evaluate an index for every date, date by date, as it is stored.

    Parameters
    ----------
    bands : mapping of str to ndarray of uint16
        Stored numbers by the names in the expression.
    ref : callable
        Band of the campaign's cube by its text.
    """
    expression = Expression.parse(text)
    stacks = {name: bands[name] for name in expression.bands}
    meant = {name: ref(name).band for name in stacks}
    found = np.empty(next(iter(stacks.values())).shape, dtype=coding.dtype)
    for date in range(len(found)):
        values = {name: physical(stack[date], meant[name]) for name, stack in stacks.items()}
        found[date] = _stored(expression.evaluate(values), coding)
    return found


def _stored(values: npt.NDArray[np.float32], coding: Coding) -> npt.NDArray[Any]:
    """Values as they are stored; those of integers lie within their range but for rounding."""
    if coding.dtype == "float32":
        return values
    numbers = np.rint((values - np.float32(coding.offset)) / np.float32(coding.scale))
    return np.asarray(np.nan_to_num(np.clip(numbers, 1, 65535), nan=0))


def _of(kernels: Any, stack: npt.NDArray[Any]) -> Any:
    """Kernels for a stack: those of a device are for integers."""
    if stack.dtype != np.float32:
        return kernels
    from hpckit.reduce.kernels import composite_float  # imports numba

    return composite_float


def _each_band(
    kernels: Any, part: Observations, composite: Composite, names: Sequence[str]
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Percentiles, mean, minimum, maximum of every band, and the count of the first."""
    wanted = {m: q for m in composite.methods if (q := composite.percentile(m)) is not None}
    summaries = [method for method in composite.methods if method in _SUMMARY]
    for place, name in enumerate(names):
        stack = part.bands[name]
        ours = _of(kernels, stack)
        if wanted:
            found = ours.percentiles(stack, np.array(list(wanted.values())), part.excluded)
            for method, values in zip(wanted, found, strict=True):
                yield f"{name}_{method}", ours.rounded(values)
        counted = place == 0 and "count" in composite.methods
        if summaries or counted:
            summary = ours.summary(stack, part.excluded)
            for method in summaries:
                values = summary[_SUMMARY[method]]
                yield f"{name}_{method}", ours.rounded(values) if method == "mean" else values
            if counted:
                yield "count", summary.observations


def _chosen(
    kernels: Any,
    part: Observations,
    composite: Composite,
    group: Group,
    days: Sequence[int],
    period: Interval,
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Values of the date that a method chooses, and the date."""
    names = group.names
    for method in composite.methods:
        if method not in CHOOSING:
            continue
        match method:
            case "max_ndvi" if group.ndvi is not None:
                red, nir = group.ndvi
                zero = -red.band.offset / red.band.scale
                index = kernels.max_ndvi(part.bands[red.name], part.bands[nir.name], zero, part.excluded)
            case "medoid":
                index = kernels.medoid(_together(part, names, composite), part.excluded)
            case _:
                index = _best(kernels, part, composite, names, days, period)
        for name in names:
            yield f"{name}_{method}", _of(kernels, part.bands[name]).take(part.bands[name], index)
        calendar = np.array([*days, 0], dtype=np.uint16)  # the last one is that of -1
        yield f"{method}_date", calendar[index]


def _best(
    kernels: Any,
    part: Observations,
    composite: Composite,
    names: Sequence[str],
    days: Sequence[int],
    period: Interval,
) -> npt.NDArray[np.int32]:
    score = composite.score
    distance = part.distance if part.distance is not None else np.zeros(part.bands[names[0]].shape, np.uint8)
    first = part.bands[names[0]]
    index: npt.NDArray[np.int32] = kernels.best_score(
        np.isfinite(first).astype(np.uint16) if first.dtype == np.float32 else first,
        np.float32(score.day_weight) * day_scores(composite, days, period),
        distance,
        np.float32(score.cloud_weight) * distance_scores(composite, part.mask_m),
        part.excluded,
    )
    return index


def day_scores(composite: Composite, days: Sequence[int], period: Interval) -> npt.NDArray[np.float32]:
    """Gaussian of the days between each date and the one liked most (Griffiths et al. 2013, IEEE JSTARS 6)."""
    score = composite.score
    year = np.array(days, dtype="datetime64[D]").astype("datetime64[Y]")
    liked: npt.NDArray[Any] = np.full(len(days), days_since_epoch(period.middle))
    if score.day is not None:
        liked = year.astype("datetime64[D]").astype(int) + score.day - 1
    away = (np.array(days) - liked) / score.day_sigma
    scores: npt.NDArray[np.float32] = np.exp(-0.5 * away**2).astype(np.float32)
    return scores


def distance_scores(composite: Composite, resolution_m: int = 20) -> npt.NDArray[np.float32]:
    """Logistic curve of the distance to clouds, from 0 at them to 1 where they no longer matter (same source)."""
    reach = max(1.0, min(250.0, composite.score.cloud_distance.in_pixels(resolution_m)))
    relative = np.minimum(np.arange(256) / reach, 1.0)
    return (1 / (1 + np.exp(-10 * (relative - 0.5)))).astype(np.float32)


def _geomad(
    kernels: Any, part: Observations, composite: Composite, group: Group
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    if "geomad" not in composite.methods:
        return
    scale, offset = group.bands[0].coding
    names = [ref.name for ref in group.bands]
    found = kernels.geomad(_together(part, names, composite), scale, offset, part.excluded)
    for name, values in zip(names, found.median, strict=True):
        yield f"{name}_geomad", kernels.rounded(values)
    for name in ("smad", "emad", "bcmad"):
        yield f"geomad_{name}", getattr(found, name)
    yield "geomad_count", found.observations


def _together(part: Observations, names: Sequence[str], composite: Composite) -> Stack:
    return np.stack([part.bands[name] for name in names if name not in composite.indices])


def _stepping(
    kernels: Any,
    observations: Observations,
    composite: Composite,
    names: Sequence[str],
    periods: Sequence[Interval],
    acquisitions: Sequence[Acquisition],
) -> Iterator[Result]:
    """Values in the middle of each period, from the dates of the whole campaign."""
    days = np.array([days_since_epoch(item.time.date()) for item in acquisitions], dtype=np.int64)
    wanted = np.array([days_since_epoch(item.middle) for item in periods], dtype=np.int64)
    curve = composite.smooth
    for method in composite.methods:
        if method not in STEPPING:
            continue
        for name in names:
            stack, excluded = observations.bands[name], observations.excluded
            ours = _of(kernels, stack)
            if method == "interpolate":
                found = ours.interpolate(stack, days, wanted, excluded)
            else:
                envelope = curve.envelope.get(name, 0.5)
                found = ours.smooth(stack, days, wanted, curve.lam, envelope, curve.extend, excluded)
            for number, values in enumerate(found):
                yield f"{name}_{method}", number, ours.rounded(values)
