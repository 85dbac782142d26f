"""Quality of a reduction's observations, zone by zone: what an agency wants to know before it trusts a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import CampaignError
from hpckit.sensors.masks import CLEAR

if TYPE_CHECKING:
    import pandas as pd

    from hpckit.campaign.campaign import Campaign
    from hpckit.campaign.signatures import SignatureReduction
    from hpckit.store import Store
    from hpckit.store.blocks import RecordBlock

FLAGS: Final = ("gap", "small", "outside", "heterogeneous")
Floats = npt.NDArray[np.float64]
_DAY_S: Final = 86400.0
_EQUAL_AREA: Final = 6933
"""EPSG:6933, of EASE-Grid 2.0."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """From when on something is flagged."""

    gap_days: float = 30
    """Days between clear observations, or from the first or to the last acquisition of the period."""
    pixels: float = 30
    """Fewer pixels than this are too small: 3000 m² at 10 m, as JRC's checks by monitoring have it."""
    inside: float = 0.5
    """Less than this share of the zone's area seen by any acquisition is half outside."""
    std: float = 0.1
    """A standard deviation above this, in the median of clear observations, is heterogeneous."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of each zone in a period; all arrays have the shape (zones,)."""

    zones: tuple[str, ...]
    acquisitions: int
    """Acquisitions in the period."""
    clear: npt.NDArray[np.int64]
    """Observations of which at least half is valid."""
    observed: npt.NDArray[np.int64]
    """Observations of which something is valid."""
    gap_days: Floats
    """Longest time without a clear observation between the first and the last acquisition, days."""
    pixels: Floats
    """Most pixels of an observation."""
    inside: Floats
    """These pixels' area over the zone's area; at most 1."""
    std: Floats
    """Median of the standard deviation of clear observations; NaN without any."""
    bounds: Bounds

    def flag(self, name: str) -> npt.NDArray[np.bool_]:
        """Whether each zone has a flag: gap, small, outside, heterogeneous."""
        if name == "gap":
            return self.gap_days > self.bounds.gap_days
        if name == "small":
            return self.pixels < self.bounds.pixels
        if name == "outside":
            return self.inside < self.bounds.inside
        return np.nan_to_num(self.std) > self.bounds.std

    def table(self, rows: npt.NDArray[np.intp] | None = None) -> pd.DataFrame:
        """One row per zone, or of some zones, with a column for each measure and flag."""
        import pandas as pd

        if rows is None:
            rows = np.arange(len(self.zones))
        measures = {"zone": [self.zones[row] for row in rows.tolist()], "clear": self.clear[rows]}
        measures |= {
            "observed": self.observed[rows],
            "gap_days": self.gap_days[rows].round(1),
            "pixels": self.pixels[rows].round(1),
            "inside": self.inside[rows].round(3),
            "std": self.std[rows].round(5),
        }
        return pd.DataFrame(measures | {name: self.flag(name)[rows] for name in FLAGS})


def assess(
    store: Store,
    reduction: str,
    band: str,
    zones: Mapping[str, float],
    pixel_m2: float,
    start: date,
    end: date,
    bounds: Bounds | None = None,
) -> Quality:
    """Assess the observations of all zones in a band.

    Parameters
    ----------
    zones : mapping of str to float
        Area of each zone in square metres, in the order of the layer.
    pixel_m2 : float
        Area of a pixel of the band, square metres.
    start, end : date
        First and last day, both included.
    bounds : Bounds, optional
        From when on something is flagged.

    Raises
    ------
    StoreError
        If there is no such reduction or band.
    CampaignError
        If the period ends before it begins.
    """
    if end < start:
        raise CampaignError(f"the period ends ({end}) before it begins ({start})")
    begin, until = _seconds(start), _seconds(end) + _DAY_S
    times = sorted(at for _, when in store.acquisitions(reduction) if begin <= (at := when.timestamp()) < until)
    rows = {name: row for row, name in enumerate(zones)}
    found = _Measures(len(rows), *((times[0], times[-1]) if times else (begin, until)))
    for block in store.blocks(reduction, band) if times else ():
        found.add(block, rows, begin, until)
    area = np.array(list(zones.values()), np.float64)
    inside = np.divide(found.pixels * pixel_m2, area, out=np.ones(len(rows)), where=area > 0)
    return Quality(
        tuple(zones),
        len(times),
        found.clear,
        found.observed,
        found.gap / _DAY_S,
        found.pixels,
        np.minimum(inside, 1.0),
        found.std,
        bounds or Bounds(),
    )


def period_of(campaign: Campaign, start: date | None = None, end: date | None = None) -> tuple[date, date]:
    """First and last day: those given, or those of the campaign's period, which may be today."""
    return start or campaign.period.start, end or campaign.period.end or datetime.now(UTC).date()


def pixel_m2(campaign: Campaign, reduction: SignatureReduction, band: str) -> float:
    """Area of the pixels in which a band is counted: its own, or of an index the finest of its bands'."""
    from hpckit.campaign.expression import Expression

    text = reduction.indices.get(band, band)
    return float(min(campaign.ref(name).resolution_m for name in Expression.parse(text).bands) ** 2)


def areas_m2(shapes: npt.NDArray[np.object_], crs: str) -> Floats:
    """Area of polygons in square metres: in the plane of their CRS, or on an equal-area plane.

    Parameters
    ----------
    shapes : ndarray of shapely geometries, shape (zones,)
        The polygons.
    crs : str
        WKT of their CRS.
    """
    import pyproj
    import shapely

    system = pyproj.CRS.from_user_input(crs)
    if not system.is_projected:
        forward = pyproj.Transformer.from_crs(system, _EQUAL_AREA, always_xy=True).transform
        shapes = shapely.transform(shapes, forward, interleaved=False)
    return np.asarray(shapely.area(shapes), np.float64)


class _Measures:
    """Measures of all zones, which come some zones at a time, each with all that is known of it.

    Parameters
    ----------
    zones : int
        Their number.
    first, last : float
        Times of the first and the last acquisition, seconds since 1970.
    """

    def __init__(self, zones: int, first: float, last: float) -> None:
        self._first, self._last = first, last
        self.clear = np.zeros(zones, np.int64)
        self.observed = np.zeros(zones, np.int64)
        self.pixels = np.zeros(zones)
        self.gap = np.full(zones, last - first)
        self.std = np.full(zones, np.nan)

    def add(self, block: RecordBlock, rows: Mapping[str, int], begin: float, until: float) -> None:
        """Add the records of a block, which are sorted by zone and time."""
        when = block.origins.time.astype("datetime64[us]").astype(np.int64)[block.origin] / 1e6
        valid, total = block.valid[:, 0], block.total[:, 0]
        taken = np.flatnonzero((when >= begin) & (when < until) & np.isfinite(total))
        zone, when, valid, total = block.zone[taken], when[taken], valid[taken], total[taken]
        place = np.array([rows[name] for name in block.names], np.int64)
        groups = _Groups.of(zone)
        self.observed[place] += np.bincount(zone, valid > 0, len(place)).astype(np.int64)
        self.pixels[place[groups.name]] = groups.greatest(total)

        clear = np.flatnonzero((total > 0) & (valid >= CLEAR * total))
        groups = _Groups.of(zone[clear])
        self.clear[place[groups.name]] = groups.count
        self.gap[place[groups.name]] = groups.longest_gap(when[clear], self._first, self._last)
        if "std" in block.layout.statistics:
            std = block.values[block.layout.statistics.index("std"), taken[clear], 0]
            known = np.isfinite(std)
            groups = _Groups.of(zone[clear][known])
            self.std[place[groups.name]] = groups.median(std[known])


@dataclass(frozen=True, slots=True)
class _Groups:
    """Neighbouring rows of one zone."""

    name: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]

    @classmethod
    def of(cls, zone: npt.NDArray[np.int64]) -> _Groups:
        """Groups of sorted zones."""
        name, start, count = np.unique(zone, return_index=True, return_counts=True)
        return cls(name, start, count)

    def greatest(self, values: Floats) -> Floats:
        """Greatest value of each group."""
        return np.maximum.reduceat(values, self.start) if len(self.start) else np.empty(0)

    def longest_gap(self, when: Floats, first: float, last: float) -> Floats:
        """Longest time between neighbours of each group, the first and the last moment included."""
        before = np.concatenate([[first], when[:-1]])
        before[self.start] = first
        ends = self.start + self.count - 1
        return np.asarray(np.maximum(self.greatest(when - before[: len(when)]), last - when[ends]), np.float64)

    def median(self, values: Floats) -> Floats:
        """Median of each group."""
        ordered = values[np.lexsort((values, np.repeat(np.arange(len(self.name)), self.count)))]
        middle = ordered[self.start + (self.count - 1) // 2] + ordered[self.start + self.count // 2]
        return np.asarray(middle / 2, np.float64)


def _seconds(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def counted(quality: Quality) -> dict[str, int]:
    """Number of zones with each flag."""
    return {name: int(quality.flag(name).sum()) for name in FLAGS}


def flagged_zones(
    quality: Quality, names: Sequence[str] = FLAGS, most: int | None = None
) -> tuple[int, list[dict[str, Any]]]:
    """Zones with at least one of some flags, worst gap first.

    Parameters
    ----------
    most : int, optional
        Zones that are told; all if not given.

    Returns
    -------
    int, list of dict
        The number of these zones, and rows as of `Quality.table`.
    """
    flagged = np.flatnonzero(np.logical_or.reduce([quality.flag(name) for name in names]))
    worst = flagged[np.argsort(-quality.gap_days[flagged].round(1), kind="stable")[:most]]
    rows = quality.table(worst).to_dict("records")
    return len(flagged), [{str(name): value for name, value in row.items()} for row in rows]
