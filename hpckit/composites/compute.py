"""Composites of a block of pixels: stacks in, layers of each period out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.composites.periods import Interval
from hpckit.composites.products import INDEX_OFFSET, Group
from hpckit.composites.settings import CHOOSING, STEPPING, Composite
from hpckit.composites.store import days_since_epoch
from hpckit.reduce.expression import Expression
from hpckit.reduce.kernels import select_composite
from hpckit.scenes.bands import BANDS, CODING, DN_OFFSET
from hpckit.scenes.model import Acquisition

Stack = npt.NDArray[np.uint16]
Result = tuple[str, int, npt.NDArray[Any]]
"""Name of a layer, number of a period, values of shape (rows, columns)."""

_SUMMARY = {"mean": 1, "min": 2, "max": 3}


@dataclass(frozen=True, slots=True)
class Observations:
    """All dates of a block."""

    bands: Mapping[str, Stack]
    """Stored numbers by name of band or index; shape (dates, rows, columns)."""
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
    names = [*(ref.name for ref in group.bands), *group.indices]
    for number, period in enumerate(periods):
        dates = period.positions(acquisitions)
        if not len(dates):
            continue
        part = observations.part(dates)
        days = [days_since_epoch(acquisitions[place].time.date()) for place in dates]
        for name, values in (
            *_each_band(kernels, part, composite, names),
            *_chosen(kernels, part, composite, names, days, period),
            *_geomad(kernels, part, composite, group),
        ):
            yield name, number, values
    yield from _stepping(kernels, observations, composite, names, periods, acquisitions)


def index_stack(text: str, bands: Mapping[str, Stack]) -> Stack:
    """Evaluate an index for every date and store it as numbers, date by date; 0 where it has no value.

    Parameters
    ----------
    bands : mapping of str to ndarray of uint16
        Stored numbers by the names in the expression.
    """
    expression = Expression.parse(text)
    stacks = {name: bands[name] for name in expression.bands}
    coding = {name: CODING[BANDS[name.partition("@")[0]].kind] for name in stacks}
    found = np.zeros_like(next(iter(stacks.values())))
    for date in range(len(found)):
        values = {
            name: np.where(
                stack[date] == 0, np.nan, stack[date] * np.float32(coding[name][0]) + np.float32(coding[name][1])
            )
            for name, stack in stacks.items()
        }
        numbers = np.rint((expression.evaluate(values) - np.float32(INDEX_OFFSET)) * np.float32(1e4))
        found[date] = np.nan_to_num(np.clip(numbers, 1, 65535), nan=0)
    return found


def _each_band(
    kernels: Any, part: Observations, composite: Composite, names: Sequence[str]
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Percentiles, mean, minimum, maximum of every band, and the count of the first."""
    wanted = {m: q for m in composite.methods if (q := composite.percentile(m)) is not None}
    summaries = [method for method in composite.methods if method in _SUMMARY]
    for place, name in enumerate(names):
        stack = part.bands[name]
        if wanted:
            found = kernels.percentiles(stack, np.array(list(wanted.values())), part.excluded)
            for method, values in zip(wanted, found, strict=True):
                yield f"{name}_{method}", kernels.rounded(values)
        counted = place == 0 and "count" in composite.methods
        if summaries or counted:
            summary = kernels.summary(stack, part.excluded)
            for method in summaries:
                values = summary[_SUMMARY[method]]
                yield f"{name}_{method}", kernels.rounded(values) if method == "mean" else values
            if counted:
                yield "count", summary.observations


def _chosen(
    kernels: Any,
    part: Observations,
    composite: Composite,
    names: Sequence[str],
    days: Sequence[int],
    period: Interval,
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Values of the date that a method chooses, and the date."""
    for method in composite.methods:
        if method not in CHOOSING:
            continue
        match method:
            case "max_ndvi":
                red, nir = (text.partition("@")[0] for text in composite.red_and_infrared() or ())
                index = kernels.max_ndvi(part.bands[red], part.bands[nir], DN_OFFSET, part.excluded)
            case "medoid":
                index = kernels.medoid(_together(part, names, composite), part.excluded)
            case _:
                index = _best(kernels, part, composite, names, days, period)
        for name in names:
            yield f"{name}_{method}", kernels.take(part.bands[name], index)
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
    index: npt.NDArray[np.int32] = kernels.best_score(
        part.bands[names[0]],
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
            if method == "interpolate":
                found = kernels.interpolate(stack, days, wanted, excluded)
            else:
                envelope = curve.envelope.get(name, 0.5)
                found = kernels.smooth(stack, days, wanted, curve.lam, envelope, curve.extend, excluded)
            for number, values in enumerate(found):
                yield f"{name}_{method}", number, kernels.rounded(values)
