"""GeoParquet 1.0 and 1.1, and Parquet whose columns are marked as GeoArrow: geometries and one field."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from hpckit.base.reading import refusal
from hpckit.errors import VectorError
from hpckit.space.vector.crs import layer_crs
from hpckit.space.vector.features import Features

_LONGITUDE_LATITUDE: Final = "OGC:CRS84"
_NATIVE: Final = {"polygon": shapely.GeometryType.POLYGON, "multipolygon": shapely.GeometryType.MULTIPOLYGON}


def read_geoparquet(path: Path, layer: str | None, field: str | None, crs: str | None) -> Features:
    """Features of a file; see `hpckit.space.vector.layers.read_features`."""
    if layer is not None and layer != path.stem:
        raise VectorError(f"{path}: no layer {layer!r}; a Parquet file is one layer", hint="leave `layer` out")
    try:
        schema = pq.read_schema(path)
        name, about = _geometry_column(path, schema)
        wanted = _field(path, field, [column for column in schema.names if column != name])
        table = pq.read_table(path, columns=[name, *wanted])
        wkb = _to_wkb(path, table[name], str(about.get("encoding", "WKB")).lower())
    except (OSError, pa.ArrowException) as error:
        if fault := refusal(path):
            raise VectorError(f"{path}: cannot be read") from fault
        raise VectorError(f"{path}: not a Parquet file, or a damaged one") from error
    if not len(wkb):
        raise VectorError(f"{path}: the layer is empty")
    where = layer_crs(_declared(about), str(path), crs)
    column = table[wanted[0]] if wanted else None
    return Features(path, path.stem, np.arange(1, len(wkb) + 1), wkb, where, column, "Parquet")


def geometry_name(path: Path, schema: pa.Schema) -> str:
    """Name of the geometry column of a file that was read before."""
    return _geometry_column(path, schema)[0]


def _geometry_column(path: Path, schema: pa.Schema) -> tuple[str, dict[str, Any]]:
    """Name of the geometry column, and what the file says of it."""
    try:
        geo = json.loads((schema.metadata or {})[b"geo"])
        name = geo["primary_column"]
        if name not in schema.names:
            raise KeyError(name)
        return name, dict(geo["columns"][name])
    except KeyError:
        pass
    except (ValueError, TypeError) as error:
        raise VectorError(f"{path}: its metadata `geo` cannot be understood") from error
    marked = [column for column in schema if _extension(column).startswith("geoarrow.")]
    if len(marked) != 1:
        raise VectorError(
            f"{path}: no GeoParquet: it does not say which column has geometries",
            hint="write it with geopandas (to_parquet) or GDAL (ogr2ogr -f Parquet)",
        )
    text = (marked[0].metadata or {}).get(b"ARROW:extension:metadata", b"") or b"{}"
    crs = json.loads(text).get("crs")
    return marked[0].name, {"encoding": _extension(marked[0]).removeprefix("geoarrow."), "crs": crs}


def _extension(column: pa.Field) -> str:
    if isinstance(column.type, pa.BaseExtensionType):
        return str(column.type.extension_name)
    return str((column.metadata or {}).get(b"ARROW:extension:name", b"").decode())


def _declared(about: dict[str, Any]) -> str | None:
    """What the file says of the CRS: nothing is longitude and latitude, null is undefined."""
    crs = about.get("crs", _LONGITUDE_LATITUDE)
    return crs if crs is None or isinstance(crs, str) else json.dumps(crs)


def _field(path: Path, field: str | None, fields: list[str]) -> list[str]:
    if field in fields:
        return [str(field)]
    if field is None or field == "fid":
        return []
    close = difflib.get_close_matches(field, fields, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "set `id` to one of them, or to `fid`, the feature number"
    raise VectorError(f"{path}: no field {field!r}; fields are {', '.join(fields) or 'none'}", hint=hint)


def _to_wkb(path: Path, column: pa.ChunkedArray, encoding: str) -> npt.NDArray[np.object_]:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    if encoding == "wkb" and pa.types.is_binary(array.type) | pa.types.is_large_binary(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)
    if encoding not in _NATIVE:
        raise VectorError(f"{path}: geometries in the encoding {encoding!r} are no polygons that hpckit reads")
    missing = np.asarray(array.is_null())
    array = array.filter(array.is_valid())
    offsets: list[npt.NDArray[np.int64]] = []
    while not pa.types.is_struct(array.type):
        if pa.types.is_fixed_size_list(array.type):
            xy = np.asarray(array.flatten()).reshape(-1, array.type.list_size)[:, :2]
            break
        starts = np.asarray(array.offsets, dtype=np.int64)
        offsets.insert(0, starts - starts[0])
        array = array.flatten()
    else:
        xy = np.column_stack([np.asarray(array.field("x")), np.asarray(array.field("y"))])
    shapes = np.full(len(missing), None, dtype=object)
    shapes[~missing] = shapely.from_ragged_array(_NATIVE[encoding], xy.astype(float), tuple(offsets))
    return np.asarray(shapely.to_wkb(shapes))
