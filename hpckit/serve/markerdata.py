"""Markers of a zone, as pages and clients of JRC ask for them: what the store has, whatever rules it was made by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpckit.serve.dataset import Dataset
from hpckit.store.markerrows import MARKER_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_DATES = ("date_start", "date_main", "date_end")
_JRC = MARKER_COLUMNS[1:13]
"""Columns of JRC's table."""
_OURS = ("confidence", "band", "statistic", "relative_orbit")


def read_markers(dataset: Dataset, zone: str, reduction: str | None = None) -> pd.DataFrame:
    """Markers of a zone in the store, by time.

    Raises
    ------
    StoreUnavailableError
        If the store does not answer.
    """
    chosen = dataset.edition.view.reduction(reduction)
    return dataset.ask(lambda store: store.markers(chosen.name, zone))


def as_columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Markers in JRC's columns, and some of ours; days as text."""
    found = {name: _values(frame, name) for name in (*_JRC, *_OURS)}
    return found if len(frame) else {}


def as_events(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Markers for a diagram: times as text, UTC."""
    names = ("marker", "marker_type", "practice", "band", "relative_orbit", "confidence", "value_1", "value_2")
    columns = {name: _values(frame, name) for name in names}
    columns |= {
        name: frame[f"time_{name}"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").tolist() for name in ("start", "main", "end")
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(frame: pd.DataFrame, name: str) -> list[Any]:
    """A column as JSON has it: null for what is missing, days as text, numbers with the digits that were stored."""
    column = frame[name]
    if name in _DATES:
        return list(column.dt.strftime("%Y-%m-%d"))
    if column.dtype.kind == "f":
        return [float(f"{value:.7g}") for value in column.tolist()]
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna(), strict=True)]
