"""Calendar periods of openEO: which one an instant lies in, and their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from hpckit.processgraph.times import instant

Place = tuple[int, int]
"""Of a period: the year that its label names, and its number in that year."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """A way to cut time into periods."""

    place: Callable[[datetime], Place]
    """Of the period that an instant lies in."""
    after: Callable[[Place], Place]
    """The next period."""
    label: Callable[[Place], str]
    """`2024-djf`."""
    part: Callable[[Place], str]
    """The label without its year, `djf`."""
    read: Callable[[str], Place | None]
    """The period of a label; None if it is no label of these periods."""

    def place_of(self, label: object) -> Place | None:
        """The period that a label of a cube names, or that its instant lies in; None for other labels."""
        if not isinstance(label, str):
            return None
        found = self.read(label)
        if found is None and (at := instant(label)) is not None:
            return self.place(at)
        return found

    def all_between(self, first: Place, last: Place) -> Iterator[Place]:
        """Periods from one to another, both included."""
        while first <= last:
            yield first
            first = self.after(first)


def _numbered(place: Callable[[datetime], Place], count: Callable[[int], int], digits: int) -> Calendar:
    """Periods with numbers in a year, from one."""
    pattern = re.compile(rf"(\d{{4}})-(\d{{{digits}}})", re.ASCII)

    def after(at: Place) -> Place:
        return (at[0], at[1] + 1) if at[1] < count(at[0]) else (at[0] + 1, 1)

    def part(at: Place) -> str:
        return f"{at[1]:0{digits}}"

    def read(label: str) -> Place | None:
        found = pattern.fullmatch(label)
        return (int(found[1]), int(found[2])) if found else None

    return Calendar(place, after, lambda at: f"{at[0]:04}-{part(at)}", part, read)


def _named(place: Callable[[datetime], Place], names: tuple[str, ...]) -> Calendar:
    """Periods with names, in the order in which they begin in a year."""
    pattern = re.compile(rf"(\d{{4}})-({'|'.join(names)})", re.ASCII)

    def after(at: Place) -> Place:
        return (at[0], at[1] + 1) if at[1] + 1 < len(names) else (at[0] + 1, 0)

    def read(label: str) -> Place | None:
        found = pattern.fullmatch(label)
        return (int(found[1]), names.index(found[2])) if found else None

    return Calendar(place, after, lambda at: f"{at[0]:04}-{names[at[1]]}", lambda at: names[at[1]], read)


def _of_years(first: int, length: int) -> Calendar:
    """Periods of years, called by the first one."""
    pattern = re.compile(r"\d{4}", re.ASCII)

    def place(year: int) -> Place:
        return first + (year - first) // length * length, 0

    def label(at: Place) -> str:
        return f"{at[0]:04}"

    def read(label: str) -> Place | None:
        return place(int(label)) if pattern.fullmatch(label) else None

    return Calendar(lambda at: place(at.year), lambda at: (at[0] + length, 0), label, label, read)


def _of_hours() -> Calendar:
    """Hours; the number of each in its year counts from zero."""
    pattern = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{2})", re.ASCII)

    def start(at: Place) -> datetime:
        return datetime(at[0], 1, 1, tzinfo=UTC) + timedelta(hours=at[1])

    def place(at: datetime) -> Place:
        return at.year, (at - datetime(at.year, 1, 1, tzinfo=UTC)) // timedelta(hours=1)

    def label(at: Place) -> str:
        return f"{at[0]:04}-{start(at):%m-%d-%H}"

    def read(label: str) -> Place | None:
        found = pattern.fullmatch(label)
        at = instant(f"{found[1]}T{found[2]}:00:00Z") if found else None
        return None if at is None else place(at)

    return Calendar(
        place, lambda at: place(start(at) + timedelta(hours=1)), label, lambda at: f"{start(at):%H}", read
    )


def _week(at: datetime) -> Place:
    year, week, _ = at.isocalendar()
    return year, week


def _dekad(at: datetime) -> Place:
    return at.year, (at.month - 1) * 3 + min((at.day - 1) // 10, 2) + 1


def _season(at: datetime) -> Place:
    """December to February has the year of its December."""
    return (at.year, (at.month - 3) // 3) if at.month >= 3 else (at.year - 1, 3)


def _half(at: datetime) -> Place:
    """November to April has the year of its November."""
    return (at.year, (at.month - 5) // 6) if at.month >= 5 else (at.year - 1, 1)


CALENDARS: Final[Mapping[str, Calendar]] = {
    "hour": _of_hours(),
    "day": _numbered(
        lambda at: (at.year, at.timetuple().tm_yday), lambda year: date(year, 12, 31).timetuple().tm_yday, 3
    ),
    "week": _numbered(_week, lambda year: date(year, 12, 28).isocalendar()[1], 2),
    "dekad": _numbered(_dekad, lambda year: 36, 2),
    "month": _numbered(lambda at: (at.year, at.month), lambda year: 12, 2),
    "season": _named(_season, ("mam", "jja", "son", "djf")),
    "tropical-season": _named(_half, ("mjjaso", "ndjfma")),
    "year": _of_years(1, 1),
    "decade": _of_years(0, 10),
    "decade-ad": _of_years(1, 10),
}
"""By names of openEO."""
