"""What every store can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hpckit.reduce.zones import ZoneLayer
from hpckit.spool import Segment

if TYPE_CHECKING:
    import pandas


class Store(Protocol):
    """Where results end."""

    def prepare(self) -> None:
        """Make or migrate the schema.

        Raises
        ------
        StoreUnavailableError
            If it cannot be reached.
        StoreError
            If it is read-only, foreign, or of a newer schema.
        """

    def load_zones(self, reduction: str, zones: ZoneLayer) -> None:
        """Make the zones of a reduction those of `zones`.

        If they were others before, the results of the reduction are removed with them, and so are their rows
        in the ledger: records point to zones by their row.
        """

    def loaded_ids(self) -> set[str]:
        """Ids of the segments that were loaded."""

    def load_segment(self, segment: Segment) -> int:
        """Load a segment in one transaction, with its row in the ledger.

        A segment that was loaded before is left alone. Where there is a record of the same zone and
        acquisition already, that of the newer baseline stays; of equal baselines, the one loaded last.

        Returns
        -------
        int
            Rows of the segment; 0 if it was loaded before.

        Raises
        ------
        StoreUnavailableError
            If the connection breaks off; nothing of the segment is in the store then.
        StoreError
            If the store refuses, or the segment belongs to another zone layer.
        SpoolError
            If the segment has rows for zones that the layer lacks.
        """

    def reductions(self) -> list[str]:
        """Names of the reductions in the store."""

    def bands(self, reduction: str) -> list[str]:
        """Bands and indices of a reduction, in the order in which it computes them."""

    def zone_ids(self, reduction: str) -> list[str]:
        """Identifiers of the zones of a reduction, in the order of the layer."""

    def series(self, reduction: str, zone: str, band: str | None = None) -> pandas.DataFrame:
        """Signatures of a zone, sorted by time and band.

        Returns
        -------
        pandas.DataFrame
            Columns `time` (UTC), `band`, `valid` and `total` (pixels, or covered pixels), `valid_fraction`,
            the statistics (`mean`, `std`, `min`, `max`, `p25`, …; NaN where nothing is valid), `acquisition`,
            `platform`, `level`, `tile`, `baseline`, `relative_orbit`, `cloud_cover`, `run_id`. No rows for a
            zone that is not there.

        Raises
        ------
        StoreError
            If there is no such reduction or band.
        """

    def class_counts(self, reduction: str, zone: str, band: str = "SCL") -> pandas.DataFrame:
        """Pixels of each class in a zone, by `time` and `acquisition`; one column per code."""

    def image(self, reduction: str, acquisition: str, band: str) -> pandas.DataFrame:
        """Signatures of all zones in one acquisition and band: `zone` and the statistics of `series`."""

    def summary(self) -> dict[str, dict[str, int]]:
        """By reduction: `zones`, `acquisitions`, `records` (zone and acquisition), `signatures` (and band)."""

    def close(self) -> None:
        """Give connections back."""
