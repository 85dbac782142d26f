"""Markers of a rule, from observations of zones in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from hpckit.campaign.markers import MarkerRule
from hpckit.reduce.kernels.events import EventRule, find_events

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

EDITION: Final = 1
"""Of the definitions here and in the kernel: another number makes all markers again."""
_HALF_DAYS: Final = 30.0
"""Days between the observations around an event at which its date counts half."""
_FOREVER: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Observations:
    """One band and statistic of zones; arrays have one row for each zone and acquisition, in any order."""

    zone: Ints
    time: npt.NDArray[np.datetime64]
    """UTC, without a zone."""
    orbit: Ints
    """Relative orbit."""
    valid: Floats
    """Valid pixels, or covered ones."""
    total: Floats
    value: Floats
    """NaN where no pixel is valid."""

    def take(self, rows: Ints) -> Observations:
        """Some of them."""
        return Observations(
            self.zone[rows], self.time[rows], self.orbit[rows], self.valid[rows], self.total[rows], self.value[rows]
        )


@dataclass(frozen=True, slots=True)
class Markers:
    """Events of one rule; each array has one row for each."""

    zone: Ints
    orbit: Ints
    """Relative orbit of series that are split by orbit; -1 for others."""
    time: Sequence[npt.NDArray[np.datetime64]]
    """Of the observations `start`, `main` and `end`."""
    value: Sequence[Floats]
    """In decibels, if the rule compares these."""
    confidence: Floats
    used: Ints
    """Rows of all observations that the events rest on, event after event; of each day only one counts."""
    offsets: Ints
    """Where each event begins in `used`; shape (events + 1,)."""

    def __len__(self) -> int:
        return len(self.zone)


def detect(observations: Observations, rule: MarkerRule) -> Markers:
    """Find the events of a rule.

    An observation counts if it has enough valid pixels. Of the observations of one day (UTC) the one with the
    greatest share of valid pixels counts; of equal ones the one with most valid pixels, then the latest, then the one
    with the greatest value. So the order of rows has no influence.

    The observation that *shows* an event is the first one after which the rule holds. The observation *before* it is
    the last one from which it does: for a change the last one that differs by as much, for a threshold the one just
    before.

    Parameters
    ----------
    observations : Observations
        One band and statistic.

    Returns
    -------
    Markers
        Sorted by zone, and by the time of `main`.
    """
    values = _compared(observations.value, rule)
    rows = _counted(observations, values, rule)
    kept, sign = replace(observations.take(rows), value=values[rows]), -1.0 if rule.kind in ("drop", "below") else 1.0
    by_orbit = rule.orbits == "each"
    days, orbit = _days(kept.time), kept.orbit if by_orbit else np.full(len(rows), -1)
    begins = np.flatnonzero((np.diff(kept.zone, prepend=-1) != 0) | (np.diff(orbit, prepend=-1) != 0))
    offsets = np.append(begins, len(rows)).astype(np.int64)
    share, limits = np.minimum(kept.valid / kept.total, 1.0), _limits(rule, sign)
    seasons = seasons_of(days, rule.season_days)
    found = find_events(sign * kept.value, share, days, seasons, offsets, limits)
    before, after = sign * kept.value[found.start], sign * kept.value[found.main]
    sure = _confidence(before, after, limits, found.share, days[found.main] - days[found.start])
    order = np.lexsort((orbit[found.main], kept.time[found.main], kept.zone[found.main])).astype(np.int64)
    if rule.events == "first" and by_orbit:
        order = order[_first_of_zones(kept.zone[found.main][order], seasons[found.main][order])]
    places = [place[order] for place in (found.start, found.main, found.end)]
    counts = places[2] - places[0] + 1
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    used = np.arange(ends[-1]) - np.repeat(ends[:-1] - places[0], counts)
    return Markers(
        zone=kept.zone[places[1]],
        orbit=orbit[places[1]],
        time=[kept.time[place] for place in places],
        value=[kept.value[place] for place in places],
        confidence=sure[order],
        used=rows[used],
        offsets=ends,
    )


def _compared(values: Floats, rule: MarkerRule) -> Floats:
    """Values as the rule compares them."""
    if not rule.decibels:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, 10 * np.log10(values), np.nan)


def _counted(observations: Observations, values: Floats, rule: MarkerRule) -> Ints:
    """Rows that count, sorted by zone, orbit and day: one for each day."""
    valid, total = observations.valid, observations.total
    with np.errstate(invalid="ignore"):
        enough = (total > 0) & (valid > 0) & (valid >= rule.min_pixels) & (valid >= rule.min_share * total)
    rows = np.flatnonzero(enough & np.isfinite(values))
    zone, day = observations.zone[rows], _days(observations.time[rows])
    orbit = observations.orbit[rows] if rule.orbits == "each" else np.zeros_like(zone)
    step = (np.diff(zone), np.diff(orbit), np.diff(day))
    is_sorted = (step[0] > 0) | ((step[0] == 0) & ((step[1] > 0) | ((step[1] == 0) & (step[2] > 0))))
    if is_sorted.all():
        return rows
    share = valid[rows] / total[rows]
    order = np.lexsort((values[rows], observations.time[rows], valid[rows], share, day, orbit, zone))
    key = np.stack([zone[order], orbit[order], day[order]])
    is_last = np.append((np.diff(key, axis=1) != 0).any(axis=0), True)
    return rows[order[is_last]] if len(rows) else rows


def _days(time: npt.NDArray[np.datetime64]) -> Ints:
    return time.astype("datetime64[D]").astype(np.int64)


def seasons_of(days: Ints, season: tuple[int, int]) -> Ints:
    """Number of the season of each day: the year in which it begins; -1 outside of seasons.

    Parameters
    ----------
    days : ndarray of int64
        Days since 1970.
    season : tuple of int
        First and last day of the year, as `MarkerRule.season_days`.
    """
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    year = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    day = 100 * (months.astype(np.int64) % 12 + 1) + (dates - months).astype(np.int64) + 1
    first, last = season
    if first <= last:
        return np.where((day >= first) & (day <= last), year, -1)
    return np.where(day >= first, year, np.where(day <= last, year - 1, -1))


def _limits(rule: MarkerRule, sign: float) -> EventRule:
    level = rule.below if sign < 0 else rule.above
    return EventRule(
        change=float(rule.drop or rule.rise or 0.0),
        level=-math.inf if level is None else sign * level,
        within=rule.days_between or _FOREVER,
        hold=rule.hold,
        hold_days=rule.hold_days,
        apart=rule.apart,
        first=rule.events == "first",
    )


def _confidence(before: Floats, after: Floats, limits: EventRule, share: Floats, between: Ints) -> Floats:
    """Cube root of three factors from 0 to 1: size of the change, clearness, precision of the date.

    Size is half of the change over the change that the rule asks for, 1 at most; for a threshold it is half, and half
    of the part of the step that lies beyond it. Clearness is the least share of valid pixels. Precision is
    30 / (30 + days), with the days between the observation before and the one that shows the event.
    """
    step = np.maximum(after - before, 0.0)
    if limits.change > 0:
        size = np.minimum(0.5 * step / limits.change, 1.0)
    else:
        size = 0.5 + 0.5 * np.divide(after - limits.level, step, out=np.zeros_like(step), where=step > 0)
    precision = _HALF_DAYS / (_HALF_DAYS + between)
    return np.cbrt(np.clip(size, 0.0, 1.0) * share * precision)


def _first_of_zones(zone: Ints, season: Ints) -> Ints:
    """Of rows sorted by zone and time the first one of each zone and season."""
    _, first = np.unique(np.stack([zone, season]), axis=1, return_index=True)
    return np.sort(first).astype(np.int64)
