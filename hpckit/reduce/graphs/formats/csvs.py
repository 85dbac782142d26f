"""CSV: `date,feature_index,B04,B08`, as openEO's clients read it; null is an empty field."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import pyarrow as pa
from pyarrow import csv as arrow

from hpckit.base.files import atomic_open
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import table as tables
from hpckit.reduce.graphs.formats.arrange import unsuitable
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import Format, Options, Result, ResultFile

MEDIA_TYPE: Final = "text/csv"


def check(kind: Value, options: Options) -> None:
    """Refuse what is no table."""
    tables.check(kind, options, "CSV")


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write one file, some features at a time."""
    table = tables.table_of(result.type, options["feature_id_property"])
    (path,) = folder.claim([f"{options['filename_prefix']}.csv"])
    collected = tables.collect(table)
    with atomic_open(path) as file:
        file.write(_header([*table.keys, *table.columns]))
        for batch in tables.batches(table, result, False, collected):
            file.write(_lines(batch))
    return [tables.described(table, path, MEDIA_TYPE, collected)]


def _lines(batch: Any) -> bytes:
    """Rows as lines; texts are in quotes only if one of them needs it, which Arrow does not know."""
    for style in ("none", "needed"):
        lines = io.BytesIO()
        with suppress(pa.ArrowInvalid):
            arrow.write_csv(batch, lines, arrow.WriteOptions(include_header=False, quoting_style=style))
            return lines.getvalue()
    raise unsuitable("the result has texts that CSV cannot hold", "save it as JSON")


def _header(names: Sequence[str]) -> bytes:
    """The first line: Arrow would put all names into quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(names)
    return line.getvalue().encode()


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
