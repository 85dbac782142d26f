"""Blocks of records as record batches of Arrow, tall or wide, with attributes and polygons of zones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpckit.look.exports.chosen import COUNTS
from hpckit.store.batches import KnownOrigins, provenance_fields
from hpckit.store.blocks import Blocks, RecordBlock
from hpckit.store.frames import PROVENANCE, RowLayout

if TYPE_CHECKING:
    import pyarrow as pa

    from hpckit.space.zones import ZoneLayer


def wide_schema(layout: RowLayout, statistics: Sequence[str]) -> pa.Schema:
    """Columns of the wide form: `NDVI_mean`, `SCL_4`, and where the record comes from."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    fields = [("zone", text), ("time", pa.timestamp("us"))]
    fields += [(f"{band}_{name}", pa.float64()) for band in layout.bands for name in statistics]
    fields += [(f"{band}_{code}", pa.float64()) for band, codes in (layout.classes or {}).items() for code in codes]
    return pa.schema([*fields, *provenance_fields()])


def wide_batches(blocks: Blocks, statistics: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """One row for each zone and acquisition."""
    columns, known = wide_schema(blocks.layout, statistics), KnownOrigins()
    for block in blocks:
        if len(block.zone):
            yield _wide(block, statistics, columns, known)


def _wide(block: RecordBlock, statistics: Sequence[str], columns: pa.Schema, known: KnownOrigins) -> pa.RecordBatch:
    import pyarrow as pa

    layout = block.layout
    zone = pa.DictionaryArray.from_arrays(pa.array(block.zone.astype(np.int32)), pa.array(block.names, pa.string()))
    made: list[Any] = [zone, pa.array(block.origins.time[block.origin].astype("datetime64[us]"))]
    for position in range(len(layout.bands)):
        made += [pa.array(_number(block, position, name), from_pandas=True) for name in statistics]
    made += [
        pa.array(counts[:, place], from_pandas=True)
        for band, counts in block.classes.items()
        for place in range(counts.shape[1])
    ]
    made += [known.values(block.origins, name, block.origin) for name in PROVENANCE]
    return pa.RecordBatch.from_arrays(made, schema=columns)


def _number(block: RecordBlock, position: int, name: str) -> npt.NDArray[np.float64]:
    valid, total = block.valid[:, position], block.total[:, position]
    if name == "valid":
        return valid
    if name == "total":
        return total
    if name == "valid_fraction":
        fraction: npt.NDArray[np.float64] = np.divide(valid, total, out=np.full(len(total), np.nan), where=total > 0)
        return fraction
    return block.values[block.layout.statistics.index(name), :, position]


def tall_names(names: Sequence[str], statistics: Sequence[str]) -> list[str]:
    """Columns of the tall form that are kept."""
    numbers = {*COUNTS, *statistics}
    rest = {"zone", "time", "band", "observed", *PROVENANCE}
    return [name for name in names if name in rest or (name in numbers and name in statistics)]


@dataclass(frozen=True)
class OfZones:
    """Columns that say something of the zone of a row: its attributes and its polygon."""

    layer: ZoneLayer
    attributes: bool
    geometry: bool

    def schema(self, columns: pa.Schema) -> pa.Schema:
        """Columns of batches with those of zones."""
        import pyarrow as pa

        known = {name.casefold() for name in columns.names}
        for name, column in self._shown(known).items():
            text = pa.types.is_string(column.type)
            columns = columns.append(pa.field(name, pa.dictionary(pa.int32(), pa.string()) if text else column.type))
        if self.geometry:
            columns = columns.append(pa.field("geometry", pa.dictionary(pa.int32(), pa.binary())))
        return columns

    def added(self, batch: pa.RecordBatch, columns: pa.Schema) -> pa.RecordBatch:
        """A batch with the columns of its zones."""
        import pyarrow as pa
        import shapely

        zone = batch.column("zone")
        rows = [self.layer.rows[name] for name in zone.dictionary.to_pylist()]
        places, made = pa.array(rows, pa.int64()), list(batch.columns)
        for column in self._shown({name.casefold() for name in batch.schema.names}).values():
            mine = column.take(places)
            if pa.types.is_string(column.type):  # a null in a dictionary is none to Parquet
                coded = mine.dictionary_encode()
                made.append(pa.DictionaryArray.from_arrays(coded.indices.take(zone.indices), coded.dictionary))
            else:
                made.append(mine.take(zone.indices))
        if self.geometry:
            shapes = pa.array(shapely.to_wkb(self.layer.geometries[rows]), pa.binary())
            made.append(pa.DictionaryArray.from_arrays(zone.indices, shapes))
        return pa.RecordBatch.from_arrays(made, schema=columns)

    def described(self) -> str:
        """What GeoParquet 1.0 says of the polygons."""
        import pyproj

        column = {
            "encoding": "WKB",
            "geometry_types": ["MultiPolygon"],
            "crs": pyproj.CRS(self.layer.crs).to_json_dict(),
        }
        return json.dumps({"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}})

    def _shown(self, known: set[str]) -> dict[str, Any]:
        """Attributes; without those whose name results of an earlier setting have taken."""
        if not self.attributes:
            return {}
        return {
            name: column for name, column in self.layer.attributes.columns.items() if name.casefold() not in known
        }
