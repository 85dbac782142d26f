"""Events in many series at once: the first observation after a change, or beyond a threshold, that holds.

Drops and values below a threshold are rises and values above it with the sign turned, so there is one kernel. It
reads each series once; back to the observation before an event it looks as far as the rule allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import compiled

TINY = 1e-6
"""Values are stored with 32 bits: what differs by less is equal, so that 0.7 to 0.55 is a drop of 0.15."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EventRule:
    """What an event is."""

    change: float
    """By how much the value rises from the observation before to the one that shows it; 0: it crosses `level`."""
    level: float
    """What the value must be above, and for a crossing was not before; -inf if there is no threshold."""
    within: int
    """Days between these two observations, at most."""
    hold: int
    """Observations in sequence that must show it."""
    hold_days: int
    """Days for which they must."""
    apart: int
    """Days between two events of a series, at least."""
    first: bool
    """Only the first event of each season."""


@dataclass(frozen=True, slots=True)
class EventPlaces:
    """Positions of the observations of each event."""

    start: Ints
    main: Ints
    end: Ints
    share: Floats
    """The least share of valid pixels of the observations from `start` to `end`."""


def find_events(
    values: Floats, share: Floats, days: Ints, seasons: Ints, offsets: Ints, rule: EventRule
) -> EventPlaces:
    """Find the events of series.

    Parameters
    ----------
    values : ndarray of float64, shape (observations,)
        Series after series; none is NaN.
    share : ndarray of float64, shape (observations,)
        Share of valid pixels.
    days : ndarray of int64, shape (observations,)
        Ascending in each series, without repetitions.
    seasons : ndarray of int64, shape (observations,)
        Number of the season of each day; -1 outside of seasons.
    offsets : ndarray of int64, shape (series + 1,)
        Where each series begins.

    Returns
    -------
    EventPlaces
        In the order of series and time.
    """
    places, least, counted = np.empty((3, len(values)), np.int64), np.empty(len(values)), np.zeros(1, np.int64)
    _find(
        values, share, days, seasons, offsets, rule.change, rule.level, rule.within, rule.hold, rule.hold_days,
        rule.apart, rule.first, places, least, counted,
    )  # fmt: skip
    count = int(counted[0])
    start, main, end = places[:, :count].copy()
    return EventPlaces(start, main, end, least[:count].copy())


@compiled(nogil=True)
def _end_of(values, days, stop, start, main, change, level, hold, hold_days):  # type: ignore[no-untyped-def]
    """Position of the observation until which an event holds as long as it must; -1 if it does not."""
    floor = values[start] + change - TINY if change > 0 else -np.inf
    for place in range(main, stop):
        if values[place] < floor or not values[place] > level + TINY:
            return -1
        if place - main + 1 >= hold and days[place] - days[main] >= hold_days:
            return place
    return -1


@compiled(nogil=True)
def _find(  # type: ignore[no-untyped-def]
    values,
    share,
    days,
    seasons,
    offsets,
    change,
    level,
    within,
    hold,
    hold_days,
    apart,
    first,
    places,
    least,
    counted,
):
    """Write the positions of events, and how many there are; a series has less events than observations."""
    count = 0
    for series in range(len(offsets) - 1):
        begin, stop = offsets[series], offsets[series + 1]
        bound, last, season = begin, -1, -1
        for main in range(begin + 1, stop):
            if seasons[main] < 0 or (first and seasons[main] == season):
                continue
            if last >= 0 and days[main] - days[last] < apart:
                continue
            start, end = main - 1, -1
            while start >= bound and days[main] - days[start] <= within:
                if change > 0 or not values[start] > level + TINY:
                    end = _end_of(values, days, stop, start, main, change, level, hold, hold_days)
                if end >= 0 or not change > 0:
                    break
                start -= 1
            if end < 0:
                continue
            places[0, count], places[1, count], places[2, count] = start, main, end
            least[count] = share[start : end + 1].min()
            count += 1
            bound, last, season = main, main, seasons[main]
    counted[0] = count
