"""Quality flags of zones: as a table, for the view and as colours of the map."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from hpckit.look.quality import (
    FLAGS,
    Bounds,
    Quality,
    areas_m2,
    assess,
    counted,
    flagged_zones,
    period_of,
    pixel_m2,
)
from hpckit.serve.answers import bytes_answer, day_of, json_answer, number_of
from hpckit.serve.dataset import Dataset, Edition
from hpckit.serve.once import Once
from hpckit.serve.problems import bad_value
from hpckit.serve.zonemap import ZoneMap

_MOST_ROWS: Final = 2000
_BATCH: Final = 50_000
_ASSESSED: Final = Once[Quality](4)
"""Of 700,000 zones, each takes 40 MB."""
_AREAS: Final = Once[dict[str, float]](2)


def answer(request: Request, dataset: Dataset) -> Response:
    """Answer with counts of flags and the zones that have some, or as CSV with all zones."""
    quality = quality_of(request, dataset)
    if request.query_params.get("format") == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{dataset.name}-flags.csv"'}
        return bytes_answer(request, quality.table().to_csv(index=False).encode(), "text/csv", headers=headers)
    wanted = [name for name in request.query_params.get("flags", "").split(",") if name] or list(FLAGS)
    if not set(wanted) <= set(FLAGS):
        raise bad_value("flags", f"are some of {', '.join(FLAGS)}")
    flagged, rows = flagged_zones(quality, wanted, _MOST_ROWS)
    found: dict[str, Any] = {
        "zones": len(quality.zones),
        "acquisitions": quality.acquisitions,
        "counts": counted(quality),
        "flagged": flagged,
        "rows": [_without_nan(row) for row in rows],
    }
    return json_answer(request, found)


def attributes(request: Request, dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Measures of zones for the map, where `colour` names one: clear, gap, pixels, inside, std, or a flag."""
    name = request.query_params.get("colour", "")
    if not name:
        return {}
    quality = quality_of(request, dataset)
    measures: dict[str, npt.NDArray[Any]] = {
        "clear": quality.clear,
        "gap_days": quality.gap_days,
        "pixels": quality.pixels,
        "inside": quality.inside,
        "std": quality.std,
        **{flag: quality.flag(flag).astype(np.int64) for flag in FLAGS},
    }
    if name not in measures:
        raise bad_value("colour", f"is one of {', '.join(measures)}")
    return {"value": np.round(measures[name].astype(np.float64), 4)}


def quality_of(request: Request, dataset: Dataset) -> Quality:
    """Quality of the zones, for the period and bounds that a request names."""
    edition = dataset.edition
    reduction = edition.view.reduction(request.query_params.get("reduction"))
    band = edition.view.band(request.query_params.get("band"), reduction.name)
    usual = Bounds()
    bounds = Bounds(
        gap_days=number_of(request, "gap_days", usual.gap_days, 1, 1000),
        pixels=number_of(request, "pixels", usual.pixels, 0, 1e9),
        inside=number_of(request, "inside", usual.inside, 0, 1),
        std=number_of(request, "std", usual.std, 0, 1e9),
    )
    start, end = period_of(edition.campaign, day_of(request, "start"), day_of(request, "end"))
    loaded = dataset.ask(lambda store: tuple(store.acquisitions(reduction.name)))
    asked = (reduction.name, band, start, end)
    results = (loaded, dataset.store_state())
    measured = _ASSESSED.get((dataset, edition, *asked, results), lambda: _quality(dataset, edition, *asked))
    return replace(measured, bounds=bounds)


def _quality(dataset: Dataset, edition: Edition, reduction: str, band: str, start: date, end: date) -> Quality:
    zones = edition.zones(reduction)
    areas = _AREAS.get((edition, reduction), lambda: _areas(zones))
    pixel = pixel_m2(edition.campaign, edition.view.reduction(reduction), band)
    return dataset.ask(lambda store: assess(store, reduction, band, areas, pixel, start, end))


def _areas(zones: ZoneMap) -> dict[str, float]:
    """Area of each zone in square metres, in the order of the layer."""
    found = np.empty(len(zones))
    for first in range(0, len(zones), _BATCH):
        rows = np.arange(first, min(len(zones), first + _BATCH))
        found[rows] = areas_m2(zones.outlines(rows), zones.crs)
    return dict(zip(zones.ids.to_pylist(), found.tolist(), strict=True))


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}
