"""Times of STAC items as whole numbers, which compare whatever form of ISO 8601 a catalogue writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(text: object) -> int | None:
    """Microseconds since 1970 of a moment in ISO 8601, UTC where it names no zone; None if it is none."""
    try:
        found = datetime.fromisoformat(text)  # type: ignore[arg-type]
        return ((found if found.tzinfo is not None else found.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    except (TypeError, ValueError, OverflowError):
        return None


def moment(count: int) -> str:
    """Text of a moment, UTC, with microseconds where it has some."""
    found = _EPOCH + count * _MICROSECOND
    return found.isoformat(timespec="microseconds" if found.microsecond else "seconds").replace("+00:00", "Z")


def time_of(item: Mapping[str, Any]) -> int | None:
    """Time of an item, microseconds since 1970: its `datetime`, or `start_datetime` where it has none."""
    properties = item.get("properties")
    if not isinstance(properties, dict):
        return None
    return microseconds(properties.get("datetime") or properties.get("start_datetime"))


def span_of(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """First and last moment of an item, microseconds since 1970; None if it has no time."""
    time = time_of(item)
    if time is None:
        return None
    start, end = (microseconds(item["properties"].get(name)) for name in ("start_datetime", "end_datetime"))
    return time if start is None else start, time if end is None else end
