"""The interface of all stores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from hpckit.campaign.markers import MarkerRule
from hpckit.reduce.signatures.spool import Segment
from hpckit.space.attributes import Attributes
from hpckit.space.zones import ZoneLayer
from hpckit.store.blocks import BLOCK_ROWS, Bands, Blocks
from hpckit.store.frames import ZoneRecords
from hpckit.store.markerrows import MarkerRows
from hpckit.store.owner import StoreOwner

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas

NOBODY: Final = StoreOwner()
"""StoreOwner of what nobody claimed."""


class Store(Protocol):
    """A destination of results."""

    def prepare(self) -> None:
        """Make or migrate the schema.

        Raises
        ------
        StoreUnavailableError
            If it cannot be reached.
        StoreError
            If it is read-only, foreign, or of a newer schema.
        """

    def is_made(self) -> bool:
        """Whether the tables exist; if not, they can be made.

        Raises
        ------
        StoreUnavailableError
            If it cannot be reached.
        StoreError
            If something is missing that is needed to make them.
        """

    @property
    def where(self) -> str:
        """The file, or the schema and the database without its password, for messages."""

    @property
    def newest(self) -> int:
        """Version of the tables that this hpckit makes."""

    def version(self) -> int:
        """Version of the tables; 0 where there are none. Writes nothing."""

    def other_users(self) -> tuple[str, ...]:
        """Users of the database, other than this one, who may use the tables; empty for a file."""

    def owners(self) -> dict[str, StoreOwner]:
        """Owners of the reductions in the store; writes nothing."""

    def layers(self) -> dict[str, str]:
        """Digest of the zones of each reduction in the store; writes nothing."""

    def load_zones(self, reduction: str, zones: ZoneLayer, owner: StoreOwner = NOBODY) -> None:
        """Make the zones of a reduction those of `zones`, and note its owner.

        If they were others before, the results of the reduction are removed with them: records point to zones by
        their row.
        """

    def attributes(self) -> dict[str, str]:
        """Digest of the attributes of the zones of each reduction, empty where there are none; writes nothing."""

    def note_attributes(self, reduction: str, attributes: Attributes) -> None:
        """Make the attributes of the zones of a reduction these: in its table of zones and in its views.

        Raises
        ------
        StoreError
            If somebody else has given the zones a field of such a name.
        """

    def attribute_values(self, reduction: str) -> dict[str, list[Any]]:
        """Attributes of the zones of a reduction by name, in the order of the layer.

        Values are text, numbers, truth values or None. Days and times are text as ISO 8601 writes them.
        """

    def note_crops(self, reduction: str, crops: Sequence[str | None]) -> None:
        """Note the crop of each zone of a reduction, in the order of the layer; None where it is unknown.

        Maps have colours by crop then. Nothing is changed where nothing is known of any zone.
        """

    def made_from(self, reduction: str) -> dict[str, str]:
        """Digest of the inputs of each unit with results of a reduction.

        The unit `""` stands for all that was loaded before stores kept this.
        """

    def load_segment(self, segment: Segment, units: Collection[str] | None = None, drop: Collection[str] = ()) -> int:
        """Load results of a segment, and replace earlier results of these units, in one transaction.

        A result that the store has already, made from the same inputs, is left alone.

        Parameters
        ----------
        units : collection of str, optional
            Only these; all of the segment if not given.
        drop : collection of str
            Units whose results are removed in the same transaction.

        Returns
        -------
        int
            Rows that were loaded.

        Raises
        ------
        StoreUnavailableError
            If the connection breaks off; nothing of the segment is in the store then.
        StoreError
            If the store refuses, or the segment belongs to another zone layer.
        SpoolError
            If the segment has rows for zones that the layer lacks.
        """

    def drop(self, reduction: str, units: Collection[str]) -> None:
        """Remove the results of units, and acquisitions, bands and statistics that no result needs any more."""

    def remove(self, reduction: str) -> None:
        """Remove a reduction with its zones and results."""

    def reductions(self) -> list[str]:
        """Names of the reductions in the store."""

    def bands(self, reduction: str) -> list[str]:
        """Bands and indices of a reduction, in the order in which it computes them."""

    def acquisitions(self, reduction: str) -> list[tuple[str, datetime]]:
        """Name and time (UTC) of the acquisitions of a reduction, sorted by time."""

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

    def records(self, reduction: str, zone: str) -> ZoneRecords:
        """What `series` and `class_counts` say of a zone in all bands, as arrays; no rows for a zone not there.

        Raises
        ------
        StoreError
            If there is no such reduction.
        """

    def blocks(
        self,
        reduction: str,
        bands: Bands = None,
        classes: str | None = None,
        rows: int = BLOCK_ROWS,
        zones: npt.NDArray[np.int64] | None = None,
    ) -> Blocks:
        """What `series` says of all zones, some zones at a time: in the order of the layer, then by time.

        Parameters
        ----------
        bands : str or sequence of str, optional
            All bands if not given.
        classes : str, optional
            Band of classes whose pixels are read, too, if the store has it.
        rows : int
            Signatures (records times bands) of a block, about; memory grows with it.
        zones : ndarray of int, optional
            Rows of the layer, sorted. Zones between them may be read, too.

        Raises
        ------
        StoreError
            If there is no such reduction or band, or results are loaded while they are read.
        """

    def class_counts(self, reduction: str, zone: str, band: str) -> pandas.DataFrame:
        """Pixels of each class in a zone, by `time` and `acquisition`; one column per code."""

    def image(self, reduction: str, acquisition: str, band: str) -> pandas.DataFrame:
        """Signatures of all zones in one acquisition and band: `zone` and the statistics of `series`."""

    def marker_rules(self, reduction: str) -> dict[str, str]:
        """Digest of what the markers of each rule of a reduction were made from; none in one of an older schema."""

    def load_markers(self, reduction: str, rule: MarkerRule, identity: str, layer: str, rows: MarkerRows) -> None:
        """Make the markers of a rule these, in one transaction.

        Parameters
        ----------
        identity : str
            Digest of what they were made from.
        layer : str
            Digest of the zones that they belong to.

        Raises
        ------
        StoreError
            If the store has other zones by now.
        """

    def drop_markers(self, reduction: str, names: Collection[str]) -> None:
        """Remove rules of a reduction with their markers."""

    def markers(self, reduction: str, zone: str | None = None) -> pandas.DataFrame:
        """Markers of a zone, or of all, in the order of the layer, then by time.

        Returns
        -------
        pandas.DataFrame
            Columns `hpckit.store.markerrows.MARKER_COLUMNS`. Times are UTC without a zone, `observations` lists.

        Raises
        ------
        StoreError
            If there is no such reduction.
        """

    def summary(self) -> dict[str, dict[str, int]]:
        """By reduction: `zones`, `acquisitions`, `records` (zone and acquisition), `signatures` (and band)."""

    def close(self) -> None:
        """Close connections."""
