"""Series of parcels in JRC's columns."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from hpckit.look.opened import open_tiles
from hpckit.sensors.bands import Band
from hpckit.sensors.sensor import band_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.jrc.names import STATISTICS, factor, is_of, jrc_band, own_band
from hpckit.serve.jrc.parcels import Columns
from hpckit.serve.problems import bad_value
from hpckit.serve.seriesdata import ZoneSeries, as_list, read_series

_UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class _Shown:
    """A band of a series: where it stands in the records, and how JRC's clients know it."""

    place: int
    name: str
    factor: float


def has_series(dataset: Dataset, kind: str) -> bool:
    """Whether the first reduction of a data set has bands of a kind of series."""
    reduction = dataset.view.reduction()
    return any(is_of(kind, dataset.campaign.ref(text).band) for text in reduction.bands)


def time_series(
    dataset: Dataset, zone: str, kind: str, band: str = "", *, classes: bool = True, reference: bool = False
) -> Columns:
    """Statistics of a parcel, one row for each acquisition and band; none where it has no data.

    Raises
    ------
    ZoneError
        If there is no such parcel.
    Problem
        400 if the reduction has no such band.
    """
    series = read_series(dataset, zone)
    rows = [number for number, state in enumerate(series.state) if state != _UNSEEN]
    shown = list(_shown(dataset, series, kind, band))
    each = [(row, item) for row in rows for item in shown]
    found: Columns = {
        "date_part": [_seconds(series.times[row]) for row, _ in each],
        "band": [item.name for _, item in each],
        "count": _whole(series.records.valid, each),
    }
    layout = series.records.layout
    for name in STATISTICS:
        if name not in layout.statistics:
            found[name] = [None] * len(each)
            continue
        values = series.records.values[:, :, layout.statistics.index(name)]
        found[name] = as_list(np.array([values[row, item.place] * item.factor for row, item in each], np.float64))
    if classes and kind == "s2" and _class_band(dataset, series) is not None:
        counted = dict(zip(rows, _histograms(dataset, series, rows), strict=True))
        found["hist"] = [counted[row] for row, _ in each]
    if reference:
        names = _references(dataset, series, rows)
        found["reference"] = [names[row] for row, _ in each]
    found["valid"], found["total"] = found["count"], _whole(series.records.total, each)
    for column, name in (("baseline", "baseline"), ("orbit", "relative_orbit")):
        values_of = series.records.provenance[name]
        found[column] = [values_of[row] for row, _ in each]
    return found


def class_series(dataset: Dataset, zone: str) -> Columns:
    """Pixels of each class of a parcel, one row for each acquisition.

    Raises
    ------
    ZoneError
        If there is no such parcel.
    """
    series = read_series(dataset, zone)
    if _class_band(dataset, series) is None:
        return {}
    rows = [number for number, state in enumerate(series.state) if state != _UNSEEN]
    return {
        "obsid": [series.records.provenance["acquisition"][row] for row in rows],
        "hist": list(_histograms(dataset, series, rows)),
        "date_part": [_seconds(series.times[row]) for row in rows],
    }


def zones_between(
    dataset: Dataset, band: str, statistic: str, values: tuple[float, float], days: tuple[date, date], most: int
) -> list[str]:
    """Parcels with a statistic between two of JRC's numbers on some day of a period, at most `most`.

    Raises
    ------
    Problem
        400 if there is no such statistic or band.
    """
    if statistic not in STATISTICS:
        raise bad_value("stype", f"there is {', '.join(STATISTICS)}")
    view = dataset.view
    reduction = view.reduction()
    name = _band_of_reduction(dataset, own_band(band))
    scale = factor(band_of(dataset.campaign.sensor, name))
    first = datetime.combine(days[0], time.min, UTC)
    last = datetime.combine(days[1], time.max, UTC)
    found: dict[str, None] = {}
    for acquisition in _acquisitions(dataset, first, last):
        frame = dataset.ask(lambda store, named=acquisition: store.image(reduction.name, named, name))  # type: ignore[misc]
        if statistic not in frame:
            raise bad_value("stype", f"the data set has no statistic {statistic}")
        fits = (frame[statistic] * scale).between(*values)
        found |= dict.fromkeys(frame["zone"][fits].head(most - len(found) if most > len(found) else 0).tolist())
        if len(found) >= most:
            break
    return list(found)[:most]


def as_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Columns as CSV; histograms as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if v is None else json.dumps(v) if isinstance(v, dict) else v for v in row])
    return text.getvalue()


def _shown(dataset: Dataset, series: ZoneSeries, kind: str, band: str) -> Iterator[_Shown]:
    """Bands of a series, each once; an index only if it is asked for."""
    bands = series.records.layout.bands
    if band:
        name = _band_of_reduction(dataset, own_band(band))
        if name in bands:
            known = band_of(dataset.campaign.sensor, name)
            yield _Shown(bands.index(name), name if known is None else jrc_band(known), factor(known))
        return
    seen: set[str] = set()
    for place, text in enumerate(bands):
        known = band_of(dataset.campaign.sensor, text)
        if known is not None and is_of(kind, known) and known.name not in seen:
            seen.add(known.name)
            yield _Shown(place, jrc_band(known), factor(known))


def _band_of_reduction(dataset: Dataset, name: str) -> str:
    reduction = dataset.view.reduction()
    known = [*reduction.bands, *reduction.indices]
    found = next((text for text in known if text.upper().partition("@")[0] == name.upper()), None)
    if found is None:
        raise bad_value("band", f"the data set has no band {name}", hint=f"it has {', '.join(known)}")
    return found


def _class_band(dataset: Dataset, series: ZoneSeries) -> str | None:
    held = series.records.layout.classes or {}
    return next((text for text in held if _is_class(band_of(dataset.campaign.sensor, text))), None)


def _is_class(band: Band | None) -> bool:
    return band is not None and band.kind == "class"


def _histograms(dataset: Dataset, series: ZoneSeries, rows: Sequence[int]) -> Iterator[dict[str, int]]:
    """Pixels by class that the zone has: clients take a class that is named for one that is there."""
    name = _class_band(dataset, series)
    assert name is not None
    codes, counts = (series.records.layout.classes or {})[name], series.records.classes[name]
    for row in rows:
        yield {
            str(code): max(1, round(float(count)))
            for code, count in zip(codes, counts[row], strict=True)
            if count > 0
        }


def _references(dataset: Dataset, series: ZoneSeries, rows: Sequence[int]) -> dict[int, str]:
    """Names of the products, where the cube knows them; else of the acquisitions."""
    provenance = series.records.provenance
    products: dict[tuple[str, str], str] = {}
    if dataset.campaign.cube.keep:
        for tile in open_tiles(dataset.campaign.cube_path):
            for item in next(iter(tile.groups.values())).where.acquisitions:
                if item.get("products"):
                    products[tile.tile, str(item["id"])] = str(item["products"][0])
    found = {}
    for row in rows:
        place, acquisition = str(provenance["tile"][row]).partition("+")[0], str(provenance["acquisition"][row])
        found[row] = products.get((place, acquisition), acquisition)
    return found


def _acquisitions(dataset: Dataset, first: datetime, last: datetime) -> list[str]:
    """Names of the acquisitions of a period, in order: those of the cube, or of a sample of zones."""
    found: dict[str, datetime] = {}
    if dataset.campaign.cube.keep:
        for tile in open_tiles(dataset.campaign.cube_path):
            for item in next(iter(tile.groups.values())).where.acquisitions:
                found[str(item["id"])] = datetime.fromisoformat(str(item["time"]))
    else:
        zones = dataset.edition.zones()
        step = max(1, len(zones) // 200)
        for row in range(0, len(zones), step):
            series = read_series(dataset, zones.ids[row].as_py())
            found |= dict(zip(map(str, series.records.provenance["acquisition"]), series.times, strict=True))
    chosen = [(moment, name) for name, moment in found.items() if first <= moment <= last]
    return [name for _, name in sorted(chosen)]


def _whole(values: Any, each: Sequence[tuple[int, _Shown]]) -> list[float | None]:
    """Numbers of pixels; whole ones as such."""
    found = [float(values[row, item.place]) for row, item in each]
    return [None if math.isnan(value) else int(value) if value.is_integer() else round(value, 3) for value in found]


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
