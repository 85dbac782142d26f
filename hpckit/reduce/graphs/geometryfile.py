"""Geometries of a process graph as a Parquet file, which workers read instead of JSON of megabytes."""

from __future__ import annotations

import json
from collections import deque
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely

from hpckit.base.files import atomic_path, digest
from hpckit.base.reading import parsed, read_table
from hpckit.errors import DamagedFileError
from hpckit.processgraph.cube import Geometries

_CRS: Final = b"crs"
_HINT: Final = "`hpckit plan CAMPAIGN` freezes it again"
_LAST: Final[deque[tuple[str, Geometries]]] = deque(maxlen=2)
"""By the digest of their file: a command plans on the same ones several times, and knows where their pixels are."""


def write_geometries(path: Path, geometries: Geometries) -> None:
    """Write geometries, as WKB, with the `id` and the properties of their features, as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"geometry": pa.array(shapely.to_wkb(geometries.shapes), pa.binary())}
    for name, items in (("id", geometries.ids), ("properties", geometries.properties)):
        if items:
            columns[name] = pa.array([json.dumps(item, ensure_ascii=False) for item in items], pa.string())
    table = pa.table(columns).replace_schema_metadata({_CRS: geometries.crs.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_geometries(path: Path) -> Geometries:
    """Geometries that were written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFileError
        If it is not the file that was written.
    """
    return parsed(path, _parse, lambda _: DamagedFileError(f"{path}: damaged", hint=_HINT))


def _parse(file: Any) -> Geometries:
    data = file.read()
    key = digest(data)
    for known, geometries in tuple(_LAST):  # other threads may add to it
        if known == key:
            return geometries
    found = _geometries(read_table(BytesIO(data)))
    _LAST.append((key, found))
    return found


def _geometries(table: Any) -> Geometries:
    wkb = np.empty(len(table), dtype=object)  # not `to_numpy`, which imports pandas
    wkb[:] = table["geometry"].to_pylist()
    shapes = np.asarray(shapely.from_wkb(wkb), dtype=object)
    listed = {name: tuple(_list(table[name])) if name in table.column_names else () for name in ("id", "properties")}
    return Geometries(shapes, table.schema.metadata[_CRS].decode(), listed["id"], listed["properties"])


def _list(column: Any) -> list[Any]:
    """Values of JSON texts, read as one array."""
    found: list[Any] = json.loads(f"[{','.join(column.to_pylist())}]")
    return found
