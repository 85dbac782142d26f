"""Markers as stores keep and answer them: columns of events, and their table in JRC's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.campaign.markers import MarkerRule
from hpckit.errors import StoreError

if TYPE_CHECKING:
    import pandas

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MARKER_COLUMNS: Final = (
    *("reduction", "foi_id", "marker", "marker_type", "date_start", "date_main", "date_end", "duration_days"),
    *("value_1", "value_2", "value_3", "pid", "practice", "confidence", "band", "statistic", "relative_orbit"),
    *("time_start", "time_main", "time_end", "observations"),
)
"""Columns of the table of markers: those of JRC first, then what they rest on."""


@dataclass(frozen=True, slots=True)
class MarkerRows:
    """Markers of one rule; each array has one row for each."""

    zone: Ints
    """Row of the zone in its layer, counted from 0."""
    orbit: Ints
    """Relative orbit of series that are split by orbit; -1 for others."""
    time: Sequence[npt.NDArray[np.datetime64]]
    """Of the observation before, the one that shows it, and the one that confirms it; UTC."""
    value: Sequence[Floats]
    """Of the same observations."""
    confidence: Floats
    names: Sequence[str]
    """Names of acquisitions."""
    used: Ints
    """Positions in `names` of the acquisitions that the markers rest on, marker after marker."""
    offsets: Ints
    """Where each marker begins in `used`; shape (markers + 1,)."""

    def __len__(self) -> int:
        return len(self.zone)

    def observations(self) -> Iterator[list[str]]:
        """Names of the acquisitions that each marker rests on."""
        names = np.array(self.names, dtype=object)[self.used].tolist()
        places = self.offsets.tolist()
        return (names[start:end] for start, end in pairwise(places))


def joined(parts: Sequence[MarkerRows]) -> MarkerRows:
    """Markers of several readings of the same observations, in their order."""
    if not parts:
        none, nowhere, never = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, "datetime64[us]")
        return MarkerRows(nowhere, nowhere, [never] * 3, [none] * 3, none, (), nowhere, np.zeros(1, np.int64))
    return MarkerRows(
        zone=np.concatenate([part.zone for part in parts]),
        orbit=np.concatenate([part.orbit for part in parts]),
        time=[np.concatenate([part.time[k] for part in parts]) for k in range(3)],
        value=[np.concatenate([part.value[k] for part in parts]) for k in range(3)],
        confidence=np.concatenate([part.confidence for part in parts]),
        names=parts[0].names,
        used=np.concatenate([part.used for part in parts]),
        offsets=np.append(0, np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))),
    )


def days_of(time: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
    """UTC days of times."""
    return time.astype("datetime64[D]")


def marker_frame(rows: Sequence[Sequence[Any]]) -> pandas.DataFrame:
    """Table of markers from rows with `MARKER_COLUMNS`; observations are lists, times UTC without a zone."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(MARKER_COLUMNS))
    for name in ("time_start", "time_main", "time_end"):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601").dt.tz_localize(None)
    for name in ("date_start", "date_main", "date_end"):
        frame[name] = pd.to_datetime(frame[name], format="ISO8601")
    frame["relative_orbit"] = frame["relative_orbit"].astype("Int64")
    kinds = {"duration_days": "int64", "pid": "int64"} | dict.fromkeys(
        ["value_1", "value_2", "value_3", "confidence"], "float64"
    )
    return frame.astype(kinds)


def described(rule: MarkerRule) -> str:
    """A rule as JSON, with its kind."""
    return json.dumps(rule.model_dump(mode="json") | {"kind": rule.kind})


def require_layer(found: str | None, wanted: str, reduction: str) -> None:
    """Refuse markers of zones that were replaced while they were computed.

    Raises
    ------
    StoreError
        If they were.
    """
    if found != wanted:
        raise StoreError(
            f"the zones of reduction {reduction!r} were replaced while its markers were computed",
            hint="`hpckit markers` computes them again",
        )
