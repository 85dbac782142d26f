"""Peers of a zone: zones near it with the same label, the same crop for example, and what they show on each day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import CampaignError, ZoneError
from hpckit.look.mercator import RADIUS_M
from hpckit.sensors.masks import CLEAR
from hpckit.serve.dataset import Dataset
from hpckit.serve.seriesdata import as_list, moment
from hpckit.serve.zonemap import ZoneMap
from hpckit.store import Store
from hpckit.store.frames import ZoneRecords

LEAST_AREA_M2: Final = 3000.0
"""Smaller zones are no peers: mixed pixels of their edges are most of what they show (so does JRC)."""
FARTHEST_M: Final = 100_000.0


def peers(zones: ZoneMap, row: int, distance_m: float, most: int) -> list[tuple[int, float]]:
    """Zones with the same label near a zone.

    Parameters
    ----------
    zones : ZoneMap
        Zones of a reduction.
    row : int
        Row of the zone.
    distance_m : float
        Largest distance between the outlines, metres; at most 100 km.
    most : int
        Number of peers, the nearest ones.

    Returns
    -------
    list of (int, float)
        Rows and distances in metres, nearest first; none where the layer does not say what the zone is.
    """
    label = zones.labels[row]
    if label is None or most <= 0 or not distance_m >= 0:
        return []
    distance_m = min(distance_m, FARTHEST_M)
    west, south, east, north = zones.boxes[row]
    reach = distance_m * _stretch(max(abs(south), abs(north)) + 2 * distance_m)
    near = zones.within(west - reach, south - reach, east + reach, north + reach)
    near = near[(zones.labels[near] == label) & (near != row)]
    if not len(near):
        return []
    (own,), others = (_in_metres(zones, which, row) for which in (np.array([row]), near))
    distances = shapely.distance(others, own)
    counts = (distances <= distance_m) & (shapely.area(others) > LEAST_AREA_M2)
    order = np.lexsort((near[counts], distances[counts]))[:most]
    return [(int(near[counts][k]), float(distances[counts][k])) for k in order]


def peer_statistics(
    dataset: Dataset, rows: Sequence[int], band: str, statistic: str = "p50", reduction: str | None = None
) -> dict[str, list[Any]]:
    """What zones show on each day: quartiles over the zones of one statistic of each.

    Parameters
    ----------
    dataset : Dataset
        The campaign.
    rows : sequence of int
        Rows of the zones, as `peers` gives them.
    band : str
        Band or index of the reduction.
    statistic : str
        Statistic of each zone; the median if not given, so `p50` has the median of medians.
    reduction : str, optional
        The first one if not given.

    Returns
    -------
    dict of list
        By column: `day` (UTC, ISO 8601), `zones` (how many were clear), `p25`, `p50` and `p75`, in the band's unit.

    Raises
    ------
    CampaignError
        If the reduction has no such band, or not this statistic.
    StoreUnavailableError
        If the store does not answer.
    """
    edition = dataset.edition
    chosen = edition.view.reduction(reduction)
    band = edition.view.band(band, chosen.name)
    ids = edition.zones(chosen.name).ids
    by_day: dict[date, list[float]] = defaultdict(list)
    # One connection for all of them; each is read by its index.
    for records in dataset.ask(lambda store: _read(store, chosen.name, [ids[row].as_py() for row in rows])):
        for day, value in _clear_days(records, band, statistic).items():
            by_day[day].append(value)
    days = sorted(by_day)
    quartiles = np.array([np.percentile(by_day[day], (25, 50, 75)) for day in days]).reshape(len(days), 3)
    return {
        "day": [day.isoformat() for day in days],
        "zones": [len(by_day[day]) for day in days],
        **{name: as_list(quartiles[:, k]) for k, name in enumerate(("p25", "p50", "p75"))},
    }


def _read(store: Store, reduction: str, zones: Sequence[str]) -> list[ZoneRecords]:
    return [store.records(reduction, zone) for zone in zones]


def _clear_days(records: ZoneRecords, band: str, statistic: str) -> dict[date, float]:
    """Value of each day on which at least half of the zone is valid; the mean, where there are several passes."""
    layout = records.layout
    if not len(records.time):
        return {}
    if statistic not in layout.statistics:
        raise CampaignError(
            f"the reduction has no statistic {statistic!r}", hint=f"it has {', '.join(layout.statistics)}"
        )
    if band not in layout.bands:
        raise ZoneError(f"the store has no results of {band} yet", hint="`hpckit sync` loads them")
    place, k = layout.bands.index(band), layout.statistics.index(statistic)
    valid, total, values = records.valid[:, place], records.total[:, place], records.values[:, place, k]
    found: dict[date, list[float]] = defaultdict(list)
    for number in np.flatnonzero((total > 0) & (valid >= CLEAR * total) & np.isfinite(values)).tolist():
        found[moment(records.time[number]).date()].append(float(values[number]))
    return {day: sum(each) / len(each) for day, each in found.items()}


def local_crs(lon: float, lat: float) -> pyproj.CRS:
    """Metres around a place: equal areas, and distances that are right to 1e-4 within 100 km."""
    return pyproj.CRS.from_dict({"proj": "laea", "lat_0": lat, "lon_0": lon, "datum": "WGS84"})


def _stretch(y: float) -> float:
    """How many units of EPSG:3857 a metre on the ground has, at most, up to a northing; a little more."""
    return float(1.01 * np.cosh(y / RADIUS_M))


def _in_metres(zones: ZoneMap, rows: npt.NDArray[np.int64], centre: int) -> npt.NDArray[np.object_]:
    """Outlines in metres around a zone."""
    middle = zones.in_degrees(centre).centroid
    forward = pyproj.Transformer.from_crs(zones.crs, local_crs(middle.x, middle.y), always_xy=True)
    shapes = zones.outlines(rows)
    return np.asarray(shapely.transform(shapes, forward.transform, interleaved=False))
