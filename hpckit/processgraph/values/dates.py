"""Dates and times by RFC 3339."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta
from typing import Final

from hpckit.errors import GraphError
from hpckit.processgraph.process import Value, on_values
from hpckit.processgraph.times import instant
from hpckit.processgraph.values.operands import is_number, not_a

_UNITS: Final = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
"""Seconds."""
_MONTHS: Final = {"month": 1, "year": 12}
_LEAP_SECOND: Final = re.compile(r":60(?=[.,Zz+-]|$)")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME: Final = re.compile(r"\d{2}:\d{2}:\d{2}([Zz]|\+00:00)?", re.ASCII)
_MICROSECOND: Final = timedelta(microseconds=1)


@on_values("date_between")
def date_between(x: Value, min: Value, max: Value, exclude_max: bool = False) -> Value:
    """Whether a date, or a time of day, is from `min` to `max`, with or without `max`."""
    if x is None:
        return None
    given = {"x": x, "min": min, "max": max}
    clock = [name for name, text in given.items() if isinstance(text, str) and _TIME.fullmatch(text)]
    if clock and len(clock) < len(given):
        raise GraphError(
            f"argument {clock[0]!r} is a time of day, and others of 'x', 'min' and 'max' are dates",
            hint="compare dates with dates, and times with times",
            fault="ProcessParameterInvalid",
        )
    at, start, end = (instant_of(f"1970-01-01T{text}" if clock else text, name) for name, text in given.items())
    return start <= end and start <= at and (at < end if exclude_max else at <= end)


@on_values("date_difference")
def date_difference(date1: Value, date2: Value, unit: str = "second") -> Value:
    """`date2 - date1` in a unit; of months and years whole ones by the calendar, and a part of the next one."""
    if date1 is None or date2 is None:
        return None
    one, other = instant_of(date1, "date1"), instant_of(date2, "date2")
    if unit in _MONTHS:
        return _months_between(one, other) / _MONTHS[unit]
    return ((other - one) / _MICROSECOND) / (_seconds(unit) * 1e6)


@on_values("date_shift")
def date_shift(date: Value, value: Value, unit: str) -> Value:
    """A date moved by a period; it keeps its time zone, and has a time only if it had one."""
    if date is None:
        return None
    if not is_number(value) or value != int(value):
        raise not_a("value", "whole number", value)
    at, count = _local(date, "date"), int(value)
    try:
        moved = _add_months(at, count * _MONTHS[unit]) if unit in _MONTHS else at + count * _step(unit)
    except (OverflowError, ValueError):
        raise GraphError(
            f"argument 'date' moved by {count} {unit} lies beyond the years 1 to 9999",
            fault="ProcessParameterInvalid",
        ) from None
    return _text(moved, with_time=not _DATE.fullmatch(date), like=date)


def instant_of(text: Value, name: str) -> datetime:
    """The instant that a date or a date and time names; a leap second is that after it.

    Raises
    ------
    GraphError
        If it names none; the argument is named.
    """
    found = None
    if isinstance(text, str):
        plain = _LEAP_SECOND.sub(":59", text)
        found = instant(plain)
        if found is not None and plain != text:
            found += timedelta(seconds=1)
    if found is None:
        raise GraphError(
            f"argument {name!r} is no date: {text!r}",
            hint="write a date such as 2024-03-01 or 2024-03-01T10:50:31Z",
            fault="ProcessParameterInvalid",
        )
    return found


def _local(text: Value, name: str) -> datetime:
    """A date and time in its own zone."""
    at = instant_of(text, name)
    offset = re.search(r"([+-])(\d{2}):(\d{2})$", text) if "T" in text.upper() or " " in text else None
    if offset is None:
        return at.replace(tzinfo=None)
    sign = -1 if offset[1] == "-" else 1
    return at.replace(tzinfo=None) + sign * timedelta(hours=int(offset[2]), minutes=int(offset[3]))


def _text(at: datetime, *, with_time: bool, like: str) -> str:
    """By RFC 3339, in the zone of another text."""
    if not with_time:
        return at.date().isoformat()
    zone = re.search(r"([+-]\d{2}:\d{2})$", like)
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds") + (zone[1] if zone else "Z")


def _step(unit: str) -> timedelta:
    return timedelta(milliseconds=1) if unit == "millisecond" else timedelta(seconds=_seconds(unit))


def _seconds(unit: str) -> float:
    if unit not in _UNITS:
        raise GraphError(
            f"argument 'unit' is {unit!r}",
            hint="one of " + ", ".join([*_UNITS, *_MONTHS]),
            fault="ProcessParameterInvalid",
        )
    return _UNITS[unit]


def _add_months(at: datetime, months: int) -> datetime:
    """The same day of another month, or its last one."""
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    if not date.min.year <= year <= date.max.year:
        raise OverflowError(year)
    return at.replace(year=year, month=month + 1, day=min(at.day, calendar.monthrange(year, month + 1)[1]))


def _months_between(one: datetime, other: datetime) -> float:
    if other < one:
        return -_months_between(other, one)
    whole = (other.year - one.year) * 12 + other.month - one.month
    if _add_months(one, whole) > other:
        whole -= 1
    start = _add_months(one, whole)
    rest = other - start
    return whole + (rest / (_add_months(one, whole + 1) - start) if rest else 0.0)
