"""CSV: `date,feature_index,B04,B08`, as openEO's clients read it; null is an empty field."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hpckit.base.files import atomic_path
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import table as tables
from hpckit.reduce.graphs.formats.names import claim
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import Format, Options, Result, ResultFile

MEDIA_TYPE: Final = "text/csv"


def check(kind: Value, options: Options) -> None:
    """Refuse what is no table."""
    tables.check(kind, options, "CSV")


def write(result: Result, options: Options, folder: Path) -> list[ResultFile]:
    """Write one file, some features at a time."""
    from pyarrow import csv

    table = tables.table_of(result.type, options["feature_id_property"])
    (path,) = claim(folder, [f"{options['filename_prefix']}.csv"])
    collected = tables.collect(table)
    plain = csv.WriteOptions(quoting_style="needed")
    writer = None
    with atomic_path(path) as temporary:
        try:
            for batch in tables.batches(table, result, False, collected):
                if writer is None:
                    writer = csv.CSVWriter(temporary, batch.schema, write_options=plain)
                writer.write_batch(batch)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            temporary.write_text(",".join([*table.keys, *table.columns]) + "\n")
    return [tables.described(table, path, MEDIA_TYPE, collected)]


FORMAT: Final = Format(
    name="CSV",
    title="Comma-separated values",
    description="A row for each date and feature, a column for each band; null is an empty field.",
    gis_data_types=("table", "vector"),
    media_type=MEDIA_TYPE,
    options={"filename_prefix": PREFIX, "feature_id_property": tables.IDENTIFIER},
    check=check,
    write=write,
)
