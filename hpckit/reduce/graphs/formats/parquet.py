"""Parquet: the rows of CSV with types; GeoParquet where the result has geometries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyproj
import shapely

from hpckit.base.files import atomic_path
from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import table as tables
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.names import unique
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import Format, Option, Options, Result, ResultFile

MEDIA_TYPE: Final = "application/vnd.apache.parquet"
GEOMETRY: Final = "geometry"
_ROWS: Final = 1 << 20
"""In a group: a group begins with all values that its rows repeat."""
_DICTIONARY_BYTES: Final = 16 << 20
"""Of the distinct values of a column in a group."""


def check(kind: Value, options: Options) -> None:
    """Refuse what is no table."""
    tables.check(kind, options, "Parquet")


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write one file, some features at a time."""
    import pyarrow.parquet as pq

    table = tables.table_of(result.type, options["feature_id_property"])
    geometries = table.kind.geometries if options["geometry"] else None
    (path,) = folder.claim([f"{options['filename_prefix']}.parquet"])
    collected = tables.collect(table)
    writer = None
    with atomic_path(path) as temporary:
        try:
            for batch in _batches(table, result, options, collected):
                if writer is None:
                    schema = batch.schema
                    # Without Arrow's own schema, by which readers would have dictionaries in the place of texts.
                    writer = pq.ParquetWriter(temporary, schema, store_schema=False, **_stored(schema))
                writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=_ROWS)
            if writer is not None and geometries is not None:
                writer.add_key_value_metadata({"geo": json.dumps(_geo(geometries))})
        finally:
            if writer is not None:
                writer.close()
    return [tables.described(table, path, MEDIA_TYPE, collected)]


def _stored(schema: Any) -> dict[str, Any]:
    """Options by which values that many rows repeat are written once for a group: geometries, for all dates."""
    names = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return {"compression": "zstd", "use_dictionary": names, "dictionary_pagesize_limit": _DICTIONARY_BYTES}


def _batches(table: tables.Table, result: Result, options: Options, collected: Any) -> Iterator[Any]:
    """Rows with properties and geometries of their features; one batch without rows if there is no feature."""
    of_features = _of_features(table, options["geometry"])
    none = True
    for batch in tables.batches(table, result, True, collected):
        none = False
        yield _joined(batch, of_features)
    if none:
        kind = table.kind
        empty = table.arranged(kind)
        numbers = [pa.array(empty[..., place].reshape(-1)) for place in range(empty.shape[-1])]
        keys = [pa.array([], pa.int64() if key == tables.INDEX else pa.string()) for key in table.keys]
        yield _joined(pa.RecordBatch.from_arrays([*keys, *numbers], names=[*table.keys, *table.columns]), of_features)


def _joined(batch: Any, of_features: dict[str, Any]) -> Any:
    if not of_features:
        return batch
    numbers = batch.column(tables.INDEX)
    names = unique([*batch.schema.names, *of_features])
    more = [tables.repeated(values, numbers) for values in of_features.values()]
    return pa.RecordBatch.from_arrays([*batch.columns, *more], names=names)


def _of_features(table: tables.Table, geometry: bool) -> dict[str, Any]:
    """Columns by feature: properties, and the geometry last."""
    geometries = table.kind.geometries
    if geometries is None:
        return {}
    names = dict.fromkeys(key for one in geometries.properties for key in one)
    # A property called `geometry` would be taken for the geometry.
    found = {
        f"{name}_property" if name == GEOMETRY else name: _column([one.get(name) for one in geometries.properties])
        for name in names
    }
    if geometry:
        found[GEOMETRY] = pa.array(shapely.to_wkb(geometries.shapes), pa.binary())
    return found


def _column(values: list[Any]) -> Any:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        texts = [None if one is None else one if isinstance(one, str) else json.dumps(one) for one in values]
        return pa.array(texts, pa.string())


def _geo(geometries: Geometries) -> dict[str, Any]:
    """Metadata of GeoParquet 1.1."""
    kinds = {number for number in np.unique(shapely.get_type_id(geometries.shapes)).tolist() if number >= 0}
    names = {shapely.GeometryType(number).name.title() for number in kinds}
    spelled = {"Linestring": "LineString", "Multipoint": "MultiPoint", "Multilinestring": "MultiLineString"}
    spelled |= {"Multipolygon": "MultiPolygon", "Geometrycollection": "GeometryCollection"}
    described = {
        "encoding": "WKB",
        "geometry_types": sorted(spelled.get(name, name) for name in names),
        "crs": pyproj.CRS.from_user_input(geometries.crs).to_json_dict(),
    }
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: described}}


FORMAT: Final = Format(
    name="Parquet",
    title="Parquet and GeoParquet",
    description="A row for each date and feature with a column for each band, properties and the geometry.",
    gis_data_types=("vector", "table"),
    media_type=MEDIA_TYPE,
    options={
        "filename_prefix": PREFIX,
        "feature_id_property": tables.IDENTIFIER,
        "geometry": Option("Whether rows have the geometry of their feature.", {"type": "boolean"}, True),
    },
    check=check,
    write=write,
    aliases=("GeoParquet",),
)
