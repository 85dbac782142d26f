"""Instants and periods of time, as openEO writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from hpckit.errors import GraphError

_INSTANT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?([Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII
)
_MONTH_OR_YEAR: Final = re.compile(r"\d{4}(-\d{2})?", re.ASCII)


def instant(text: object) -> datetime | None:
    """The instant that a text names, in UTC; None if it names none.

    Parameters
    ----------
    text : str
        By RFC 3339: a date and time, or a date (its first instant). Without a time zone it is UTC. `2020-06` and
        `2020` are the first instants of a month and a year.
    """
    if not isinstance(text, str):
        return None
    if _MONTH_OR_YEAR.fullmatch(text):
        text = f"{text}-01" if len(text) > 4 else f"{text}-01-01"
    elif not _INSTANT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def instants(labels: Sequence[object], dimension: str) -> list[datetime]:
    """Instants of the labels of a dimension.

    Raises
    ------
    GraphError
        If a label names none, such as `2020-jja`.
    """
    found = []
    for label in labels:
        at = instant(label)
        if at is None:
            raise GraphError(
                f"label {label!r} of dimension {dimension!r} is no date or time",
                hint="rename the labels to dates such as 2024-03-01 first",
                fault="ProcessParameterInvalid",
            )
        found.append(at)
    return found


@dataclass(frozen=True, slots=True)
class Period:
    """An interval of time without its end."""

    start: datetime | None
    """The first instant; None for no limit."""
    end: datetime | None
    """The first instant after it; None for no limit."""

    def __contains__(self, at: datetime) -> bool:
        """Whether an instant lies in it."""
        return (self.start is None or at >= self.start) and (self.end is None or at < self.end)


def period_of(extent: Any, argument: str) -> Period:
    """Read a temporal interval: `[start, end]`, of which one may be null.

    Raises
    ------
    GraphError
        `TemporalExtentEmpty` if the end is not after the start; another one if it is no interval.
    """
    if not isinstance(extent, list | tuple) or len(extent) != 2:
        raise GraphError(
            f"argument {argument!r} must be an interval of two dates, not {extent!r}", fault="ProcessParameterInvalid"
        )
    if extent[0] is None and extent[1] is None:
        raise GraphError(
            f"argument {argument!r} has neither a start nor an end",
            hint="give one of them, or null instead of the interval",
            fault="ProcessParameterInvalid",
        )
    start, end = (_bound(text, argument) for text in extent)
    if start is not None and end is not None and end <= start:
        raise GraphError(
            f"argument {argument!r} is empty: {extent[1]} is not after {extent[0]}", fault="TemporalExtentEmpty"
        )
    return Period(start, end)


def _bound(text: Any, argument: str) -> datetime | None:
    if text is None:
        return None
    at = instant(text)
    if at is None:
        raise GraphError(
            f"argument {argument!r} has {text!r}, which is no date or time",
            hint="write 2024-03-01 or 2024-03-01T10:30:00Z",
            fault="ProcessParameterInvalid",
        )
    return at
