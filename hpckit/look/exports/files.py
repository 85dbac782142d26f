"""Record batches into Parquet, CSV and GeoPackage, a batch at a time; a file is whole or not there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.files import atomic_path
from hpckit.errors import HpckitError

if TYPE_CHECKING:
    import pyarrow as pa

    from hpckit.look.exports.columns import OfZones

Batches = Iterator["pa.RecordBatch"]
Write = Callable[[Path, "pa.Schema", Batches, "OfZones | None", str], int]

_SIDE_FILES: Final = ("-journal", "-wal", "-shm")


def writer_of(path: Path) -> Write:
    """Function that writes the format of a file name.

    Raises
    ------
    HpckitError
        If the name ends like none of them.
    """
    known = _WRITERS.get(path.suffix.lower())
    if known is None:
        raise HpckitError(
            f"{path}: no format of an export ends with {path.suffix or 'nothing'!r}",
            hint=f"write {', '.join(_WRITERS)}",
        )
    return known


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the name of a file that becomes `path` when it is whole.

    Raises
    ------
    HpckitError
        If there is such a file, which is not to be overwritten, or it cannot be written; nothing is left then.
    """
    require_free(path, overwrite=overwrite)
    begun: list[Path] = []
    try:
        with atomic_path(path) as temporary:
            begun.append(temporary)
            yield temporary
            require_free(path, overwrite=overwrite)
    except OSError as error:
        raise HpckitError(f"{path}: cannot be written", hint="look at the folder and its disk") from error
    finally:
        for name in begun:
            for end in _SIDE_FILES:
                name.with_name(name.name + end).unlink(missing_ok=True)


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that is taken.

    Raises
    ------
    HpckitError
        If it is a folder, or a file that is not to be overwritten.
    """
    if path.is_dir():
        raise HpckitError(f"{path}: is a folder", hint="give the name of a file")
    if not overwrite and os.path.lexists(path):
        raise HpckitError(f"{path}: is there already", hint="`--overwrite` replaces it when the new file is whole")


def write_parquet(path: Path, columns: pa.Schema, batches: Batches, of_zones: OfZones | None, name: str) -> int:
    """GeoParquet if there are polygons, else plain Parquet; text is dictionary-encoded in the file."""
    import pyarrow.parquet as pq

    rows = 0
    # Without the schema of Arrow, text is text to all readers, and not a dictionary.
    with pq.ParquetWriter(path, columns, compression="zstd", store_schema=False) as writer:
        if of_zones is not None and of_zones.geometry:
            writer.add_key_value_metadata({"geo": of_zones.described()})
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def write_csv(path: Path, columns: pa.Schema, batches: Batches, of_zones: OfZones | None, name: str) -> int:
    """Comma-separated text in UTF-8, with a line of names; polygons as WKT."""
    import pyarrow as pa
    import pyarrow.csv

    plain, rows = _plain(columns, pa.string()), 0
    with pa.csv.CSVWriter(path, plain) as writer:
        for batch in batches:
            writer.write_batch(_cast(batch, plain, as_wkt=True))
            rows += batch.num_rows
    return rows


def write_geopackage(path: Path, columns: pa.Schema, batches: Batches, of_zones: OfZones | None, name: str) -> int:
    """A layer of a GeoPackage, or a table if there are no polygons."""
    import pyarrow as pa

    from hpckit.base.ogr import pyogrio

    plain, given = _plain(columns, pa.binary()), _Counted(batches)
    options: dict[str, Any] = {"layer": name, "driver": "GPKG"}
    if of_zones is not None and of_zones.geometry:
        options |= {"geometry_name": "geometry", "geometry_type": "MultiPolygon", "crs": of_zones.layer.crs}
    reader = pa.RecordBatchReader.from_batches(plain, (_cast(batch, plain, as_wkt=False) for batch in given))
    try:
        pyogrio.write_arrow(reader, path, **options)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pa.ArrowException, RuntimeError) as error:
        if given.error is not None:
            raise given.error from None
        raise OSError(f"GDAL refuses: {error}") from error
    if given.error is not None:
        raise given.error
    # GDAL reports some faults of the disk only in its log.
    with closing(sqlite3.connect(path)) as db:
        try:
            quoted = name.replace('"', '""')
            (written,) = db.execute(f'SELECT COUNT(*) FROM "{quoted}"').fetchone()  # noqa: S608
        except sqlite3.Error as error:
            raise OSError("the GeoPackage is not whole") from error
    if written != given.rows:
        raise OSError(f"the GeoPackage has {written} of {given.rows:,} rows")
    return given.rows


_WRITERS: Final[dict[str, Write]] = {
    ".parquet": write_parquet,
    ".geoparquet": write_parquet,
    ".csv": write_csv,
    ".gpkg": write_geopackage,
}


class _Counted:
    """Batches with the number of their rows, and the error that ended them: GDAL hides it."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.rows = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Batches:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                yield batch
        except Exception as error:
            self.error = error
            raise


def _plain(columns: pa.Schema, geometry: pa.DataType) -> pa.Schema:
    """The same columns without dictionaries."""
    import pyarrow as pa

    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in columns]
    pairs = zip(columns.names, kinds, strict=True)
    return pa.schema([(name, geometry if name == "geometry" else kind) for name, kind in pairs])


def _cast(batch: pa.RecordBatch, plain: pa.Schema, *, as_wkt: bool) -> pa.RecordBatch:
    import pyarrow as pa
    import shapely

    made = []
    for field, column in zip(plain, batch.columns, strict=True):
        if field.name == "geometry" and as_wkt:
            texts = shapely.to_wkt(shapely.from_wkb(column.dictionary.to_pylist()), rounding_precision=-1)
            column = pa.array(texts, pa.string()).take(column.indices)
        elif pa.types.is_dictionary(column.type):
            column = column.dictionary.take(column.indices)
        made.append(column)
    return pa.RecordBatch.from_arrays(made, schema=plain)
