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

    def table(self) -> pd.DataFrame:
        """One row per zone, with a column for each measure and flag."""
        import pandas as pd

        measures = {"zone": list(self.zones), "clear": self.clear, "observed": self.observed}
        measures |= {
            "gap_days": self.gap_days.round(1),
            "pixels": self.pixels.round(1),
            "inside": self.inside.round(3),
        }
        flags = {name: self.flag(name) for name in FLAGS}
        return pd.DataFrame(measures | {"std": self.std.round(5)} | flags)


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
    taken = sorted((when, name) for name, when in store.acquisitions(reduction) if begin <= when.timestamp() < until)
    rows = {name: row for row, name in enumerate(zones)}
    first, last = (taken[0][0].timestamp(), taken[-1][0].timestamp()) if taken else (begin, until)
    found = _Sums(len(rows), first, len(taken))
    for when, name in taken:
        found.add(store.image(reduction, name, band), rows, when.timestamp())
    area = np.array(list(zones.values()), np.float64)
    inside = np.divide(found.pixels * pixel_m2, area, out=np.ones(len(rows)), where=area > 0)
    return Quality(
        tuple(zones),
        len(taken),
        found.clear,
        found.observed,
        np.maximum(found.gap, last - found.last) / _DAY_S,
        found.pixels,
        np.minimum(inside, 1.0),
        found.median_std(),
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


class _Sums:
    """What is known of all zones after some acquisitions."""

    def __init__(self, zones: int, begin: float, acquisitions: int) -> None:
        self.clear = np.zeros(zones, np.int64)
        self.observed = np.zeros(zones, np.int64)
        self.pixels = np.zeros(zones)
        self.gap = np.zeros(zones)
        self.last = np.full(zones, begin)
        self._std = np.full((acquisitions, zones), np.nan, np.float32)
        self._added = 0

    def add(self, image: pd.DataFrame, rows: Mapping[str, int], when: float) -> None:
        """Add an acquisition; they come in the order of time."""
        row = np.array([rows[name] for name in image["zone"]], np.int64)
        valid, total = image["valid"].to_numpy(float), image["total"].to_numpy(float)
        self.observed[row] += valid > 0
        self.pixels[row] = np.maximum(self.pixels[row], np.nan_to_num(total))
        is_clear = (total > 0) & (valid >= CLEAR * total)
        seen = row[is_clear]
        self.clear[seen] += 1
        self.gap[seen] = np.maximum(self.gap[seen], when - self.last[seen])
        self.last[seen] = when
        if "std" in image:
            self._std[self._added, seen] = image["std"].to_numpy(np.float32)[is_clear]
        self._added += 1

    def median_std(self) -> Floats:
        """Median over time; NaN where nothing is known."""
        found = np.full(self._std.shape[1], np.nan)
        known = np.isfinite(self._std).any(axis=0)
        if known.any():
            found[known] = np.nanmedian(self._std[:, known], axis=0)
        return found


def _seconds(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def counted(quality: Quality) -> dict[str, int]:
    """Number of zones with each flag."""
    return {name: int(quality.flag(name).sum()) for name in FLAGS}


def flagged_zones(quality: Quality, names: Sequence[str] = FLAGS) -> list[dict[str, Any]]:
    """Zones with at least one of some flags, worst gap first."""
    table = quality.table()
    chosen = table[table[list(names)].any(axis=1)].sort_values("gap_days", ascending=False, kind="stable")
    return [{str(name): value for name, value in row.items()} for row in chosen.to_dict("records")]
