"""Signatures of all zones as Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from hpckit.base.quantities import format_bytes, process_memory
from hpckit.errors import HpckitError
from hpckit.look.observed import observed_of
from hpckit.store.batches import record_batches, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from hpckit.campaign.campaign import Campaign
    from hpckit.campaign.signatures import SignatureReduction

_PEAK: Final = {"arrow": 1.1, "pandas": 5.0}
"""Most memory while a table is made, over that of its batches: of pandas also plain text and the table itself."""


def read_signatures(campaign: Campaign, reduction: SignatureReduction, band: str | None) -> pa.RecordBatchReader:
    """Signatures of all zones as record batches, read when they are asked for; of all bands if none is named."""
    import pyarrow as pa

    from hpckit.store import open_store

    classes = next((text for text in reduction.bands if campaign.ref(text).band.kind == "class"), None)
    store = open_store(campaign)
    try:
        blocks = store.blocks(reduction.name, band, classes)
    except BaseException:
        store.close()
        raise
    observed = partial(observed_of, masked=reduction.mask is not None)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from record_batches(blocks, observed)
        finally:
            store.close()

    return pa.RecordBatchReader.from_batches(schema(blocks.layout, observed=True), batches())


def gathered(reader: pa.RecordBatchReader, kind: Literal["pandas", "arrow"]) -> pa.Table:
    """All batches of a reader as a table, if there is memory for what is to be made of it.

    Raises
    ------
    HpckitError
        Before memory ends.
    """
    import pyarrow as pa

    room, held, rows = process_memory(), 0, 0
    batches: list[pa.RecordBatch] = []
    try:
        for batch in reader:
            held, rows = held + batch.nbytes, rows + batch.num_rows
            if held * _PEAK[kind] > room:
                raise MemoryError
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)
    except MemoryError as error:
        batches.clear()
        raise HpckitError(
            f"the signatures need more memory than the {format_bytes(room)} that this process may take: "
            f"{rows:,} rows fill it, and there are more",
            hint="ask for one band; for `format='batches'`, which reads some rows at a time; or for a file, with "
            "`export_signatures`",
        ) from error
