"""Series of a zone as columns, without tables: what pages and clients ask for most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import ZoneError
from hpckit.sensors.masks import CLEAR
from hpckit.serve.dataset import Dataset
from hpckit.store.frames import ZoneRecords, as_utc

if TYPE_CHECKING:
    from hpckit.campaign.signatures import SignatureReduction

Floats = npt.NDArray[np.float64]
_NO_DATA: Final = 0
_PROVENANCE: Final = ("acquisition", "platform", "tile", "baseline", "relative_orbit", "cloud_cover", "run_id")


@dataclass(frozen=True)
class ZoneSeries:
    """All that the store has of one zone."""

    records: ZoneRecords
    state: npt.NDArray[np.str_]
    """By row: `clear`, `cloudy` (less than half of it valid), `masked` (nothing valid), `unseen` (no data);
    shape (rows,)."""

    @property
    def times(self) -> list[datetime]:
        """Time of each row, UTC."""
        return [moment(value) for value in self.records.time]

    def columns(self, bands: Sequence[str]) -> dict[str, Any]:
        """Values by column; those of bands are arrays of float32, which JSON has with the digits that were stored."""
        records = self.records
        found: dict[str, Any] = {
            "time": [f"{moment.isoformat(timespec='seconds')[:19]}Z" for moment in self.times],
            "state": self.state.tolist(),
        }
        found |= {name: list(records.provenance[name]) for name in _PROVENANCE}
        found["bands"] = {name: self._band(records.layout.bands.index(name)) for name in bands}
        return found

    def _band(self, place: int) -> dict[str, npt.NDArray[np.float32]]:
        records = self.records
        columns = {"valid": records.valid[:, place], "total": records.total[:, place]}
        for k, name in enumerate(records.layout.statistics):
            columns[name] = records.values[:, place, k]
        return {name: values.astype(np.float32) for name, values in columns.items()}


def read_series(dataset: Dataset, zone: str, reduction: str | None = None) -> ZoneSeries:
    """Read the series of a zone in all bands.

    Raises
    ------
    ZoneError
        If there is no such zone.
    StoreUnavailableError
        If the store does not answer.
    """
    if "\0" in zone:  # which PostgreSQL refuses as text
        raise ZoneError(f"there is no zone {zone!r}")
    edition = dataset.edition
    chosen = edition.view.reduction(reduction)
    records = dataset.ask(lambda store: store.records(chosen.name, zone))
    if not len(records.time):
        edition.zones(chosen.name).row(zone)
    return ZoneSeries(records, _states(records, chosen))


def as_list(values: Floats) -> list[float | None]:
    """Numbers as JSON has them: null for NaN, seven digits for those that were stored with 32 bits."""
    return [None if value != value else float(f"{value:.7g}") for value in values.tolist()]


def _states(records: ZoneRecords, reduction: SignatureReduction) -> npt.NDArray[np.str_]:
    """What each row shows, judged by its first band with statistics."""
    rows = len(records.time)
    if not records.layout.bands:
        return np.full(rows, "masked")
    with np.errstate(invalid="ignore", divide="ignore"):
        valid, total = np.nanmax(records.valid, axis=1, initial=0.0), np.nanmax(records.total, axis=1, initial=0.0)
        fraction = np.where(total > 0, valid / total, 0.0)
    unseen = (fraction <= 0) & ((total <= 0) | (reduction.mask is None) | _without_data(records))
    return np.select([fraction >= CLEAR, fraction > 0, unseen], ["clear", "cloudy", "unseen"], "masked")


def _without_data(records: ZoneRecords) -> npt.NDArray[np.bool_]:
    """Rows in which no pixel has a class other than no data; False where nothing is known."""
    known = np.zeros(len(records.time), np.bool_)
    seen = known.copy()
    for band, codes in (records.layout.classes or {}).items():
        counts = np.nan_to_num(records.classes[band])
        for k, code in enumerate(codes):
            known |= counts[:, k] > 0
            seen |= (counts[:, k] > 0) & (code != _NO_DATA)
    return known & ~seen


def zone_row(dataset: Dataset, zone: str, reduction: str | None = None) -> int:
    """Row of a zone in its layer.

    Raises
    ------
    ZoneError
        If there is none.
    """
    if not zone:
        raise ZoneError("no zone is named")
    return dataset.edition.zones(reduction).row(zone)


def moment(value: Any) -> datetime:
    """Time of a record, UTC; stores give it as text or as datetime."""
    return as_utc(datetime.fromisoformat(value) if isinstance(value, str) else value)
