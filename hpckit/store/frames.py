"""Signatures as tables: what stores answer, whatever they keep it in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import StoreError
from hpckit.reduce.signatures.spool import Segment, SignatureBatch

if TYPE_CHECKING:
    import pandas

PROVENANCE: Final = (
    "acquisition",
    "platform",
    "level",
    "tile",
    "baseline",
    "relative_orbit",
    "cloud_cover",
    "run_id",
)
"""Columns with the origin of an observation, in the order of a series' table."""

_TEST_BASELINE: Final = 99.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """What the records of a reduction hold."""

    bands: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    classes: Mapping[str, tuple[int, ...]] | None = None
    """Codes by class band."""

    @property
    def counts_width(self) -> int:
        """Numbers of a record before its statistics: valid and total by band, pixels by class."""
        return 2 * len(self.bands) + sum(len(codes) for codes in (self.classes or {}).values())

    def class_places(self, band: str) -> dict[int, int]:
        """Where in a record the pixels of each class of a class band stand, counted from 0."""
        place = 2 * len(self.bands)
        for name, codes in (self.classes or {}).items():
            if name == band:
                return {code: place + k for k, code in enumerate(codes)}
            place += len(codes)
        return {}

    def check(self, reduction: str, band: str | None) -> None:
        """Make sure that there is such a band.

        Raises
        ------
        StoreError
            If not; the hint lists those that there are.
        """
        if band is not None and band not in self.bands:
            raise StoreError(
                f"reduction {reduction!r} has no band {band!r} in the store",
                hint=f"it has {', '.join(self.bands) or 'no results yet; hpckit sync loads them'}",
            )


@dataclass(frozen=True, slots=True)
class ZoneRecords:
    """Records of one zone, with one row per acquisition, sorted by time."""

    layout: RowLayout
    time: Sequence[Any]
    provenance: Mapping[str, Sequence[Any]]
    valid: Floats
    """Shape (rows, bands); NaN where the record lacks the band."""
    total: Floats
    values: Floats
    """Shape (rows, bands, statistics)."""
    classes: Mapping[str, Floats] = field(default_factory=dict)
    """By class band: pixels of each class; shape (rows, codes), codes as in the layout."""


def chosen(segment: Segment, units: Collection[str] | None) -> Iterator[SignatureBatch]:
    """Batches of some units; of a unit that was done twice the last one."""
    last = {batch.unit: batch for batch in segment.batches}
    return (batch for unit, batch in last.items() if units is None or unit in units)


def baseline_rank(baseline: str) -> float:
    """Order of processing baselines: newer ones are greater; N9999, a test of the ground segment, is least."""
    try:
        value = float(baseline)
    except ValueError:
        return 0.0
    return 0.0 if value >= _TEST_BASELINE else value


def as_utc(time: datetime) -> datetime:
    """Time in UTC; one without a zone is UTC already, whatever the zone of this machine or of the server."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def series_frame(records: ZoneRecords, band: str | None) -> pandas.DataFrame:
    """Table with one row per acquisition and band, sorted by time."""
    import pandas as pd

    layout = records.layout
    chosen = list(range(len(layout.bands))) if band is None else [layout.bands.index(band)]
    rows, width = len(records.time), len(chosen)
    repeat = np.repeat(np.arange(rows), width)
    columns: dict[str, Any] = {
        "time": pd.to_datetime(list(records.time), utc=True).tz_localize(None)[repeat],
        "band": np.tile(np.array([layout.bands[k] for k in chosen], dtype=object), rows),
    }
    columns |= statistics_columns(
        layout.statistics,
        records.valid[:, chosen].reshape(-1),
        records.total[:, chosen].reshape(-1),
        records.values[:, chosen].reshape(rows * width, len(layout.statistics)),
    )
    columns |= {name: pd.Series(list(data))[repeat].array for name, data in records.provenance.items()}
    frame = pd.DataFrame(columns)
    return frame[frame["total"].notna()].reset_index(drop=True)


def class_frame(records: ZoneRecords, reduction: str, band: str) -> pandas.DataFrame:
    """Table with one row per acquisition and one column per code.

    Raises
    ------
    StoreError
        If there is no such class band.
    """
    import pandas as pd

    codes = (records.layout.classes or {}).get(band)
    if codes is None:
        raise StoreError(f"reduction {reduction!r} has no class band {band!r} in the store")
    time = pd.to_datetime(list(records.time), utc=True).tz_localize(None)
    frame = pd.DataFrame({"time": time, "acquisition": list(records.provenance["acquisition"])})
    return frame.assign(**{str(code): records.classes[band][:, k] for k, code in enumerate(codes)})


def statistics_columns(
    statistics: Sequence[str], valid: Floats, total: Floats, values: Floats
) -> dict[str, npt.NDArray[Any]]:
    """Columns valid, total, valid_fraction and the statistics, for rows of one band or of several."""
    fraction = np.divide(valid, total, out=np.full(len(total), np.nan), where=total > 0)
    columns = {"valid": valid, "total": total, "valid_fraction": fraction}
    return columns | {name: values[:, k] for k, name in enumerate(statistics)}
