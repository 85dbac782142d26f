"""Markers of one zone in plain Python, written from the documentation alone: slow, and easy to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from hpckit.campaign.markers import MarkerRule


class Seen(NamedTuple):
    time: datetime
    orbit: int
    valid: float
    total: float
    value: float


class Found(NamedTuple):
    times: tuple[datetime, datetime, datetime]
    values: tuple[float, float, float]
    orbit: int
    confidence: float
    used: tuple[datetime, ...]


def season_of(time: datetime, season: str | None) -> int | None:
    if season is None:
        return time.year
    first, last = season.split("/")
    day = time.strftime("%m-%d")
    if first <= last:
        return time.year if first <= day <= last else None
    if day >= first:
        return time.year
    return time.year - 1 if day <= last else None


def days_between(one: Seen, other: Seen) -> int:
    return (other.time.date() - one.time.date()).days


def markers_of(seen: Sequence[Seen], rule: MarkerRule) -> list[Found]:
    """Markers of a zone, sorted by the time at which they are seen."""
    groups: dict[int, list[Seen]] = {}
    for one in seen:
        groups.setdefault(one.orbit if rule.orbits == "each" else -1, []).append(one)
    found = [(item, season) for orbit, group in groups.items() for item, season in _of_group(group, orbit, rule)]
    found.sort(key=lambda pair: (pair[0].times[1], pair[0].orbit))
    if rule.events == "first":
        found = [pair for k, pair in enumerate(found) if pair[1] not in {season for _, season in found[:k]}]
    return [item for item, _ in found]


def _of_group(group: Sequence[Seen], orbit: int, rule: MarkerRule) -> list[tuple[Found, int]]:
    series = _by_day(group, rule)
    found: list[tuple[Found, int]] = []
    last: int | None = None
    for main in range(1, len(series)):
        season = season_of(series[main].time, rule.season)
        if season is None or (rule.events == "first" and any(season == other for _, other in found)):
            continue
        if last is not None and days_between(series[last], series[main]) < rule.apart:
            continue
        hit = _event_at(series, main, last or 0, rule)
        if hit is not None:
            start, end = hit
            found.append((_described(series, start, main, end, orbit, rule), season))
            last = main
    return found


def _by_day(group: Sequence[Seen], rule: MarkerRule) -> list[Seen]:
    days: dict[date, Seen] = {}
    for one in group:
        value = one.value
        if rule.decibels:
            value = 10 * math.log10(value) if value > 0 else math.nan
        if not math.isfinite(value) or one.total <= 0 or one.valid <= 0:
            continue
        if one.valid < rule.min_pixels or one.valid < rule.min_share * one.total:
            continue
        kept, day = one._replace(value=value), one.time.date()
        if day not in days or _rank(kept) > _rank(days[day]):
            days[day] = kept
    return [days[day] for day in sorted(days)]


def _rank(one: Seen) -> tuple[float, float, datetime, float]:
    return one.valid / one.total, one.valid, one.time, one.value


def _event_at(series: Sequence[Seen], main: int, bound: int, rule: MarkerRule) -> tuple[int, int] | None:
    for start in range(main - 1, bound - 1, -1):
        if rule.days_between is not None and days_between(series[start], series[main]) > rule.days_between:
            return None
        if rule.kind in ("above", "below"):
            crosses = start == main - 1 and not _beyond(series[start], rule)
            end = _held(series, start, main, rule) if crosses else None
            return None if end is None else (start, end)
        end = _held(series, start, main, rule)
        if end is not None:
            return start, end
    return None


def _held(series: Sequence[Seen], start: int, main: int, rule: MarkerRule) -> int | None:
    for end in range(main, len(series)):
        if not _shows(series[start], series[end], rule):
            return None
        if end - main + 1 >= rule.hold and days_between(series[main], series[end]) >= rule.hold_days:
            return end
    return None


def _shows(before: Seen, after: Seen, rule: MarkerRule) -> bool:
    if rule.drop is not None and after.value > before.value - rule.drop + 1e-6:
        return False
    if rule.rise is not None and after.value < before.value + rule.rise - 1e-6:
        return False
    return _beyond(after, rule)


def _beyond(one: Seen, rule: MarkerRule) -> bool:
    if rule.above is not None and not one.value > rule.above + 1e-6:
        return False
    return rule.below is None or one.value < rule.below - 1e-6


def _described(series: Sequence[Seen], start: int, main: int, end: int, orbit: int, rule: MarkerRule) -> Found:
    before, after = series[start], series[main]
    step = abs(after.value - before.value)
    change = rule.drop or rule.rise
    if change is not None:
        size = min(1.0, 0.5 * step / change)
    else:
        level = rule.above if rule.above is not None else rule.below
        assert level is not None
        size = 0.5 + 0.5 * abs(after.value - level) / step
    rests_on = series[start : end + 1]
    share = min(min(1.0, one.valid / one.total) for one in rests_on)
    precision = 30 / (30 + days_between(before, after))
    return Found(
        (before.time, after.time, series[end].time),
        (before.value, after.value, series[end].value),
        orbit,
        (size * share * precision) ** (1 / 3),
        tuple(one.time for one in rests_on),
    )
