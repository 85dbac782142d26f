"""Export of signatures: from the store into a file, a block of zones at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.errors import StoreError
from hpckit.look.exports.chosen import Chosen, checked_statistics
from hpckit.look.exports.columns import OfZones, tall_names, wide_batches, wide_schema
from hpckit.look.exports.files import require_free, whole_file, writer_of
from hpckit.look.observed import observed_of
from hpckit.store.batches import record_batches, schema
from hpckit.store.blocks import BLOCK_ROWS, Blocks, RecordBlock
from hpckit.store.frames import RowLayout

if TYPE_CHECKING:
    import pyarrow as pa

    from hpckit.campaign.campaign import Campaign
    from hpckit.campaign.signatures import SignatureReduction
    from hpckit.space.zones import ZoneLayer
    from hpckit.store import Store

Progress = Callable[[int, int], None]
"""Called with the number of zones that are done, and of all."""


def export(
    campaign: Campaign,
    path: Path,
    reduction: SignatureReduction,
    chosen: Chosen,
    layer: ZoneLayer | None,
    *,
    attributes: bool = True,
    geometry: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> int:
    """Write signatures to a file; see `CampaignView.export`.

    Parameters
    ----------
    layer : ZoneLayer, optional
        The zones, where attributes, polygons, or a choice of zones are wanted.
    """
    from hpckit.store import open_store

    write = writer_of(path)
    require_free(path, overwrite=overwrite)
    store = open_store(campaign)
    try:
        if layer is not None:
            _require_in_store(store, reduction, layer)
        zones = None if layer is None else chosen.rows_of(layer)
        classes = next((text for text in reduction.bands if campaign.ref(text).band.kind == "class"), None)
        blocks = store.blocks(reduction.name, chosen.bands, classes, BLOCK_ROWS, zones)
        total = len(store.zone_ids(reduction.name)) if zones is None else len(zones)
        blocks = Blocks(blocks.layout, _followed(blocks, total, progress))
        narrowed = Blocks(blocks.layout, chosen.narrowed(iter(blocks), zones, layer))
        columns, batches = _batches(narrowed, reduction, chosen, classes)
        of_zones = OfZones(layer, attributes, geometry) if layer is not None else None
        if of_zones is not None:
            columns, batches = _with_zones(of_zones, columns, batches)
        with whole_file(path, overwrite=overwrite) as temporary:
            return write(temporary, columns, _ahead(batches), of_zones, reduction.name)
    finally:
        store.close()


def _batches(
    blocks: Blocks, reduction: SignatureReduction, chosen: Chosen, classes: str | None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Columns and batches of blocks, without those of zones."""
    import pyarrow as pa

    statistics = checked_statistics(chosen.statistics, blocks.layout.statistics, reduction.name)
    if chosen.form == "wide":
        shown = blocks if chosen.bands is None or classes in chosen.bands else _without_classes(blocks)
        return wide_schema(shown.layout, statistics), wide_batches(shown, statistics)
    known = schema(blocks.layout, observed=True)
    names = tall_names(known.names, statistics)
    observed = partial(observed_of, masked=reduction.mask is not None)
    made = record_batches(blocks, observed)
    return pa.schema([known.field(name) for name in names]), (batch.select(names) for batch in made)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, the next one made by another thread while the one before is written."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = pool.submit(next, batches, None)
            yield batch


def _followed(blocks: Blocks, total: int, progress: Progress) -> Iterator[RecordBlock]:
    """Blocks, with news of how many zones are done."""
    done = 0
    for block in blocks:
        yield block
        done = min(total, done + len(block.names))
        progress(done, total)


def _without_classes(blocks: Blocks) -> Blocks:
    layout = RowLayout(blocks.layout.bands, blocks.layout.statistics, {})
    return Blocks(layout, (replace(block, layout=layout, classes={}) for block in blocks))


def _with_zones(
    of_zones: OfZones, columns: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    full = of_zones.schema(columns)
    return full, (of_zones.added(batch, full) for batch in batches)


def _require_in_store(store: Store, reduction: SignatureReduction, zones: ZoneLayer) -> None:
    """Make sure that the results of the store are of these zones."""
    held = store.layers().get(reduction.name)
    if held is not None and held != zones.digest:
        raise StoreError(
            f"the store has results of other zones than reduction {reduction.name!r} has now",
            hint="`hpckit run` computes those of the present ones; without attributes and polygons, what is there is "
            "exported",
        )
