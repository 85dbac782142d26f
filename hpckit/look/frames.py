"""Signatures of all zones as Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from hpckit.look.observed import observed_of
from hpckit.store.batches import record_batches, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from hpckit.campaign.campaign import Campaign, SignatureReduction


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
