"""Signatures of all zones: as Arrow, as a table of pandas, and as GeoParquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpckit.base.files import atomic_path
from hpckit.errors import HpckitError, StoreError
from hpckit.look.observed import observed_of
from hpckit.store.batches import record_batches, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from hpckit.campaign.campaign import Campaign, SignatureReduction
    from hpckit.space.zones import ZoneLayer


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


def export_signatures(
    campaign: Campaign, path: Path, reduction: SignatureReduction, band: str | None, zones: ZoneLayer | None
) -> int:
    """Write signatures of all zones to Parquet, batch by batch; see `CampaignView.export_signatures`."""
    import pyarrow.parquet as pq

    if zones is not None:
        _require_in_store(campaign, reduction, zones)
    shapes, rows = None if zones is None else _Shapes(zones), 0
    with read_signatures(campaign, reduction, band) as reader:
        columns = reader.schema if shapes is None else shapes.schema(reader.schema)
        try:
            # Without the schema of Arrow, text is text to all readers, and not a dictionary.
            with (
                atomic_path(path) as temporary,
                pq.ParquetWriter(temporary, columns, compression="zstd", store_schema=False) as writer,
            ):
                if shapes is not None:
                    writer.add_key_value_metadata({"geo": json.dumps(shapes.described())})
                for batch in reader:
                    writer.write_batch(batch if shapes is None else shapes.added(batch, columns))
                    rows += batch.num_rows
        except OSError as error:
            raise HpckitError(f"{path}: cannot be written", hint="look at the folder and its disk") from error
    return rows


class _Shapes:
    """Polygons of zones as a column of GeoParquet."""

    def __init__(self, zones: ZoneLayer) -> None:
        self._zones = zones

    def schema(self, columns: pa.Schema) -> pa.Schema:
        """Columns with `geometry`."""
        import pyarrow as pa

        return columns.append(pa.field("geometry", pa.dictionary(pa.int32(), pa.binary())))

    def described(self) -> dict[str, Any]:
        """What GeoParquet 1.0 says of the column."""
        import pyproj

        column = {
            "encoding": "WKB",
            "geometry_types": ["MultiPolygon"],
            "crs": pyproj.CRS(self._zones.crs).to_json_dict(),
        }
        return {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}

    def added(self, batch: pa.RecordBatch, columns: pa.Schema) -> pa.RecordBatch:
        """A batch with the polygons of its zones."""
        import pyarrow as pa
        import shapely

        zone = batch.column("zone")
        rows = [self._zones.rows[name] for name in zone.dictionary.to_pylist()]
        known = pa.array(shapely.to_wkb(self._zones.geometries[rows]), pa.binary())
        shapes = pa.DictionaryArray.from_arrays(zone.indices, known)
        return pa.RecordBatch.from_arrays([*batch.columns, shapes], schema=columns)


def _require_in_store(campaign: Campaign, reduction: SignatureReduction, zones: ZoneLayer) -> None:
    """Make sure that the results of the store are of these zones."""
    from hpckit.store import open_store

    store = open_store(campaign)
    try:
        held = store.layers().get(reduction.name)
    finally:
        store.close()
    if held is not None and held != zones.digest:
        raise StoreError(
            f"the store has results of other zones than reduction {reduction.name!r} has now",
            hint="`hpckit run` computes those of the present ones; `geometry=False` writes what is there",
        )
