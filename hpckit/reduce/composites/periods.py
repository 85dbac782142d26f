"""Periods of a composite: parts of the campaign, in days."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hpckit.campaign.composite import Rolling
from hpckit.sensors.model import Acquisition

_SEASONS: Final = {12: "DJF", 3: "MAM", 6: "JJA", 9: "SON"}
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Interval:
    """A period: its days, and what it is called."""

    label: str
    """`2024-05`, `2024-05-D2`, `2024-MAM`, `2024`, or the two days."""
    start: dt.date
    end: dt.date
    """Last day, included."""

    @property
    def middle(self) -> dt.date:
        """The day in the middle."""
        return self.start + (self.end - self.start) // 2

    def positions(self, acquisitions: Sequence[Acquisition]) -> range:
        """Where on a time axis, sorted by time, the period lies."""
        days = [item.time.date() for item in acquisitions]
        inside = [place for place, day in enumerate(days) if self.start <= day <= self.end]
        return range(inside[0], inside[-1] + 1) if inside else range(0)


def periods(
    start: dt.date,
    end: dt.date,
    kind: Literal["campaign", "month", "dekad", "season", "year"] | Rolling,
    *,
    is_open: bool = False,
) -> list[Interval]:
    """Cut a campaign into periods, in order; the first and last of the calendar may be cut short.

    Parameters
    ----------
    start, end : date
        Both included.
    kind : str or Rolling
        Dekads are days 1 to 10, 11 to 20, and the rest of a month. Seasons are those of the meteorologists;
        winter has the year in which it ends. Rolling periods lie wholly within the campaign; if it is shorter
        than one, it is the only one.
    is_open : bool
        The campaign has no end, and `end` is the day of the last acquisition: the last period of the calendar is
        whole, so that it keeps its days when more is acquired.
    """
    if isinstance(kind, Rolling):
        return list(_rolling(start, end, kind))
    if kind == "campaign":
        return [Interval(f"{start}_open" if is_open else f"{start}_{end}", start, end)]
    found: dict[str, Interval] = {}
    day = start
    while day <= end:
        label, last = _calendar(day, kind)
        found[label] = Interval(label, day, last if is_open else min(last, end))
        day = last + _DAY
    return list(found.values())


def _rolling(start: dt.date, end: dt.date, kind: Rolling) -> Iterator[Interval]:
    length = dt.timedelta(days=kind.window - 1)
    if start + length > end:
        yield Interval(f"{start}_{end}", start, end)
    while start + length <= end:
        yield Interval(f"{start}_{start + length}", start, start + length)
        start += dt.timedelta(days=kind.step)


def _calendar(day: dt.date, kind: str) -> tuple[str, dt.date]:
    """Label and last day of the calendar's period that a day is in."""
    last = day.replace(day=calendar.monthrange(day.year, day.month)[1])
    match kind:
        case "month":
            return f"{day:%Y-%m}", last
        case "dekad":
            number = min(3, (day.day - 1) // 10 + 1)
            return f"{day:%Y-%m}-D{number}", last if number == 3 else day.replace(day=10 * number)
        case "season":
            first = day.month - day.month % 3 or 12
            year = day.year + (day.month == 12)
            month = 2 if first == 12 else first + 2
            return f"{year}-{_SEASONS[first]}", dt.date(year, month, calendar.monthrange(year, month)[1])
        case _:
            return f"{day:%Y}", dt.date(day.year, 12, 31)
