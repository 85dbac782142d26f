"""What of the signatures of a reduction is exported."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hpckit.errors import StoreError, ZoneError
from hpckit.store.blocks import RecordBlock

if TYPE_CHECKING:
    from hpckit.space.attributes import Attributes
    from hpckit.space.zones import ZoneLayer

Form = Literal["tall", "wide"]
"""A row for each zone, acquisition and band, or for each zone and acquisition with the bands in columns."""
COUNTS = ("valid", "total", "valid_fraction")
"""Numbers of a band beside its statistics."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows and columns; what is not given is not narrowed."""

    bands: Sequence[str] | None = None
    statistics: Sequence[str] | None = None
    """Of `mean`, `std`, …, `valid`, `total`, `valid_fraction`."""
    start: date | None = None
    end: date | None = None
    """First and last day, UTC, both included."""
    zones: Sequence[str] | None = None
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Values that attributes of zones have, as text, by attribute; an empty text is no value."""
    form: Form = "tall"

    def rows_of(self, layer: ZoneLayer) -> npt.NDArray[np.int64] | None:
        """Zones that are exported, as sorted rows of the layer; None for all.

        Raises
        ------
        ZoneError
            If there is no such zone, attribute, or value of its type.
        """
        if self.zones is None and not self.where:
            return None
        kept = np.ones(len(layer), np.bool_)
        if self.zones is not None:
            kept[:] = False
            kept[[_row(layer, str(name)) for name in self.zones]] = True
        for name, values in self.where.items():
            kept &= _have(layer.attributes, name, values)
        return np.flatnonzero(kept).astype(np.int64)

    def of_time(self, block: RecordBlock) -> npt.NDArray[np.bool_]:
        """Which observations of the block's origins lie within the days."""
        time = block.origins.time
        kept = np.ones(len(time), np.bool_)
        if self.start is not None:
            kept &= time >= np.datetime64(self.start)
        if self.end is not None:
            kept &= time < np.datetime64(self.end) + np.timedelta64(1, "D")
        return kept

    def narrowed(
        self, blocks: Iterator[RecordBlock], zones: npt.NDArray[np.int64] | None, layer: ZoneLayer | None
    ) -> Iterator[RecordBlock]:
        """Blocks with the records that are chosen; those without any are left out."""
        wanted = None if zones is None or layer is None else {layer.ids[row] for row in zones.tolist()}
        for block in blocks:
            kept = self.of_time(block)[block.origin]
            if wanted is not None:
                kept &= np.array([name in wanted for name in block.names], np.bool_)[block.zone]
            if kept.all():
                yield block
            elif kept.any():
                yield block.taken(np.flatnonzero(kept))


def _row(layer: ZoneLayer, name: str) -> int:
    row = layer.rows.get(name)
    if row is None:
        close = difflib.get_close_matches(name, layer.ids[:100_000], n=1)
        raise ZoneError(f"no zone {name!r} in the layer", hint=f"did you mean {close[0]!r}?" if close else None)
    return row


def _have(attributes: Attributes, name: str, values: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Zones whose attribute has one of the values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column: Any = attributes.columns.get(name)
    if column is None:
        named = ", ".join(attributes.columns) or "none; name them in the campaign: `attributes: [crop]`"
        raise ZoneError(f"the zones have no attribute {name!r}", hint=f"attributes are {named}")
    texts = [value for value in values if value]
    try:
        wanted = pa.array(texts, pa.string()).cast(column.type)
    except pa.ArrowInvalid:
        shown = ", ".join(map(repr, texts))
        raise ZoneError(f"attribute {name!r} is of type {column.type}, which {shown} is not") from None
    found = pc.is_in(column, value_set=wanted, skip_nulls=True)
    if "" in values:
        empty = pc.is_null(column)
        if pa.types.is_string(column.type):
            empty = pc.or_(empty, pc.fill_null(pc.equal(column, ""), True))
        found = pc.or_(found, empty)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def checked_statistics(wanted: Sequence[str] | None, known: Sequence[str], reduction: str) -> list[str]:
    """Columns of numbers of a band, in the order of the store.

    Raises
    ------
    StoreError
        If the store lacks one of them.
    """
    have = [*COUNTS, *known]
    if wanted is None:
        return have
    for name in wanted:
        if name not in have:
            raise StoreError(
                f"reduction {reduction!r} has no statistic {name!r} in the store", hint=f"it has {', '.join(have)}"
            )
    return [name for name in have if name in wanted]
